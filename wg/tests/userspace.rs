//! The userspace back end for real: TUN interfaces, UDP, handshakes, `wg show`.
//!
//! Every test runs on a thread with its own network and mount namespace, so it needs root (or a user
//! namespace in which it is root) and /dev/net/tun. Without them it says SKIPPED.

// A failure here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{create, in_namespace, key, observe, remove, requirements as missing, wg, wish};
use common::{netns, routing, scenarios};
use grid_wg::{Backend, BackendChoice, BackendKind, Error, Observed, Place, open, plan, preflight};

const CHOICE: BackendChoice = BackendChoice::Userspace;
const KIND: BackendKind = BackendKind::Userspace;

fn backend() -> Box<dyn Backend> {
    open(CHOICE, &Place::default()).unwrap()
}

#[test]
fn starting_takes_milliseconds() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("fast0", 1);
        let started = Instant::now();
        create(&mut *backend, &desired).unwrap();
        let took = started.elapsed();
        println!("an interface with two peers was up after {took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}");
    });
}

#[test]
fn removal_leaves_nothing() {
    or_skip!();
    in_namespace(|| {
        let threads_before = threads();
        let files_before = files();
        for _ in 0..3 {
            let mut backend = backend();
            let desired = wish("gone0", 1);
            create(&mut *backend, &desired).unwrap();
            assert!(socket("gone0").exists());
            assert!(remove(&mut *backend, &desired));
            assert_eq!(common::link_index("gone0"), None);
            assert!(!socket("gone0").exists());
            assert!(UdpSocket::bind(("0.0.0.0", desired.listen_port)).is_ok());
            assert!(!remove(&mut *backend, &desired));
        }
        assert_eq!(threads(), threads_before);
        assert_eq!(files(), files_before);
    });
}

#[test]
fn dropping_the_back_end_removes_its_interfaces() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        create(&mut *backend, &wish("drop0", 1)).unwrap();
        assert!(common::link_index("drop0").is_some());
        drop(backend);
        assert_eq!(common::link_index("drop0"), None);
        assert!(!socket("drop0").exists());
    });
}

#[test]
fn a_foreign_interface_is_left_alone() {
    or_skip!();
    in_namespace(|| {
        common::add_veth("theirs0");
        common::refuses_foreign(&mut *backend(), "theirs0", "veth");
        assert!(common::link_index("theirs0").is_some());
        // Made by this process, but by another back end: whoever holds the device owns it.
        let mut first = backend();
        create(&mut *first, &wish("mine0", 1)).unwrap();
        common::refuses_foreign(&mut *backend(), "mine0", "tun");
    });
}

#[test]
fn an_interface_that_somebody_removed_is_built_again() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("back0", 1);
        create(&mut *backend, &desired).unwrap();
        common::delete_link("back0");
        let observed = observe(&mut *backend, &desired);
        assert_eq!(observed, Observed::default());
        backend.apply(&plan(&desired, &observed)).unwrap();
        let again = observe(&mut *backend, &desired);
        assert!(plan(&desired, &again).is_empty());
    });
}

#[test]
fn a_port_in_use_leaves_a_running_interface_on_its_port() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let mut running = wish("port0", 1);
        let port = running.listen_port;
        create(&mut *backend, &running).unwrap();
        let held = UdpSocket::bind("[::]:0").unwrap();
        running.listen_port = held.local_addr().unwrap().port();
        let observed = observe(&mut *backend, &running);
        let error = backend.apply(&plan(&running, &observed)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Apply {
                    rolled_back: false,
                    ..
                }
            ),
            "{error}"
        );
        let observed = observe(&mut *backend, &running);
        assert_eq!(observed.interface.unwrap().listen_port, port);
    });
}

shared_tests!();

#[test]
fn preflight_says_what_is_missing() {
    or_skip!();
    in_namespace(|| {
        assert_eq!(
            preflight(CHOICE, &Place::default()).unwrap(),
            BackendKind::Userspace
        );
        // The user nobody has no capabilities, in the same namespaces.
        common::as_nobody(|| {
            assert!(matches!(
                preflight(CHOICE, &Place::default()),
                Err(Error::NoNetAdmin)
            ));
            assert!(matches!(
                preflight(BackendChoice::Auto, &Place::default()),
                Err(Error::NoNetAdmin)
            ));
        });
        common::hide("/dev/net/tun");
        assert!(
            matches!(preflight(CHOICE, &Place::default()), Err(Error::NoTun(_))),
            "{:?}",
            preflight(CHOICE, &Place::default())
        );
    });
}

fn socket(name: &str) -> std::path::PathBuf {
    format!("/var/run/wireguard/{name}.sock").into()
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("wg-gone0")).count()
}

/// The open TUN files of this test's device. Its sockets are not counted: they cannot be told from
/// those of other tests' threads.
fn files() -> usize {
    let open = std::fs::read_dir("/proc/thread-self/fdinfo").unwrap();
    let infos = open.filter_map(|f| std::fs::read_to_string(f.ok()?.path()).ok());
    infos.filter(|info| info.contains("iff:\tgone0")).count()
}

#[test]
fn wg_shows_and_sets_the_device() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("show0", 1);
        let own = desired.private_key.public();
        create(&mut *backend, &desired).unwrap();
        let mode = std::fs::metadata(socket("show0"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let Some(shown) = wg(&["show", "show0"]) else {
            common::skipped("there is no wg on this machine");
            return;
        };
        assert!(shown.contains(&format!("public key: {own}")), "{shown}");
        assert!(
            shown.contains(&format!("listening port: {}", desired.listen_port)),
            "{shown}"
        );
        for (key, peer) in &desired.peers {
            assert!(shown.contains(&format!("peer: {key}")), "{shown}");
            assert!(
                shown.contains(&format!("endpoint: {}", peer.endpoint.unwrap())),
                "{shown}"
            );
        }
        assert_eq!(
            shown.matches("preshared key: (hidden)").count(),
            2,
            "{shown}"
        );
        // A person changes a peer and adds one, and the next plan undoes both.
        let first = desired.peers.keys().next().unwrap().to_string();
        let stranger = key(77).public().to_string();
        wg(&["set", "show0", "peer", &first, "persistent-keepalive", "7"]);
        wg(&[
            "set",
            "show0",
            "peer",
            &stranger,
            "allowed-ips",
            "10.66.0.9/32",
        ]);
        let observed = observe(&mut *backend, &desired);
        let repair = plan(&desired, &observed);
        assert_eq!(repair.steps.len(), 2, "{repair}");
        backend.apply(&repair).unwrap();
        let observed = observe(&mut *backend, &desired);
        assert!(plan(&desired, &observed).is_empty());
    });
}

#[test]
fn a_leftover_socket_is_replaced_and_a_living_one_is_not() {
    or_skip!();
    in_namespace(|| {
        std::fs::create_dir_all("/var/run/wireguard").unwrap();
        drop(std::os::unix::net::UnixListener::bind(socket("left0")).unwrap());
        let mut backend = backend();
        create(&mut *backend, &wish("left0", 1)).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(socket("left0")).is_ok());

        let living = std::os::unix::net::UnixListener::bind(socket("live0")).unwrap();
        let mut desired = wish("live0", 2);
        desired.listen_port += 1;
        create(&mut *backend, &desired).unwrap();
        remove(&mut *backend, &desired);
        assert!(std::os::unix::net::UnixStream::connect(socket("live0")).is_ok());
        drop(living);
    });
}

two_site_tests!((CHOICE, CHOICE));

#[test]
#[ignore = "takes an hour, or some seconds in a kernel with simulated time"]
fn an_hour_of_keepalives() {
    or_skip!();
    scenarios::an_hour_of_keepalives((CHOICE, CHOICE));
}
