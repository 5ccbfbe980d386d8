//! Default routes, tables, metrics and policy rules, for either back end. `ip route get` shows what
//! the kernel makes of them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use grid_wg::{
    Backend, Desired, Family, Observed, Place, PolicyRule, Route, Routing, SkipReason, Step, Table,
    open,
};
use nix::sys::socket::{setsockopt, sockopt};

use super::scenarios::Choices;
use super::sites::{Site, cable, meet};
use super::{create, ip, net, nets, observe, reconcile, remove, wish};

const MARK: u32 = 0x1234;
/// Neither connected nor routed, except by default.
const WORLD: [&str; 2] = ["203.0.113.9", "2001:db8:ffff::9"];
const LAN: [&str; 2] = ["198.51.100.7", "2001:db8:1::7"];

/// A host with an uplink that has default routes in the main table.
fn uplink() {
    super::add_veth_pair("up0", "far0");
    // The kernel would add link-local addresses at some later time.
    for end in ["up0", "far0"] {
        ip(&["link", "set", end, "addrgenmode", "none"]);
    }
    ip(&["link", "set", "far0", "up"]);
    ip(&["link", "set", "up0", "up"]);
    ip(&["addr", "add", "198.51.100.1/24", "dev", "up0"]);
    ip(&["addr", "add", "2001:db8:1::1/64", "dev", "up0", "nodad"]);
    ip(&["route", "add", "default", "via", "198.51.100.254"]);
    ip(&["-6", "route", "add", "default", "via", "2001:db8:1::fe"]);
}

fn default_wish(name: &str) -> Desired {
    let mut desired = wish(name, 1);
    desired.routes.extend(nets(&["0.0.0.0/0", "::/0"]));
    assert_eq!(desired.fwmark, Some(MARK));
    desired
}

/// The interface by which packets to `to` leave.
fn way(to: &str, mark: u32) -> String {
    let mark = mark.to_string();
    let shown = ip(&["route", "get", to, "mark", &mark]);
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "dev").unwrap();
    words.next().unwrap().to_owned()
}

/// The address that a socket sends from, which follows from the route that its packets take.
fn source(to: &str, mark: u32) -> IpAddr {
    let to: IpAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    setsockopt(&socket.as_fd(), sockopt::Mark, &mark).unwrap();
    socket.connect(SocketAddr::new(to, 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

fn rules() -> String {
    ip(&["-4", "rule", "show"]) + &ip(&["-6", "rule", "show"])
}

fn routes() -> String {
    ip(&["-4", "route", "show", "table", "all"]) + &ip(&["-6", "route", "show", "table", "all"])
}

/// Default routes by policy rules: which packets take them, and that removal leaves nothing.
pub(crate) fn a_default_route_spares_the_marked_and_the_near(backend: &mut dyn Backend) {
    uplink();
    let (rules_before, routes_before) = (rules(), routes());
    let desired = default_wish("exit0");
    reconcile(backend, &desired);
    for to in WORLD {
        assert_eq!(way(to, 0), "exit0");
        assert_eq!(way(to, MARK), "up0");
        // All bits of the mark count.
        assert_eq!(way(to, MARK | 1 << 31), "exit0");
    }
    for to in LAN {
        assert_eq!((way(to, 0), way(to, MARK)), ("up0".into(), "up0".into()));
    }
    let addresses = |n| ["10.66.0.1", "fd66::1", "198.51.100.1", "2001:db8:1::1"][n];
    for (n, to) in WORLD.into_iter().enumerate() {
        assert_eq!(source(to, 0).to_string(), addresses(n));
        assert_eq!(source(to, MARK).to_string(), addresses(n + 2));
    }
    // The second plan, and a second process, find nothing to do.
    assert!(reconcile(backend, &desired).is_empty());
    assert!(remove(backend, &desired));
    assert_eq!((rules(), routes()), (rules_before, routes_before));
    for to in WORLD {
        assert_eq!(way(to, 0), "up0");
    }
}

/// What others do to our rules is undone, and their own rules are left alone.
pub(crate) fn rules_are_kept_and_those_of_others_left_alone(backend: &mut dyn Backend) {
    let desired = default_wish("rule0");
    let [p, q] = PolicyRule::priorities(&desired.name).map(|priority| priority.to_string());
    // One with our priority but not our protocol, and one the other way round.
    ip(&["rule", "add", "priority", &p, "protocol", "4", "table", "9"]);
    ip(&[
        "rule", "add", "priority", "9999", "protocol", "103", "table", "9",
    ]);
    let theirs = rules();
    reconcile(backend, &desired);
    let whole = rules();
    assert_eq!(whole.lines().count(), theirs.lines().count() + 4, "{whole}");

    ip(&["-6", "rule", "del", "priority", &q]);
    assert_eq!(reconcile(backend, &desired).len(), 1);
    // Two that are ours by protocol and priority, but say something else.
    ip(&[
        "rule", "add", "priority", &q, "protocol", "103", "iif", "lo", "table", "9",
    ]);
    ip(&[
        "rule", "add", "priority", &q, "protocol", "103", "fwmark", "7", "table", "9",
    ]);
    let steps = reconcile(backend, &desired);
    assert!(
        matches!(steps.as_slice(), [Step::RemoveRule(_)]),
        "{steps:?}"
    );
    assert_eq!(rules(), whole);
    // A rule of ours may exist twice: the kernel takes the copies for different ones, because it
    // does not look at "not".
    ip(&["rule", "flush", "protocol", "103"]);
    ip(&[
        "rule", "add", "priority", "9999", "protocol", "103", "table", "9",
    ]);
    assert_eq!(reconcile(backend, &desired).len(), 2);
    assert_eq!(rules(), whole);

    assert!(remove(backend, &desired));
    assert_eq!(rules(), theirs);
}

/// Rules outlive the interface, and are found and removed without it.
pub(crate) fn rules_of_an_interface_that_is_gone_are_found(backend: &mut dyn Backend) {
    let before = rules();
    let desired = default_wish("late0");
    reconcile(backend, &desired);
    super::delete_link("late0");
    let left = observe(backend, &desired);
    assert_eq!((left.interface.is_none(), left.rules.len()), (true, 4));
    // From there on again: the rules stay, and lead to routes again.
    let steps = reconcile(backend, &desired);
    assert!(
        !steps.iter().any(|step| matches!(step, Step::AddRule(_))),
        "{steps:?}"
    );
    super::delete_link("late0");
    assert!(!remove(backend, &desired));
    assert_eq!(rules(), before);
    assert_eq!(observe(backend, &desired), Observed::default());
    // A plan that does not want them removes them as well.
    reconcile(backend, &desired);
    super::delete_link("late0");
    reconcile(backend, &wish("late0", 1));
    assert_eq!(rules(), before);
}

/// The same routes with another metric, in another table, and in none.
pub(crate) fn tables_and_metrics_come_true(backend: &mut dyn Backend) {
    let mut desired = default_wish("table0");
    let route = |text: &str, table, metric| Route::new(net(text), table, metric);
    let table = Table::of(&desired.name);
    reconcile(backend, &desired);
    for metric in [Some(5), Some(0), Some(70), None] {
        desired.routing.metric = metric;
        reconcile(backend, &desired);
        let found = observe(backend, &desired).interface.unwrap().routes;
        for wanted in ["0.0.0.0/0", "::/0"] {
            assert!(
                found.contains_key(&route(wanted, table, metric)),
                "{found:?}"
            );
        }
        assert!(found.contains_key(&route("192.168.66.0/24", 254, metric)));
        // Two default routes, the subnet, two connected prefixes: each once.
        assert_eq!(found.len(), 5, "{found:?}");
    }
    // A connected prefix whose route somebody has deleted gets one with the metric.
    desired.routing.metric = Some(300);
    ip(&["-6", "route", "del", "fd66::/64", "dev", "table0"]);
    reconcile(backend, &desired);
    assert!(ip(&["-6", "route", "show", "fd66::/64"]).contains("metric 300"));

    // Another table, with a person's route in it, and another one in the interface's own table.
    let own_table = table.to_string();
    for table in ["77", &own_table] {
        let theirs = ["203.0.113.0/24", "dev", "table0", "table", table];
        ip(&[["route", "add"].as_slice(), &theirs].concat());
    }
    desired.routing = Routing {
        table: Table::Number(77),
        metric: None,
    };
    reconcile(backend, &desired);
    assert!(observe(backend, &desired).rules.is_empty());
    let shown = ip(&["route", "show", "table", "77"]);
    for wanted in [
        "default",
        "192.168.66.0/24",
        "203.0.113.0/24",
        "10.66.0.0/16",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    assert_eq!(
        ip(&["route", "show", "table", "all", "dev", "table0"])
            .matches(&own_table)
            .count(),
        0
    );
    // The IPv4 routes of every table go with the last IPv4 address, and come back.
    let addresses = std::mem::replace(&mut desired.addresses, nets(&["fd66::1/64"]));
    reconcile(backend, &desired);
    desired.addresses = addresses;
    reconcile(backend, &desired);
    // No routes at all; nor does this crate add any to the table of local addresses.
    for table in [Table::Off, Table::Number(255)] {
        desired.routing.table = table;
        reconcile(backend, &desired);
        let found = observe(backend, &desired).interface.unwrap().routes;
        let ours = found
            .keys()
            .filter(|route| route.net.prefix_len() == 0)
            .count();
        assert_eq!(ours, 0, "{found:?}");
    }
    desired.routing = Routing::default();
    reconcile(backend, &desired);
}

/// A subnet with the endpoint of a peer, or one that the host is connected to, is left to the main table
/// as far as that has a way there; and goes back when neither holds any longer.
pub(crate) fn a_subnet_spares_the_marked_and_the_near(backend: &mut dyn Backend) {
    uplink();
    let mut desired = wish("sub0", 1);
    desired.fwmark = Some(MARK);
    desired.routes = nets(&["203.0.113.0/24", "2001:db8:ffff::/48"]);
    desired.peers.pop_last();
    let (rules_before, routes_before) = (rules(), routes());
    let endpoint = |desired: &mut Desired, at: &str| {
        let peer = desired.peers.values_mut().next().unwrap();
        peer.endpoint = Some(SocketAddr::new(at.parse().unwrap(), 51820));
    };
    for (inside, outside) in [(WORLD[0], WORLD[1]), (WORLD[1], WORLD[0])] {
        endpoint(&mut desired, inside);
        reconcile(backend, &desired);
        assert_eq!(
            (way(inside, 0), way(inside, MARK)),
            ("sub0".into(), "up0".into())
        );
        // In the main table, the longest prefix wins over everything, with a mark or without.
        assert_eq!(
            (way(outside, 0), way(outside, MARK)),
            ("sub0".into(), "sub0".into())
        );
        assert_eq!(observe(backend, &desired).rules.len(), 2);
        assert!(reconcile(backend, &desired).is_empty());
    }
    endpoint(&mut desired, LAN[0]);
    reconcile(backend, &desired);
    assert_eq!(rules(), rules_before);

    // The host comes into that network, with a route that would be beaten by any other.
    let address = "203.0.113.77/24";
    ip(&["addr", "add", address, "dev", "up0", "noprefixroute"]);
    let near = ["203.0.113.0/24", "dev", "up0", "metric", "600"];
    ip(&[["route", "add"].as_slice(), &near].concat());
    assert_eq!(way(WORLD[0], 0), "sub0");
    reconcile(backend, &desired);
    assert_eq!(
        (way(WORLD[0], 0), way(WORLD[1], 0)),
        ("up0".into(), "sub0".into())
    );
    ip(&["addr", "del", address, "dev", "up0"]);
    ip(&[["route", "del"].as_slice(), &near].concat());
    // Nobody has to do anything for that.
    assert_eq!(way(WORLD[0], 0), "sub0");
    reconcile(backend, &desired);
    assert_eq!(
        (way(WORLD[0], 0), rules()),
        ("sub0".into(), rules_before.clone())
    );
    assert!(remove(backend, &desired));
    assert_eq!((rules(), routes()), (rules_before, routes_before));
}

/// Each interface has its own table for default routes, so two of them do not get in each other's way.
pub(crate) fn two_default_routes_do_not_meet(backend: &mut dyn Backend) {
    uplink();
    let (mut one, mut other) = (default_wish("one0"), default_wish("two0"));
    other.addresses = nets(&["10.67.0.1/16", "fd67::1/64"]);
    other.routes = nets(&["0.0.0.0/0", "::/0"]);
    other.listen_port += 1;
    one.routes.remove(&net("192.168.66.0/24"));
    reconcile(backend, &one);
    reconcile(backend, &other);
    assert!(reconcile(backend, &one).is_empty());
    // The lower priority wins; once it is removed, it is the other one's turn.
    let [first, second] = if PolicyRule::priorities(&one.name) < PolicyRule::priorities(&other.name)
    {
        [&one, &other]
    } else {
        [&other, &one]
    };
    assert_eq!(way(WORLD[0], 0), first.name.as_str());
    remove(backend, first);
    assert_eq!(way(WORLD[0], 0), second.name.as_str());
    assert!(reconcile(backend, second).is_empty());
}

/// On a host without IPv6, the IPv4 default route still comes true.
pub(crate) fn a_default_route_without_ipv6(backend: &mut dyn Backend) {
    let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    if std::fs::write(switch, "1").is_err() {
        super::skipped("IPv6 cannot be switched off here");
        return;
    }
    let desired = default_wish("four1");
    let report = create(backend, &desired).unwrap();
    assert!(!report.skipped.is_empty());
    assert!(
        report.skipped.iter().all(|s| s.why == SkipReason::NoIpv6),
        "{report:?}"
    );
    let default = Route::new(net("0.0.0.0/0"), Table::of(&desired.name), None);
    let observed = observe(backend, &desired);
    assert!(observed.interface.unwrap().routes.contains_key(&default));
    let is_v4 = |rule: &&PolicyRule| rule.family == Family::V4;
    assert_eq!(observed.rules.iter().filter(is_v4).count(), 2);
}

/// Traffic by a default route, while the other end's address is itself reached by one.
pub(crate) fn the_tunnels_own_packets_do_not_loop((left, right): Choices) {
    let (one, other) = cable();
    // The endpoint is not a neighbour: the main table reaches it by its default route only.
    one.run(|| drop(ip(&["route", "add", "default", "via", "198.51.100.2"])));
    other.run(|| {
        ip(&["addr", "add", "192.0.2.2/32", "dev", "lo"]);
        ip(&["addr", "add", "203.0.113.9/32", "dev", "lo"]);
    });
    let mut a = Site::new(one, "wga", 1, left, &Place::default());
    let mut b = Site::new(other, "wgb", 2, right, &Place::default());
    meet(&mut a, &mut b);
    let key = b.key();
    a.desired.fwmark = Some(MARK);
    a.desired.routes = nets(&["0.0.0.0/0"]);
    let b_at_a = a.desired.peers.get_mut(&key).unwrap();
    b_at_a.endpoint = Some("192.0.2.2:51820".parse().unwrap());
    b_at_a.allowed_ips = nets(&["0.0.0.0/0"]);
    a.reconcile();
    assert!(a.reconcile().is_empty());
    a.run(|_| assert_eq!(way(WORLD[0], 0), "wga"));
    let sent = a.peer(key).tx_bytes;
    assert!(
        a.ping_to(WORLD[0].parse().unwrap(), &mut b),
        "the world answers through the tunnel"
    );
    assert!(a.ping(&mut b));
    let sent = a.peer(key).tx_bytes - sent;
    // Two questions of 1,300 bytes and a handshake: nothing went in circles.
    assert!((2600..6000).contains(&sent), "{sent} bytes were sent");
    // Without the route, packets take the old way again.
    a.desired.routes.clear();
    a.reconcile();
    a.run(|_| assert_eq!(way(WORLD[0], 0), "cable"));
}

/// What a restart finds of an interface that stayed, or of one that went.
pub(crate) fn a_dropped_back_end_leaves_no_rules_without_an_interface(
    choice: grid_wg::BackendChoice,
) {
    let before = rules();
    let desired = default_wish("drop1");
    let mut backend = open(choice, &Place::default()).unwrap();
    reconcile(&mut *backend, &desired);
    drop(backend);
    let is_there = super::link_index("drop1").is_some();
    assert_eq!(rules() == before, !is_there);
    let mut backend = open(choice, &Place::default()).unwrap();
    let steps = reconcile(&mut *backend, &desired);
    assert_eq!(steps.is_empty(), is_there);
    assert!(remove(&mut *backend, &desired));
    assert_eq!(rules(), before);
}
