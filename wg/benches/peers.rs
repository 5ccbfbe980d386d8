//! Five thousand peers in the kernel's WireGuard, compared with `wg syncconf` for the same set:
//! `cargo kernel-bench -p grid-wg --bench peers`.
//!
//! Three tasks, in turns with `wg`, all in one network namespace: all peers on a new interface, nothing
//! to change, one peer to change. The times for `wg` include the start of its process, which is also
//! measured by itself. `strace` counts its netlink messages in a run that is not timed. Says SKIPPED
//! where the kernel has no WireGuard.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use grid_keys::{Secret, WgPublicKey, WgSecretKey};
use grid_wg::{
    Backend, BackendChoice, Desired, DesiredPeer, Mtu, Observed, Place, Routing, Traffic, open,
    plan, preflight,
};
use nix::sched::{CloneFlags, unshare};

const PEERS: u16 = 5000;
const ROUNDS: usize = 7;
const OURS: &str = "ours0";
const THEIRS: &str = "theirs0";

/// What one task took: times, and netlink messages if they were counted.
struct Took {
    times: Vec<Duration>,
    traffic: Option<Traffic>,
}

fn main() {
    if let Err(error) = preflight(BackendChoice::Kernel, &Place::default()) {
        println!("SKIPPED: {error}");
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let wishes = [wish(OURS, 25), wish(OURS, 0)];
    let files = Files::write(&wishes);
    let has_wg = run("wg", &["--version"]).is_some();
    if !has_wg {
        println!("SKIPPED `wg syncconf`: there is no wg here");
    }
    println!("{PEERS} peers with two allowed IPs each, median of {ROUNDS}, netlink requests:");

    report("ours: all peers, new interface", &ours_first(&wishes[0]));
    if has_wg {
        report(
            "wg syncconf: all peers, new interface",
            &theirs_first(&files),
        );
    }
    report("ours: nothing to change", &ours_unchanged(&wishes[0]));
    if has_wg {
        report("wg syncconf: nothing to change", &theirs(&files, |_| 0));
    }
    report("ours: one peer, state known", &ours_changed(&wishes, true));
    report(
        "ours: one peer, state read first",
        &ours_changed(&wishes, false),
    );
    if has_wg {
        report("wg syncconf: one peer", &theirs(&files, |round| round % 2));
        report("wg set: one peer", &theirs_set(&wishes[0]));
        report("wg: start and end of its process", &starts());
    }
    // What was measured did the job.
    let mut backend = kernel();
    let last = &wishes[(ROUNDS - 1) % 2];
    let left = plan(last, &observe(&mut *backend, last));
    assert!(left.is_empty(), "left to do:\n{left}");
}

fn report(task: &str, took: &Took) {
    let mut times = took.times.clone();
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1000.0;
    let counted = took.traffic.map_or_else(
        || "-".to_owned(),
        |traffic| match traffic.answers {
            0 => traffic.requests.to_string(),
            answers => format!("{} ({answers} messages came back)", traffic.requests),
        },
    );
    println!("{task:<40} {median:>9.3} ms   {counted}");
}

fn wish(name: &str, keepalive: u16) -> Desired {
    let key = |bytes: [u8; 32]| WgSecretKey::from_bytes(&Secret::new(bytes));
    let peers = (0..PEERS).map(|n| {
        let [high, low] = n.to_be_bytes();
        let mut bytes = [7; 32];
        // Not in the first or the last byte, where a key does not keep every bit.
        (bytes[1], bytes[2]) = (high, low);
        let ips = [format!("10.67.{high}.{low}/32"), format!("fd67::{n:x}/128")];
        let ips = ips.iter().map(|ip| ip.parse().expect("a prefix"));
        let peer = DesiredPeer {
            preshared_key: Some(Secret::new([3; 32])),
            endpoint: Some(SocketAddr::from(([192, 0, 2, 9], 1000 + n))),
            allowed_ips: ips.collect(),
            // One peer differs between the two wishes.
            keepalive: Some(if n == PEERS / 2 { keepalive } else { 0 }),
        };
        (key(bytes).public(), peer)
    });
    Desired {
        name: name.parse().expect("a name"),
        private_key: key([1; 32]),
        listen_port: 41_820,
        mtu: Mtu::DEFAULT,
        fwmark: None,
        addresses: BTreeSet::from(["10.67.255.1/16".parse().expect("an address")]),
        peers: peers.collect(),
        routes: BTreeSet::new(),
        routing: Routing::default(),
    }
}

fn kernel() -> Box<dyn Backend> {
    open(BackendChoice::Kernel, &Place::default()).expect("the kernel's WireGuard")
}

fn observe(backend: &mut dyn Backend, wish: &Desired) -> Observed {
    let own = wish.private_key.public();
    backend
        .observe(&wish.name, &own)
        .expect("the interface's state")
}

/// Times `task`, and counts its messages.
fn timed(backend: &mut dyn Backend, task: impl FnOnce(&mut dyn Backend)) -> (Duration, Traffic) {
    let before = backend.traffic();
    let started = Instant::now();
    task(&mut *backend);
    (started.elapsed(), backend.traffic() - before)
}

fn took(rounds: impl Iterator<Item = (Duration, Traffic)>) -> Took {
    let (times, traffic): (Vec<Duration>, Vec<Traffic>) = rounds.unzip();
    let traffic = traffic.last().copied();
    Took { times, traffic }
}

fn ours_first(wish: &Desired) -> Took {
    took((0..ROUNDS).map(|_| {
        let mut backend = kernel();
        let own = wish.private_key.public();
        backend
            .remove(&wish.name, &own)
            .expect("removing the interface");
        timed(&mut *backend, |backend| {
            let observed = observe(backend, wish);
            let plan = plan(wish, &observed);
            backend.apply(&plan).expect("applying the plan");
        })
    }))
}

fn ours_unchanged(wish: &Desired) -> Took {
    let mut backend = kernel();
    took((0..ROUNDS).map(|_| {
        timed(&mut *backend, |backend| {
            let plan = plan(wish, &observe(backend, wish));
            assert!(plan.is_empty(), "something to do:\n{plan}");
        })
    }))
}

/// From one wish to the other and back. `known`: the state is kept from change to change, as in the
/// program; otherwise it is read before each.
fn ours_changed(wishes: &[Desired; 2], known: bool) -> Took {
    let mut backend = kernel();
    let mut state = observe(&mut *backend, &wishes[0]);
    // From now on the back end knows its interface.
    let first = plan(&wishes[1], &state);
    backend.apply(&first).expect("applying the plan");
    state
        .interface
        .as_mut()
        .expect("an interface")
        .follow(&first.steps);
    took((0..ROUNDS).map(|round| {
        let wish = &wishes[round % 2];
        timed(&mut *backend, |backend| {
            if !known {
                state = observe(backend, wish);
            }
            let plan = plan(wish, &state);
            assert_eq!(plan.steps.len(), 1, "{plan}");
            backend.apply(&plan).expect("applying the plan");
            state
                .interface
                .as_mut()
                .expect("an interface")
                .follow(&plan.steps);
        })
    }))
}

/// Configurations for `wg`, removed on drop.
struct Files([PathBuf; 2]);

impl Files {
    fn write(wishes: &[Desired; 2]) -> Self {
        let path = |n| std::env::temp_dir().join(format!("peers-{}-{n}", std::process::id()));
        let files = Self([path(0), path(1)]);
        for (wish, file) in wishes.iter().zip(&files.0) {
            std::fs::write(file, configuration(wish)).expect("a file for wg");
        }
        files
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn configuration(wish: &Desired) -> String {
    // The keys of this benchmark are not secret, so they may be printed like public ones.
    let text = |bytes: &[u8; 32]| WgPublicKey(*bytes).to_string();
    let mut all = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 41821\n",
        text(wish.private_key.expose())
    );
    for (key, peer) in &wish.peers {
        let _ = write!(all, "[Peer]\nPublicKey = {key}\n");
        if let Some(psk) = &peer.preshared_key {
            let _ = writeln!(all, "PresharedKey = {}", text(psk.expose()));
        }
        if let Some(endpoint) = peer.endpoint {
            let _ = writeln!(all, "Endpoint = {endpoint}");
        }
        let ips: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        let _ = writeln!(all, "AllowedIPs = {}", ips.join(", "));
        let keepalive = peer.keepalive.unwrap_or(0);
        let _ = writeln!(all, "PersistentKeepalive = {keepalive}");
    }
    all
}

/// Runs a program, which must succeed; `None` if it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Duration> {
    let started = Instant::now();
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().ok()?;
    let elapsed = started.elapsed();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    Some(elapsed)
}

/// The messages that `wg` sends with these arguments, if `strace` is installed.
fn sends(arguments: &[&str]) -> Option<Traffic> {
    let log = std::env::temp_dir().join(format!("peers-{}-strace", std::process::id()));
    let output = Command::new("strace")
        .args(["-qq", "-e", "trace=sendto,sendmsg", "-o", path(&log), "wg"])
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let lines = std::fs::read_to_string(&log).ok();
    let _ = std::fs::remove_file(&log);
    let is_good = output.is_ok_and(|output| output.status.success());
    let sent = lines?
        .lines()
        .filter(|line| line.starts_with("send"))
        .count();
    let requests = u64::try_from(sent).ok().filter(|_| is_good)?;
    Some(Traffic {
        requests,
        answers: 0,
    })
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn their_interface() {
    if nix::net::if_::if_nametoindex(THEIRS).is_ok() {
        run("ip", &["link", "del", THEIRS]).expect("ip");
    }
    run("ip", &["link", "add", THEIRS, "type", "wireguard"]).expect("ip");
}

fn theirs_first(files: &Files) -> Took {
    let arguments = ["syncconf", THEIRS, path(&files.0[0])];
    their_interface();
    let traffic = sends(&arguments);
    let times = (0..ROUNDS).map(|_| {
        their_interface();
        run("wg", &arguments).expect("wg")
    });
    let times = times.collect();
    Took { times, traffic }
}

/// `wg syncconf` with the file that `which` says for each round.
fn theirs(files: &Files, which: impl Fn(usize) -> usize) -> Took {
    let sync = |round| ["syncconf", THEIRS, path(&files.0[which(round)])];
    let traffic = sends(&sync(1));
    let times = (0..ROUNDS).map(|round| run("wg", &sync(round)).expect("wg"));
    let times = times.collect();
    Took { times, traffic }
}

fn theirs_set(wish: &Desired) -> Took {
    let key = wish.peers.keys().next().expect("a peer").to_string();
    let set = |seconds| ["set", THEIRS, "peer", &key, "persistent-keepalive", seconds];
    let traffic = sends(&set("off"));
    let times = (0..ROUNDS)
        .map(|round| run("wg", &set(if round % 2 == 0 { "25" } else { "off" })).expect("wg"));
    let times = times.collect();
    Took { times, traffic }
}

fn starts() -> Took {
    let times = (0..ROUNDS).map(|_| run("wg", &["--version"]).expect("wg"));
    Took {
        times: times.collect(),
        traffic: None,
    }
}
