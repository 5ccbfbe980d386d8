//! Starting a server in the background: a process of its own session that survives the terminal,
//! with an environment that holds what it needs and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use grid_promises::{Message, texts};

use super::caller::Caller;
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::node::status::StatusReport;
use crate::store::{ServerLock, Store};

/// What a server takes over from the environment of whoever starts it.
const ENVIRONMENT: &[&str] = &[
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "GRID_LOG",
    "RUST_BACKTRACE",
];
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server that ends may take to.
const ENDING: Duration = Duration::from_secs(5);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);
/// From which length on a log is put aside, in bytes.
const LONG_LOG: u64 = 8 << 20;
/// How much of a log is shown, in lines and in bytes.
const TAIL: (usize, u64) = (8, 8 << 10);

/// A connection to the home's server, and whether it was started for that, which is said.
///
/// # Errors
/// None runs and none could be started, with the end of its log.
pub fn connect_or_start(caller: &Caller) -> Outcome<(Client, bool)> {
    match running(caller.home())? {
        Some(client) => Ok((client, false)),
        None => launch(caller, &[]).map(|client| (client, true)),
    }
}

/// Stops a server that was started for a command that failed, if it has nothing else to do.
pub fn stop_if_idle(home: &Home) {
    // Bare messages, which a server of any version reads.
    let ask = |promise: texts::Promise| {
        let mut client = Client::connect(home).ok()??;
        let request = Message::new(promise.id()).into();
        let answer = client.call(request, ENDING, |_| {}).ok()?;
        Some((client, answer))
    };
    let is_idle = ask(texts::STATUS).is_some_and(|(_, answer)| {
        serde_json::from_slice::<StatusReport>(&answer)
            .is_ok_and(|status| status.networks.is_empty())
    });
    if is_idle && ask(texts::STOP_SERVER).is_some_and(|(client, _)| client.wait_for_end(ENDING)) {
        output::say("the server that was started is being stopped again");
    }
}

/// A connection to the server that runs; one that is ending is waited for.
///
/// # Errors
/// The socket may not be used by this user.
pub fn running(home: &Home) -> Outcome<Option<Client>> {
    let begun = Instant::now();
    loop {
        // A server that is just being killed still takes connections for a moment, but it has let go
        // of its home.
        if let Some(client) = Client::connect(home)?
            && ServerLock::is_held(home)
        {
            return Ok(Some(client));
        }
        if !ServerLock::is_held(home) || begun.elapsed() > ENDING {
            return Ok(None);
        }
        sleep(LOOK);
    }
}

/// Starts a server in the background, with more arguments, and waits until it answers.
///
/// # Errors
/// As [`connect_or_start`].
pub fn launch(caller: &Caller, more: &[String]) -> Outcome<Client> {
    let home = caller.home();
    let no_server = |text: String| Failure::new(Exit::NoServer, text);
    // Made here, so that what is wrong with it is said here.
    let store = Store::open(home).map_err(|error| no_server(error.to_string()))?;
    store
        .config()
        .and_then(|_| store.node_key())
        .map_err(|error| no_server(error.to_string()))?;
    let unwritable =
        |error: io::Error| no_server(format!("cannot write {}: {error}", home.log().display()));
    let (log, from) = open_log(home).map_err(unwritable)?;
    let errors = log.try_clone().map_err(unwritable)?;
    let mut command = Command::new(program());
    command
        .arg0("grid")
        .arg("--home")
        .arg(home.path())
        .args(["-v"].repeat(caller.verbose().into()))
        .args(["start-server", "--background-child"])
        .args(more)
        .env_clear()
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    let mut child = command
        .spawn()
        .map_err(|error| no_server(format!("a server could not be started: {error}")))?;
    let client = wait(home, &mut child).map_err(|why| {
        let tail = tail(home, from);
        no_server(format!("{why}\n{tail}  (from {})", home.log().display()))
    })?;
    output::say(&format!(
        "started a server in the background (process {}); its log is {}",
        child.id(),
        home.log().display()
    ));
    Ok(client)
}

/// This very program. Its path may be gone: it may have been replaced by another version.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into())
}

/// The log to append to, and how long it is.
fn open_log(home: &Home) -> io::Result<(File, u64)> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|about| about.len() > LONG_LOG) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)?;
    let length = log.metadata()?.len();
    Ok((log, length))
}

/// Waits until the server answers.
fn wait(home: &Home, child: &mut Child) -> Result<Client, String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let ended = match child.try_wait() {
            Ok(status) => status,
            Err(error) => return Err(format!("the server cannot be watched: {error}")),
        };
        // Another server may have been faster.
        match Client::connect(home) {
            Ok(Some(client)) => return Ok(client),
            Ok(None) => {}
            Err(failure) => return Err(failure.text),
        }
        if let Some(status) = ended {
            return Err(format!(
                "the server was started but exited at once ({status}):"
            ));
        }
        sleep(LOOK);
    }
    Err(format!(
        "the server was started (process {}) but does not answer:",
        child.id()
    ))
}

/// What was written to the log since it had `from` bytes, as far as it can be shown.
fn tail(home: &Home, from: u64) -> String {
    let (lines, bytes) = TAIL;
    let read = || -> io::Result<String> {
        let mut log = File::open(home.log())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(from.max(length.saturating_sub(bytes))))?;
        let mut text = Vec::new();
        log.take(bytes).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let shown = all
        .get(all.len().saturating_sub(lines)..)
        .unwrap_or_default();
    shown.iter().map(|line| format!("  {line}\n")).collect()
}

/// Lets go of the terminal: called by the process in the background itself.
pub fn detach() {
    // It fails only in a process that leads a session already, which has what it wants.
    let _ = nix::unistd::setsid();
}
