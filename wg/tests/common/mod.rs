//! What the tests of all back ends share: namespaces, cables, sites.

// Each test program uses a part of it, and a failure here fails a test.
#![allow(
    dead_code,
    unused_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

pub(crate) mod netns;
pub(crate) mod routing;
pub(crate) mod scenarios;
mod sites;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use grid_keys::{PresharedKey, Secret, WgPublicKey, WgSecretKey};
use grid_wg::{
    Backend, BackendKind, Desired, DesiredPeer, Error, Mtu, Observed, Report, Routing, Step, plan,
};
use ipnet::IpNet;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Ends a test here, and says why, if the `missing()` of the test program says that it cannot run.
macro_rules! or_skip {
    () => {
        if let Some(reason) = missing() {
            common::skipped(&reason);
            return;
        }
    };
}

/// The tests on one host that are the same for all back ends. The program that calls it defines `CHOICE`,
/// the `KIND` that this gives, `backend()` and `missing()`.
macro_rules! shared_tests {
    () => {
        #[test]
        fn a_plan_comes_true_and_leaves_nothing_to_do() {
            or_skip!();
            in_namespace(|| common::comes_true(&mut *backend(), KIND));
        }
        shared_tests! { &mut *backend() =>
            common::changes_come_true,
            common::five_thousand_peers,
            common::a_port_in_use_is_an_error_and_nothing_changes,
            scenarios::another_interface_keeps_its_route,
            scenarios::without_ipv6_the_rest_comes_true,
            routing::a_default_route_spares_the_marked_and_the_near,
            routing::a_subnet_spares_the_marked_and_the_near,
            routing::rules_are_kept_and_those_of_others_left_alone,
            routing::rules_of_an_interface_that_is_gone_are_found,
            routing::tables_and_metrics_come_true,
            routing::two_default_routes_do_not_meet,
            routing::a_default_route_without_ipv6,
        }
        // These open back ends by themselves.
        shared_tests! { CHOICE =>
            routing::a_dropped_back_end_leaves_no_rules_without_an_interface,
            netns::a_named_namespace_holds_all_of_the_interface,
            netns::what_cannot_be_entered_is_told,
            netns::a_back_end_stays_with_its_namespace,
        }
    };
    ($with:expr => $($module:ident::$name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            or_skip!();
            in_namespace(|| $module::$name($with));
        })*
    };
}

/// The tests with two sites, each for every pair of back ends in the list.
macro_rules! two_site_tests {
    ($($choices:expr),+ $(,)?) => {
        two_site_tests! { [$($choices),+] =>
            scenarios::a_keepalive_builds_the_session,
            scenarios::two_sites_talk_through_the_tunnel,
            scenarios::a_changed_peer_leaves_the_other_session_alone,
            scenarios::a_new_preshared_key_on_both_ends_works,
            scenarios::a_wrong_preshared_key_lets_nothing_through,
            scenarios::an_inner_source_that_is_not_the_peers_is_dropped,
            scenarios::an_endpoint_follows_the_peer,
            scenarios::garbage_on_the_port_harms_nothing,
            scenarios::bulk_traffic_passes,
            routing::the_tunnels_own_packets_do_not_loop,
            netns::two_namespaces_talk_through_the_tunnel,
        }
    };
    ($all:tt => $($module:ident::$name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            or_skip!();
            for choices in $all {
                $module::$name(choices);
            }
        })*
    };
}

pub(crate) fn key(n: u8) -> WgSecretKey {
    WgSecretKey::from_bytes(&Secret::new([n; 32]))
}

pub(crate) fn psk(n: u8) -> PresharedKey {
    Secret::new([n; 32])
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

/// Why tests cannot run here, if they cannot.
pub(crate) fn requirements() -> Option<String> {
    let namespaces = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .unwrap();
    if let Err(error) = namespaces {
        return Some(format!("no network namespace ({error}): run as root"));
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("these tests build their networks with ip, which is not installed".to_owned());
    }
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    tun.err().map(|error| format!("/dev/net/tun: {error}"))
}

/// Says that a test did not run, bypassing the capture of what passing tests print.
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // In one piece, because tests run in parallel.
    let line = format!("SKIPPED: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Gives the calling thread its own network, and its own /var/run/wireguard.
pub(crate) fn enter_namespaces() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    // On most systems /var/run is a link to /run.
    if !std::fs::canonicalize("/var/run").is_ok_and(|path| path == std::path::Path::new("/run")) {
        mount(
            Some("tmpfs"),
            "/var/run",
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
    }
    ip(&["link", "set", "lo", "up"]);
}

/// Runs a test on a thread of its own, in namespaces of its own, and fails if it does.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        own_files();
        enter_namespaces();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives the calling thread, and those that it starts, a file descriptor table of their own. A program
/// that another test starts holds copies of that table until it executes; if this test's devices and
/// ports were among them, they would outlive their removal for that moment.
#[allow(unsafe_code)]
fn own_files() {
    const KEPT: libc::c_uint = 3;
    // SAFETY: three numbers, no memory; this thread has opened no file that it could lose.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            KEPT,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The tests inspect the host with `ip`, so that they do not share mistakes with the code.
pub(crate) fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip is installed");
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn link_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// An interface of another kind.
pub(crate) fn add_veth(name: &str) {
    add_veth_pair(name, "other-end");
}

pub(crate) fn add_veth_pair(name: &str, other: &str) {
    ip(&["link", "add", name, "type", "veth", "peer", "name", other]);
}

pub(crate) fn delete_link(name: &str) {
    ip(&["link", "del", name]);
}

/// Hides a device file by mounting an empty folder over the one that it is in.
pub(crate) fn hide(path: &str) {
    let none: Option<&str> = None;
    let folder = std::path::Path::new(path).parent().unwrap();
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// Runs something on a thread without capabilities.
#[allow(unsafe_code)]
pub(crate) fn as_nobody(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // The system call changes this thread only; the C library's wrapper would change the whole
        // process.
        // SAFETY: setresuid takes three numbers and touches no memory.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(result, 0);
        run();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Two peers, two addresses, a subnet behind one of the peers.
pub(crate) fn wish(name: &str, own: u8) -> Desired {
    let peer = |n: u8, ips: &[&str]| {
        let peer = DesiredPeer {
            preshared_key: Some(psk(n)),
            endpoint: Some(format!("192.0.2.{n}:51820").parse().unwrap()),
            allowed_ips: nets(ips),
            keepalive: None,
        };
        (key(n).public(), peer)
    };
    Desired {
        name: name.parse().unwrap(),
        private_key: key(own),
        listen_port: 41_820,
        mtu: Mtu::DEFAULT,
        fwmark: Some(0x1234),
        addresses: nets(&["10.66.0.1/16", "fd66::1/64"]),
        peers: [
            peer(101, &["10.66.0.101/32", "fd66::101/128"]),
            peer(102, &["10.66.0.102/32", "192.168.66.0/24"]),
        ]
        .into(),
        routes: nets(&["10.66.0.0/16", "fd66::/64", "192.168.66.0/24"]),
        routing: Routing::default(),
    }
}

fn own(desired: &Desired) -> WgPublicKey {
    desired.private_key.public()
}

/// Applies the plan for a host on which the interface does not exist.
pub(crate) fn create(backend: &mut dyn Backend, desired: &Desired) -> Result<Report, Error> {
    backend.apply(&plan(desired, &Observed::default()))
}

pub(crate) fn observe(backend: &mut dyn Backend, desired: &Desired) -> Observed {
    backend.observe(&desired.name, &own(desired)).unwrap()
}

/// Whether there was an interface to remove.
pub(crate) fn remove(backend: &mut dyn Backend, desired: &Desired) -> bool {
    backend.remove(&desired.name, &own(desired)).unwrap()
}

/// Applies the difference and checks that none is left. Returns the steps.
pub(crate) fn reconcile(backend: &mut dyn Backend, desired: &Desired) -> Vec<Step> {
    let observed = observe(backend, desired);
    let first = plan(desired, &observed);
    backend.apply(&first).unwrap();
    let observed = observe(backend, desired);
    let second = plan(desired, &observed);
    assert!(
        second.is_empty(),
        "applied:\n{first}left:\n{second}observed: {observed:#?}"
    );
    first.steps
}

/// From nothing to an interface that the system's own tools confirm, twice, and back to nothing.
pub(crate) fn comes_true(backend: &mut dyn Backend, kind: BackendKind) {
    let desired = wish("true0", 1);
    assert_eq!(backend.kind(), kind);
    assert!(!backend.reason().is_empty());
    let first = plan(&desired, &Observed::default());
    let report = backend.apply(&first).unwrap();
    assert!(
        report.created && report.steps == first.steps.len(),
        "{report:?}"
    );
    assert_eq!((report.peers_set, report.peers_removed), (2, 0));

    let observed = observe(backend, &desired);
    let left = plan(&desired, &observed);
    assert!(left.is_empty(), "{left}{observed:#?}");
    let interface = observed.interface.unwrap();
    assert_eq!(interface.kind, kind);
    assert_eq!(interface.public_key, Some(own(&desired)));
    assert_eq!(interface.fwmark, Some(0x1234));
    assert_eq!(
        interface.addresses, desired.addresses,
        "no address of the kernel's own"
    );
    assert_eq!(Some(interface.index), link_index("true0"));

    let shown = ip(&["-d", "addr", "show", "true0"]);
    for wanted in [
        "mtu 1420",
        "inet 10.66.0.1/16",
        "inet6 fd66::1/64",
        "LOWER_UP",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let routes =
        ip(&["route", "show", "dev", "true0"]) + &ip(&["-6", "route", "show", "dev", "true0"]);
    for wanted in ["10.66.0.0/16", "192.168.66.0/24", "fd66::/64"] {
        assert!(routes.contains(wanted), "{wanted}: {routes}");
    }

    // The same plan once more changes nothing.
    backend.apply(&first).unwrap();
    let again = observe(backend, &desired);
    assert!(plan(&desired, &again).is_empty());
    assert_eq!(again.interface.unwrap().index, interface.index);

    assert!(remove(backend, &desired));
    assert_eq!(link_index("true0"), None);
    assert_eq!(observe(backend, &desired), Observed::default());
}

/// Every kind of change to a running interface, one after another.
pub(crate) fn changes_come_true(backend: &mut dyn Backend) {
    let mut desired = wish("change0", 1);
    let (first, second) = (key(101).public(), key(102).public());
    reconcile(backend, &desired);
    let steps = |backend: &mut dyn Backend, desired: &Desired, expected: usize| {
        let steps = reconcile(backend, desired);
        assert_eq!(steps.len(), expected, "{steps:?}");
    };

    desired.peers.get_mut(&first).unwrap().keepalive = Some(25);
    steps(backend, &desired, 1);
    desired.peers.get_mut(&first).unwrap().keepalive = None;
    steps(backend, &desired, 1);
    desired.peers.get_mut(&first).unwrap().preshared_key = None;
    steps(backend, &desired, 1);
    desired.peers.get_mut(&first).unwrap().preshared_key = Some(psk(55));
    steps(backend, &desired, 1);
    desired.peers.get_mut(&first).unwrap().endpoint = Some("[2001:db8::5]:5".parse().unwrap());
    steps(backend, &desired, 1);
    desired.peers.get_mut(&first).unwrap().endpoint = None;
    steps(backend, &desired, 0);
    // A prefix moves: one step. A prefix goes: one step.
    desired.peers.get_mut(&second).unwrap().allowed_ips = nets(&["10.66.0.102/32"]);
    desired
        .peers
        .get_mut(&first)
        .unwrap()
        .allowed_ips
        .insert(net("192.168.66.0/24"));
    steps(backend, &desired, 1);
    desired
        .peers
        .get_mut(&first)
        .unwrap()
        .allowed_ips
        .remove(&net("192.168.66.0/24"));
    desired.routes.remove(&net("192.168.66.0/24"));
    steps(backend, &desired, 2);
    // A default route, in both families.
    desired
        .peers
        .get_mut(&second)
        .unwrap()
        .allowed_ips
        .extend(nets(&["0.0.0.0/0", "::/0"]));
    desired.routes.extend(nets(&["0.0.0.0/0", "::/0"]));
    steps(backend, &desired, 7);
    desired.routes.remove(&net("0.0.0.0/0"));
    desired.routes.remove(&net("::/0"));
    steps(backend, &desired, 6);
    desired.peers.remove(&second);
    steps(backend, &desired, 1);

    // The address moves inside its subnet: the new one stays when the old one goes.
    desired.addresses = nets(&["10.66.0.9/16", "fd66::1/64"]);
    steps(backend, &desired, 2);
    desired.addresses.insert(net("10.66.0.10/16"));
    steps(backend, &desired, 1);
    desired.addresses.remove(&net("10.66.0.9/16"));
    steps(backend, &desired, 1);
    changes_by_others_are_undone(backend, &desired);
    // An IPv6 address gets another length; IPv4 goes and comes back, with the routes on it.
    desired.addresses = nets(&["10.66.0.10/16", "fd66::1/48"]);
    desired.routes = nets(&["10.66.0.0/16", "192.168.66.0/24"]);
    steps(backend, &desired, 3);
    desired.addresses = nets(&["fd66::1/48"]);
    reconcile(backend, &desired);
    desired.addresses = nets(&["10.66.0.10/16", "fd66::1/48"]);
    reconcile(backend, &desired);

    desired.mtu = Mtu::new(1280).unwrap();
    desired.fwmark = None;
    desired.listen_port = 41_821;
    steps(backend, &desired, 2);
    desired.private_key = key(9);
    steps(backend, &desired, 1);
}

/// The next plan undoes what other programs did to the interface.
fn changes_by_others_are_undone(backend: &mut dyn Backend, desired: &Desired) {
    let name = desired.name.as_str();
    ip(&["addr", "add", "172.31.0.1/24", "dev", name]);
    ip(&["route", "add", "172.30.0.0/24", "dev", name]);
    ip(&["route", "del", "10.66.0.0/16", "dev", name]);
    ip(&["link", "set", name, "mtu", "1400"]);
    let steps = reconcile(backend, desired);
    assert_eq!(steps.len(), 4, "{steps:?}");
    ip(&["link", "set", name, "down"]);
    let steps = reconcile(backend, desired);
    assert!(steps.contains(&Step::LinkUp), "{steps:?}");
}

pub(crate) fn a_port_in_use_is_an_error_and_nothing_changes(backend: &mut dyn Backend) {
    let mut desired = wish("port0", 1);
    let held = UdpSocket::bind("[::]:0").unwrap();
    desired.listen_port = held.local_addr().unwrap().port();
    let error = create(backend, &desired).unwrap_err();
    assert!(
        matches!(error.root(), Error::PortInUse { port, .. } if *port == desired.listen_port),
        "{error}"
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
    assert_eq!(link_index("port0"), None);
}

pub(crate) fn refuses_foreign(backend: &mut dyn Backend, name: &str, kind: &str) {
    let desired = wish(name, 66);
    let own = own(&desired);
    let foreign =
        |error: &Error| matches!(error, Error::ForeignInterface { kind: k, .. } if k == kind);
    let error = backend.observe(&desired.name, &own).unwrap_err();
    assert!(foreign(&error), "{error:?}");
    let error = create(backend, &desired).unwrap_err();
    assert!(foreign(&error), "{error:?}");
    let error = backend.remove(&desired.name, &own).unwrap_err();
    assert!(foreign(&error), "{error:?}");
}

pub(crate) fn five_thousand_peers(backend: &mut dyn Backend) {
    let mut desired = wish("many0", 1);
    for n in 0..5000u16 {
        let [high, low] = n.to_be_bytes();
        let mut bytes = [7; 32];
        // Not in the first or the last byte, where a key does not keep every bit.
        (bytes[1], bytes[2]) = (high, low);
        let peer = DesiredPeer {
            preshared_key: Some(psk(3)),
            endpoint: Some(format!("192.0.2.9:{}", 1000 + n).parse().unwrap()),
            allowed_ips: nets(&[
                &format!("10.67.{high}.{low}/32"),
                &format!("fd67::{n:x}/128"),
            ]),
            keepalive: None,
        };
        desired
            .peers
            .insert(WgSecretKey::from_bytes(&Secret::new(bytes)).public(), peer);
    }
    let started = Instant::now();
    let steps = reconcile(backend, &desired);
    println!(
        "5,000 peers were set and read twice in {:?}",
        started.elapsed()
    );
    assert!(steps.len() >= 5000);
    // One peer with more allowed IPs than a message holds.
    let first = *desired.peers.keys().next().unwrap();
    let many = (0..3000u32).map(|n| net(&format!("fd68::{n:x}/128")));
    desired.peers.get_mut(&first).unwrap().allowed_ips = many.collect();
    assert_eq!(reconcile(backend, &desired).len(), 1);
    desired.peers.retain(|peer, _| *peer == first);
    reconcile(backend, &desired);
}

/// Runs `wg`, if this machine has it.
pub(crate) fn wg(arguments: &[&str]) -> Option<String> {
    let output = Command::new("wg").args(arguments).output().ok()?;
    assert!(output.status.success(), "wg {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}
