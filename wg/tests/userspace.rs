//! The userspace back end for real: TUN interfaces, UDP, handshakes, `wg show`.
//!
//! Every test runs on a thread with its own network and mount namespace, so it needs root (or a
//! user namespace in which it is root) and /dev/net/tun. Where they are missing it says SKIPPED.

mod common;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use common::{Site, in_namespace, key, net, nets, psk, requirements, wish};
use grid_wg::{Backend, BackendChoice, BackendKind, Error, Observed, open, plan, preflight};

const CHOICE: BackendChoice = BackendChoice::Userspace;

fn backend() -> Box<dyn Backend> {
    open(CHOICE).unwrap()
}

macro_rules! or_skip {
    () => {
        if let Some(reason) = requirements() {
            println!("SKIPPED: {reason}");
            return;
        }
    };
}

#[test]
fn a_plan_comes_true_and_leaves_nothing_to_do() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        common::comes_true(&mut *backend, BackendKind::Userspace);
    });
}

#[test]
fn changes_come_true_step_by_step() {
    or_skip!();
    in_namespace(|| common::changes_come_true(&mut *backend()));
}

#[test]
fn starting_takes_milliseconds() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("fast0", 1);
        let started = Instant::now();
        backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap();
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
            backend
                .apply(&plan(&desired, &Observed::default()))
                .unwrap();
            assert!(socket("gone0").exists());
            assert!(
                backend
                    .remove(&desired.name, &desired.private_key.public())
                    .unwrap()
            );
            assert_eq!(common::link_index("gone0"), None);
            assert!(!socket("gone0").exists());
            assert!(UdpSocket::bind(("0.0.0.0", desired.listen_port)).is_ok());
            assert!(
                !backend
                    .remove(&desired.name, &desired.private_key.public())
                    .unwrap()
            );
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
        backend
            .apply(&plan(&wish("drop0", 1), &Observed::default()))
            .unwrap();
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
        // Of our own making, but another back end's: the handle is what counts.
        let mut first = backend();
        first
            .apply(&plan(&wish("mine0", 1), &Observed::default()))
            .unwrap();
        common::refuses_foreign(&mut *backend(), "mine0", "tun");
    });
}

#[test]
fn an_interface_that_somebody_removed_is_built_again() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("back0", 1);
        let own = desired.private_key.public();
        backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap();
        common::delete_link("back0");
        let observed = backend.observe(&desired.name, &own).unwrap();
        assert_eq!(observed, Observed::default());
        backend.apply(&plan(&desired, &observed)).unwrap();
        let again = backend.observe(&desired.name, &own).unwrap();
        assert!(plan(&desired, &again).is_empty());
    });
}

#[test]
fn a_port_in_use_is_an_error_and_nothing_changes() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let mut desired = wish("port0", 1);
        let held = UdpSocket::bind("[::]:0").unwrap();
        desired.listen_port = held.local_addr().unwrap().port();
        let error = backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap_err();
        assert!(
            matches!(error.root(), Error::PortInUse { port, .. } if *port == desired.listen_port)
        );
        assert!(
            matches!(
                error,
                Error::Apply {
                    rolled_back: true,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(common::link_index("port0"), None);

        // On a running interface the old port stays.
        let mut running = wish("port0", 1);
        backend
            .apply(&plan(&running, &Observed::default()))
            .unwrap();
        let port = running.listen_port;
        running.listen_port = desired.listen_port;
        let own = running.private_key.public();
        let observed = backend.observe(&running.name, &own).unwrap();
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
        let observed = backend.observe(&running.name, &own).unwrap();
        assert_eq!(observed.interface.unwrap().listen_port, port);
    });
}

#[test]
fn five_thousand_peers() {
    or_skip!();
    in_namespace(|| common::five_thousand_peers(&mut *backend()));
}

#[test]
fn preflight_says_what_is_missing() {
    or_skip!();
    in_namespace(|| {
        assert_eq!(preflight(CHOICE).unwrap(), BackendKind::Userspace);
        // Without capabilities: a user that is nobody, in the same namespaces.
        common::as_nobody(|| {
            assert!(matches!(preflight(CHOICE), Err(Error::NoNetAdmin)));
            assert!(matches!(
                preflight(BackendChoice::Auto),
                Err(Error::NoNetAdmin)
            ));
        });
        common::hide("/dev/net/tun");
        assert!(
            matches!(preflight(CHOICE), Err(Error::NoTun(_))),
            "{:?}",
            preflight(CHOICE)
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

/// Open files that other tests' threads do not have: sockets and devices of this thread's
/// namespaces cannot be told apart, so only the device is counted.
fn files() -> usize {
    let open = std::fs::read_dir("/proc/thread-self/fdinfo").unwrap();
    let infos = open.filter_map(|f| std::fs::read_to_string(f.ok()?.path()).ok());
    infos.filter(|info| info.contains("iff:\tgone0")).count()
}

/// `wg` if it is on this machine.
fn wg(arguments: &[&str]) -> Option<String> {
    let output = Command::new("wg").args(arguments).output().ok()?;
    assert!(output.status.success(), "wg {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn wg_shows_and_sets_the_device() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let desired = wish("show0", 1);
        let own = desired.private_key.public();
        backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap();
        let mode = std::fs::metadata(socket("show0"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let Some(shown) = wg(&["show", "show0"]) else {
            println!("SKIPPED: there is no wg on this machine");
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
        // A person changes a peer, adds one, and the next plan puts both right.
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
        let observed = backend.observe(&desired.name, &own).unwrap();
        let put_right = plan(&desired, &observed);
        assert_eq!(put_right.steps.len(), 2, "{put_right}");
        backend.apply(&put_right).unwrap();
        let observed = backend.observe(&desired.name, &own).unwrap();
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
        backend
            .apply(&plan(&wish("left0", 1), &Observed::default()))
            .unwrap();
        assert!(std::os::unix::net::UnixStream::connect(socket("left0")).is_ok());

        let living = std::os::unix::net::UnixListener::bind(socket("live0")).unwrap();
        let mut desired = wish("live0", 2);
        desired.listen_port += 1;
        backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap();
        backend
            .remove(&desired.name, &desired.private_key.public())
            .unwrap();
        assert!(std::os::unix::net::UnixStream::connect(socket("live0")).is_ok());
        drop(living);
    });
}

/// Two sites with a cable between them, and what is measured through the tunnel.
#[test]
fn two_sites_talk_through_the_tunnel() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
}

#[test]
fn a_changed_peer_leaves_the_other_session_alone() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
    let before = a.peer(b.key()).latest_handshake.unwrap();
    // A second peer comes, changes, goes; the first one gets a prefix and a keepalive, in place.
    let third = key(3).public();
    let mut extra = grid_wg::DesiredPeer {
        allowed_ips: nets(&["10.7.0.3/32"]),
        ..Default::default()
    };
    for step in 0..4 {
        match step {
            0 => drop(a.desired.peers.insert(third, extra.clone())),
            1 => {
                extra.preshared_key = Some(psk(5));
                a.desired.peers.insert(third, extra.clone());
            }
            2 => {
                let b_at_a = a.desired.peers.get_mut(&b.key()).unwrap();
                b_at_a.allowed_ips.insert(net("10.8.0.0/24"));
                b_at_a.keepalive = Some(20);
            }
            _ => drop(a.desired.peers.remove(&third)),
        }
        let plan = a.reconcile();
        assert_eq!(plan.steps.len(), 1, "{plan}");
        assert!(a.ping(&mut b));
        assert_eq!(
            a.peer(b.key()).latest_handshake,
            Some(before),
            "no new handshake"
        );
        assert!(b.peer(a.key()).rx_bytes > 0);
    }
}

#[test]
fn a_new_preshared_key_on_both_ends_works_at_once() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
    let (ka, kb) = (a.key(), b.key());
    let traffic = a.peer(kb).rx_bytes;
    a.desired.peers.get_mut(&kb).unwrap().preshared_key = Some(psk(200));
    b.desired.peers.get_mut(&ka).unwrap().preshared_key = Some(psk(200));
    a.reconcile();
    b.reconcile();
    assert!(a.ping(&mut b));
    assert!(a.peer(kb).rx_bytes > traffic, "counters go on");
}

#[test]
fn a_wrong_preshared_key_lets_nothing_through() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    let ka = a.key();
    common::introduce(&mut a, &mut b);
    b.desired.peers.get_mut(&ka).unwrap().preshared_key = Some(psk(201));
    a.reconcile();
    b.reconcile();
    assert!(!a.ping(&mut b));
    assert_eq!(b.peer(ka).latest_handshake, None);
}

#[test]
fn an_inner_source_that_is_not_the_peers_is_dropped() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
    // A takes an address that B has not granted it.
    a.desired.addresses.insert(net("10.7.99.1/16"));
    a.reconcile();
    let from: IpAddr = "10.7.99.1".parse().unwrap();
    assert!(!a.ping_from(from, &mut b));
    assert!(a.ping(&mut b));
}

#[test]
fn an_endpoint_follows_the_peer() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
    // A moves to another port; B learns it from A's next packet and keeps it.
    let (ka, kb) = (a.key(), b.key());
    a.desired.listen_port = 45_678;
    a.reconcile();
    let handshake = a.peer(kb).latest_handshake;
    assert!(a.ping(&mut b));
    let learnt: SocketAddr = b.peer(ka).endpoint.unwrap();
    assert_eq!(learnt.port(), 45_678);
    b.desired.peers.get_mut(&ka).unwrap().endpoint = None;
    assert!(b.reconcile().is_empty());
    assert_eq!(
        a.peer(kb).latest_handshake,
        handshake,
        "the session survives"
    );
}

#[test]
fn garbage_on_the_port_harms_nothing() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    let to = b.outer();
    a.run(move |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for length in (0..1400).step_by(7) {
            for kind in 0..6u8 {
                let mut packet = vec![0xa5; length];
                if let Some(start) = packet.get_mut(..4) {
                    start.copy_from_slice(&[kind, 0, 0, 0]);
                }
                let _ = socket.send_to(&packet, to);
            }
        }
    });
    common::check_traffic(&mut a, &mut b);
}

/// The largest packets that fit, over a stream.
#[test]
fn bulk_traffic_passes() {
    or_skip!();
    let (left, right) = common::cable();
    let mut a = Site::new(left, "wga", 1);
    let mut b = Site::new(right, "wgb", 2);
    common::meet(&mut a, &mut b);
    common::check_traffic(&mut a, &mut b);
    const BYTES: usize = 8 << 20;
    let to = b.run(|site| {
        let listener = TcpListener::bind((site.inner(), 0)).unwrap();
        let to = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
        });
        to
    });
    let started = SystemTime::now();
    a.run(move |_| {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(&vec![7; BYTES]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    println!("{} MiB took {:?}", BYTES >> 20, started.elapsed().unwrap());
    assert!(b.peer(a.key()).rx_bytes > BYTES as u64 / 2);
}
