//! What it costs to fetch an object from a peer: `cargo bench -p grid --bench fetch`.
//!
//! Two servers of the program on loopback, 64 MiB from the store of the one into the store of the
//! other: QUIC, each chunk verified, the whole verified, durable. Beside it, in turns, `curl` gets the
//! same file from an `nginx` on loopback, without encryption and without syncing, where the two are
//! installed. Set `TMPDIR` to a folder in memory to leave the disk out.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use grid::control::frame;
use grid_modules::CacheDir;
use grid_modules::objects::Objects;
use grid_promises::content_id::HashCode;
use grid_promises::modules::{Descriptor, ModuleKind, SymbolTable};
use grid_promises::{ContentId, Message, texts};

const LENGTH: usize = 64 << 20;
const ROUNDS: usize = 7;

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes = content();
    let giver = dir.path().join("giver");
    let object = publish(&giver, &bytes);
    let log = dir.path().join("log");
    let _giver = server(&giver, &log);
    let place = place(&log);
    let nginx = nginx(dir.path(), &bytes);
    let mut grid = Vec::new();
    let mut curl = Vec::new();
    for round in 0..ROUNDS {
        // A new home each time: it has nothing yet.
        let taker = dir.path().join(format!("taker{round}"));
        grid.push(fetch(&taker, dir.path(), &place, &object));
        if let Some((_, url)) = &nginx {
            curl.push(download(url, &dir.path().join("downloaded")));
        }
    }
    let grid = report("grid fetch", &mut grid);
    if nginx.is_none() {
        println!("curl        SKIPPED: nginx and curl are not both installed");
        return;
    }
    let curl = report("curl", &mut curl);
    println!("ratio       {:.2} (grid / curl, medians)", grid / curl);
}

/// Prints the times, and returns the median in seconds.
fn report(name: &str, times: &mut [Duration]) -> f64 {
    times.sort();
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
    let mib = LENGTH as f64 / f64::from(1 << 20);
    let [first, .., last] = seconds.as_slice() else {
        return median;
    };
    println!(
        "{name:<11} median {:7.1} ms ({:6.1} MiB/s), {:.1} to {:.1} ms, {} rounds of 64 MiB",
        median * 1e3,
        mib / median,
        first * 1e3,
        last * 1e3,
        seconds.len(),
    );
    median
}

fn content() -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = Vec::with_capacity(LENGTH + 8);
    while bytes.len() < LENGTH {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(LENGTH);
    bytes
}

/// A home whose symbol table leads to an object.
fn publish(home: &Path, bytes: &[u8]) -> ContentId {
    let objects = Objects::of(&CacheDir::new(home.join("cache")));
    fs::create_dir_all(home).expect("a folder");
    let put = |bytes: &[u8]| objects.put(HashCode::Sha2_256, bytes).expect("room").id;
    let code = put(bytes);
    let module = Descriptor::new(texts::FETCH.id(), ModuleKind::Wasm, code);
    let name = "large".parse().expect("a name");
    let table = SymbolTable::first([(name, put(&module.encode()))].into()).expect("one name");
    put(&table.encode());
    let config = format!("symbols = \"{}\"\n", table.id());
    fs::write(home.join("config"), config).expect("room");
    code
}

fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grid"));
    command.env_clear().env("GRID_HOME", home).args(words);
    command
}

fn server(home: &Path, log: &Path) -> Running {
    let child = command(home, &["start-server", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log).expect("room"))
        .spawn()
        .expect("the program starts");
    let server = Running(child);
    wait(|| UnixStream::connect(home.join("grid.sock")).is_ok());
    server
}

fn place(log: &Path) -> String {
    let log = fs::read_to_string(log).expect("a log");
    let rest = log.split("listens on UDP ").nth(1).unwrap_or_default();
    rest.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The time from the question to the answer that the object is in the store.
fn fetch(home: &Path, dir: &Path, place: &str, object: &ContentId) -> Duration {
    let _server = server(home, &dir.join("log-of-taker"));
    let exchanged = command(home, &["exchange-keys", place]).output();
    assert!(exchanged.expect("the program runs").status.success());
    let mut stream = UnixStream::connect(home.join("grid.sock")).expect("a server");
    let message = Message::new(texts::FETCH.id())
        .arg("object")
        .arg(object.to_string());
    let begun = Instant::now();
    frame::write(&mut stream, &message).expect("a server");
    loop {
        let answer = frame::read(&mut stream)
            .expect("a server")
            .expect("an answer");
        let said = String::from_utf8_lossy(&answer.payload);
        assert_eq!(answer.promise, texts::ANSWER.id(), "{said}");
        if answer.args.is_empty() {
            let took = begun.elapsed();
            assert!(said.contains(&LENGTH.to_string()), "{said}");
            return took;
        }
    }
}

/// A web server for a file, and its address; none if it is not installed.
fn nginx(dir: &Path, bytes: &[u8]) -> Option<(Running, String)> {
    let is_there = |program: &str, flag: &str| {
        let ran = Command::new(program).arg(flag).output();
        ran.is_ok_and(|output| output.status.success())
    };
    if !is_there("nginx", "-v") || !is_there("curl", "--version") {
        return None;
    }
    // Free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
    let port = port.local_addr().ok()?.port();
    let root = dir.join("www");
    fs::create_dir_all(&root).ok()?;
    fs::write(root.join("object"), bytes).ok()?;
    let root = root.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {root}/{kind};"))
        .collect();
    // One worker, as the user who runs this.
    let config = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/errors;
         events {{}}
         http {{ access_log off; sendfile on; {temporary}
         server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
    );
    let path = dir.join("nginx.conf");
    fs::write(&path, config).ok()?;
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let running = Running(child);
    wait(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((running, format!("http://127.0.0.1:{port}/object")))
}

fn download(url: &str, to: &Path) -> Duration {
    let _ = fs::remove_file(to);
    let begun = Instant::now();
    let status = Command::new("curl")
        .args(["--silent", "--fail", "--output"])
        .arg(to)
        .arg(url)
        .status();
    let took = begun.elapsed();
    assert!(status.expect("curl runs").success(), "curl failed");
    let length = fs::metadata(to).expect("a file").len();
    assert_eq!(length, LENGTH as u64);
    took
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody answers");
        sleep(Duration::from_millis(2));
    }
}
