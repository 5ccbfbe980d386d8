//! Two hosts that talk through the tunnel, for any pair of back ends.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use grid_wg::{Backend, BackendChoice, Place, Route, SkipReason, Skipped, Step, plan};

use super::sites::{Site, cable, check_traffic, introduce, meet};
use super::{create, ip, key, net, nets, observe, psk, wish};

/// The back ends at the two ends.
pub(crate) type Choices = (BackendChoice, BackendChoice);

fn two_sites((left, right): Choices) -> (Site, Site) {
    let (one, other) = cable();
    (
        Site::new(one, "wga", 1, left, &Place::default()),
        Site::new(other, "wgb", 2, right, &Place::default()),
    )
}

/// Two sites with a cable between them, and what they measure of the tunnel.
pub(crate) fn two_sites_talk_through_the_tunnel(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
}

pub(crate) fn a_changed_peer_leaves_the_other_session_alone(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
    let before = a.peer(b.key()).latest_handshake.unwrap();
    // A second peer is added, changed and removed; the first one gets a prefix and a keepalive.
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

pub(crate) fn a_new_preshared_key_on_both_ends_works(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
    let (ka, kb) = (a.key(), b.key());
    let traffic = a.peer(kb).rx_bytes;
    a.desired.peers.get_mut(&kb).unwrap().preshared_key = Some(psk(200));
    b.desired.peers.get_mut(&ka).unwrap().preshared_key = Some(psk(200));
    a.reconcile();
    b.reconcile();
    // A handshake that met the other end's old key is repeated after five seconds.
    assert!((0..5).any(|_| a.ping(&mut b)));
    assert!(a.peer(kb).rx_bytes > traffic, "counters go on");
}

pub(crate) fn a_wrong_preshared_key_lets_nothing_through(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    let ka = a.key();
    introduce(&mut a, &mut b);
    b.desired.peers.get_mut(&ka).unwrap().preshared_key = Some(psk(201));
    a.reconcile();
    b.reconcile();
    assert!(!a.ping(&mut b));
    assert_eq!(b.peer(ka).latest_handshake, None);
}

pub(crate) fn an_inner_source_that_is_not_the_peers_is_dropped(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
    // A takes an address that B has not granted it.
    a.desired.addresses.insert(net("10.7.99.1/16"));
    a.reconcile();
    let from: IpAddr = "10.7.99.1".parse().unwrap();
    assert!(!a.ping_from(from, &mut b));
    assert!(a.ping(&mut b));
}

pub(crate) fn an_endpoint_follows_the_peer(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
    // A moves to another port; B learns it from A's next packet, and keeps it.
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

pub(crate) fn garbage_on_the_port_harms_nothing(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    let to = b.outer();
    a.run(move |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for length in (0..1400).step_by(7).chain([32, 48, 64, 92, 148]) {
            for kind in 0..6u8 {
                let mut packet = vec![0xa5; length];
                if let Some(start) = packet.get_mut(..4) {
                    start.copy_from_slice(&[kind, 0, 0, 0]);
                }
                let _ = socket.send_to(&packet, to);
            }
        }
    });
    // Packets may have been lost in the flood; handshakes are repeated.
    assert!((0..5).any(|_| a.ping(&mut b)));
    check_traffic(&mut a, &mut b);
}

/// A stream of the largest packets that fit.
pub(crate) fn bulk_traffic_passes(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
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
    let started = Instant::now();
    a.run(move |_| {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(&vec![7; BYTES]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    println!("{} MiB took {:?}", BYTES >> 20, started.elapsed());
    assert!(b.peer(a.key()).rx_bytes > BYTES as u64 / 2);
}

/// A keepalive establishes the session by itself and at once, whichever end was configured first.
pub(crate) fn a_keepalive_builds_the_session(choices: Choices) {
    let (mut a, mut b) = two_sites(choices);
    keep_alive(&mut a, &mut b);
    assert!(within_seconds(3, || fresh(&mut a, &b, 60) && fresh(&mut b, &a, 60)));
}

/// Sessions are renewed for as long as the interfaces exist, with no traffic but keepalives.
pub(crate) fn an_hour_of_keepalives(choices: Choices) {
    /// A session ends after 180 seconds; the next keepalive renews it.
    const OLDEST: u64 = 180 + 25 + 10;
    let (mut a, mut b) = two_sites(choices);
    keep_alive(&mut a, &mut b);
    std::thread::sleep(Duration::from_secs(10));
    for minute in 0..60 {
        assert!(
            fresh(&mut a, &b, OLDEST) && fresh(&mut b, &a, OLDEST),
            "minute {minute}"
        );
        if minute % 10 == 9 {
            assert!(a.ping(&mut b), "minute {minute}");
        }
        std::thread::sleep(Duration::from_secs(60));
    }
    assert!(a.reconcile().is_empty() && b.reconcile().is_empty());
}

fn keep_alive(a: &mut Site, b: &mut Site) {
    introduce(a, b);
    for site in [a, b] {
        for peer in site.desired.peers.values_mut() {
            peer.keepalive = Some(25);
        }
        site.reconcile();
    }
}

fn fresh(site: &mut Site, other: &Site, seconds: u64) -> bool {
    let handshake = site.peer(other.key()).latest_handshake;
    handshake.is_some_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() <= seconds))
}

fn within_seconds(seconds: u64, mut check: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < deadline {
        if check() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A prefix that another interface routes stays with it; everything else comes true.
pub(crate) fn another_interface_keeps_its_route(backend: &mut dyn Backend) {
    ip(&[
        "link", "add", "lan0", "type", "veth", "peer", "name", "lan1",
    ]);
    ip(&["link", "set", "lan0", "up"]);
    ip(&["route", "add", "192.168.66.0/24", "dev", "lan0"]);
    ip(&["-6", "route", "add", "fd68::/64", "dev", "lan0"]);
    let mut desired = wish("route0", 1);
    desired.routes.extend(nets(&["fd68::/64", "fd69::/64"]));
    let report = create(backend, &desired).unwrap();
    let taken = |net| Skipped {
        step: Step::AddRoute(Route::new(net, 254, None)),
        why: SkipReason::RouteTaken,
    };
    let expected = [taken(net("192.168.66.0/24")), taken(net("fd68::/64"))];
    assert_eq!(report.skipped, expected);
    assert!(report.skipped[0].to_string().contains("another interface"));
    assert!(ip(&["route", "show", "192.168.66.0/24"]).contains("dev lan0"));
    assert!(ip(&["-6", "route", "show", "fd69::/64"]).contains("dev route0"));
    let left = plan(&desired, &observe(backend, &desired));
    assert_eq!(left.steps.len(), 2, "{left}");
    // Once the other interface is gone, the same plan comes true.
    ip(&["link", "del", "lan0"]);
    assert!(backend.apply(&left).unwrap().skipped.is_empty());
    assert!(plan(&desired, &observe(backend, &desired)).is_empty());
}

/// On a host without IPv6, everything else comes true.
pub(crate) fn without_ipv6_the_rest_comes_true(backend: &mut dyn Backend) {
    let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    if std::fs::write(switch, "1").is_err() {
        super::skipped("IPv6 cannot be switched off here");
        return;
    }
    let desired = wish("four0", 1);
    let report = create(backend, &desired).unwrap();
    assert!(!report.skipped.is_empty());
    assert!(
        report
            .skipped
            .iter()
            .all(|skipped| skipped.why == SkipReason::NoIpv6),
        "{report:?}"
    );
    let interface = observe(backend, &desired).interface.unwrap();
    assert_eq!(interface.addresses, nets(&["10.66.0.1/16"]));
    assert_eq!((interface.peers.len(), interface.up), (2, true));
}
