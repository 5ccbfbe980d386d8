//! Interfaces and sockets in different network namespaces, for either back end.

use std::net::UdpSocket;

use grid_wg::{BackendChoice, Error, Netns, Place, Watch, host, open, preflight};

use super::scenarios::Choices;
use super::sites::{Host, Site, cable, check_traffic, meet};
use super::{create, ip, link_index, net, nets, reconcile, remove, wish};

fn place(netns: &str) -> Place {
    Place::in_netns(netns.parse().unwrap())
}

/// Two peers, each with its interface in a namespace that has nothing else, and its sockets in the one
/// with the cable.
pub(crate) fn two_namespaces_talk_through_the_tunnel((left, right): Choices) {
    let (one, other) = cable();
    let site = |outside: Host, name: &str, n, choice| {
        let inside = Host::new();
        let place = place(&inside.path());
        let mut site = Site::new(outside, name, n, choice, &place);
        site.desired.routes = nets(&["0.0.0.0/0"]);
        // There is nothing but the tunnel inside: the main table will do, and no mark is needed.
        site.desired.routing.table = grid_wg::Table::MAIN;
        site.inside = Some(inside);
        site
    };
    let mut a = site(one, "wga", 1, left);
    let mut b = site(other, "wgb", 2, right);
    meet(&mut a, &mut b);
    check_traffic(&mut a, &mut b);
    assert!(a.reconcile().is_empty() && b.reconcile().is_empty());
    for (site, name) in [(&a, "wga"), (&b, "wgb")] {
        assert!(site.run(move |_| link_index(name).is_some()), "inside");
        assert!(
            site.outside(move || link_index(name).is_none()),
            "not outside"
        );
        // The port is taken outside, and free inside.
        assert!(site.outside(|| UdpSocket::bind("0.0.0.0:51820").is_err()));
        assert!(site.run(|_| UdpSocket::bind("0.0.0.0:51820").is_ok()));
        assert!(
            site.run(|_| ip(&["route", "get", "203.0.113.9"]))
                .contains(name)
        );
    }
    // A new port, to which the peer follows, with the sockets still outside.
    a.desired.listen_port = 45_678;
    a.reconcile();
    assert!(a.ping(&mut b));
    assert!(a.outside(|| UdpSocket::bind("0.0.0.0:45678").is_err()));
}

/// Names, errors, and everything that reads the state of a place.
pub(crate) fn a_named_namespace_holds_all_of_the_interface(choice: BackendChoice) {
    ip(&["netns", "add", "blue"]);
    let blue = place("blue");
    assert_eq!(
        blue.netns().map(ToString::to_string).as_deref(),
        Some("blue")
    );
    let kind = preflight(choice, &blue).unwrap();
    let mut watch = Watch::open(&blue).unwrap();
    let mut inside = open(choice, &blue).unwrap();
    let mut here = open(choice, &Place::default()).unwrap();
    // The same name here and there, in this order: the interface here must not get in the way.
    let mut outer = wish("same0", 1);
    outer.listen_port += 1;
    let mut inner = wish("same0", 2);
    inner.routes.extend(nets(&["0.0.0.0/0", "::/0"]));
    reconcile(&mut *here, &outer);
    let rules_here = ip(&["rule", "show"]);
    reconcile(&mut *inside, &inner);
    assert_eq!(inside.kind(), kind);
    assert!(reconcile(&mut *here, &outer).is_empty());
    assert!(reconcile(&mut *inside, &inner).is_empty());
    let shown = ip(&["-n", "blue", "-d", "addr", "show", "same0"]);
    assert!(
        shown.contains("inet 10.66.0.1/16") && shown.contains("inet6 fd66::1/64"),
        "{shown}"
    );
    assert!(ip(&["-n", "blue", "rule", "show"]).contains("fwmark 0x1234"));
    assert_eq!(ip(&["rule", "show"]), rules_here);
    assert!(ip(&["-n", "blue", "link", "show"]).matches("same0").count() == 1);
    let heard = watch.read().unwrap();
    assert!(!heard.interfaces.is_empty());
    assert!(std::iter::from_fn(|| watch.read().ok()).any(|heard| heard.rules));
    let connected = host::connected(&blue, &[]).unwrap();
    assert!(connected.contains(&net("10.66.0.0/16")));
    let except = [inner.name.clone()];
    assert!(
        !host::connected(&blue, &except)
            .unwrap()
            .contains(&net("10.66.0.0/16"))
    );

    // A foreign interface there is refused just as it would be here.
    let veth = ["type", "veth", "peer", "name", "theirs8"];
    ip(&[&["-n", "blue", "link", "add", "theirs9"], &veth[..]].concat());
    super::refuses_foreign(&mut *inside, "theirs9", "veth");
    assert!(remove(&mut *inside, &inner));
    assert!(!ip(&["-n", "blue", "rule", "show"]).contains("fwmark"));
    assert!(!ip(&["-n", "blue", "link", "show"]).contains("same0"));
    assert!(link_index("same0").is_some(), "the one here stays");
}

/// Namespaces that do not exist, files that are not namespaces, and namespaces closed to this user.
pub(crate) fn what_cannot_be_entered_is_told(choice: BackendChoice) {
    ip(&["netns", "add", "blue"]);
    let fails = |place: &Place| {
        let error = preflight(choice, place).unwrap_err();
        assert!(open(choice, place).is_err() && Watch::open(place).is_err());
        assert!(host::connected(place, &[]).is_err() && host::forwards(place).is_err());
        error
    };
    let missing = fails(&place("red"));
    assert!(matches!(&missing, Error::NoNetns { netns } if netns.to_string() == "red"));
    assert!(missing.to_string().contains("ip netns add"), "{missing}");
    // A name that has outlived its namespace, as after a reboot.
    std::fs::write("/run/netns/stale", "").unwrap();
    assert!(matches!(fails(&place("stale")), Error::NotANetns { .. }));
    let netns: Netns = "/dev/null".parse().unwrap();
    assert!(matches!(
        fails(&Place::in_netns(netns)),
        Error::NotANetns { .. }
    ));
    super::as_nobody(move || {
        let error = preflight(choice, &place("blue")).unwrap_err();
        assert!(matches!(error, Error::NetnsDenied { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_SYS_ADMIN"), "{error}");
    });
}

/// A back end stays with its namespace when the name is given to another one, and the calling thread
/// stays where it is.
pub(crate) fn a_back_end_stays_with_its_namespace(choice: BackendChoice) {
    ip(&["netns", "add", "blue"]);
    let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let mut backend = open(choice, &place("blue")).unwrap();
    ip(&["netns", "delete", "blue"]);
    ip(&["netns", "add", "blue"]);
    let desired = wish("stay1", 1);
    create(&mut *backend, &desired).unwrap();
    assert!(reconcile(&mut *backend, &desired).is_empty());
    assert!(!ip(&["-n", "blue", "link", "show"]).contains("stay1"));
    assert_eq!(
        std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
        here
    );
    assert!(remove(&mut *backend, &desired));
}
