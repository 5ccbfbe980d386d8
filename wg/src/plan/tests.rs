//! Laws of the plan over arbitrary states, and cases that a reader may want to see.

use std::time::SystemTime;

use grid_keys::{PresharedKey, Secret, WgPublicKey, WgSecretKey};
use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::backend::Backend;
use crate::desired::{Aside, DesiredPeer};
use crate::fake::Fake;
use crate::mtu::Mtu;
use crate::observed::RouteOrigin;
use crate::routing::{Family, PolicyRule, Route, Routing, RuleAction, Table};

/// One of eight keys, so that states have peers in common.
fn secret(n: u8) -> WgSecretKey {
    WgSecretKey::from_bytes(&Secret::new([n + 1; 32]))
}

fn public(n: u8) -> WgPublicKey {
    secret(n).public()
}

fn psk(n: u8) -> PresharedKey {
    Secret::new([n; 32])
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A route with the default table and metric.
fn main(text: &str) -> Route {
    Route::new(net(text), 254, None)
}

fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

/// Few prefixes, some with host bits, so that peers, addresses and routes collide.
fn any_net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (
            0u8..3,
            0u8..4,
            prop_oneof![Just(0), Just(8), Just(16), Just(24), Just(32)]
        )
            .prop_map(|(b, d, len)| IpNet::new(IpAddr::from([10, b, 0, d]), len).unwrap()),
        (
            0u16..2,
            0u16..3,
            prop_oneof![Just(0), Just(48), Just(64), Just(128)]
        )
            .prop_map(|(c, h, len)| IpNet::new(
                IpAddr::from([0xfd00, c, 0, 0, 0, 0, 0, h]),
                len
            )
            .unwrap()),
        Just(net("fe80::1/64")),
    ]
}

fn any_endpoint() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (0u8..3, 0u8..4).prop_map(|(b, d)| SocketAddr::from(([10, b, 0, d], 51820))),
        (0u16..2).prop_map(|c| SocketAddr::from(([0xfd00, c, 0, 0, 0, 0, 0, 2], 51820))),
        (0u8..3).prop_map(|n| SocketAddr::from(([192, 0, 2, n], 51820))),
        (0u8..3).prop_map(|n| format!("[::ffff:192.0.2.{n}]:51820").parse().unwrap()),
        (0u16..3).prop_map(|n| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 51820))),
    ]
}

fn any_desired_peer() -> impl Strategy<Value = DesiredPeer> {
    let keepalive = option::of(prop_oneof![Just(0), Just(25), Just(60)]);
    (
        option::of(0u8..3),
        option::of(any_endpoint()),
        btree_set(any_net(), 0..4),
        keepalive,
    )
        .prop_map(|(key, endpoint, allowed_ips, keepalive)| DesiredPeer {
            preshared_key: key.map(psk),
            endpoint,
            allowed_ips,
            keepalive,
        })
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let device = (
        0u8..3,
        prop_oneof![Just(0), Just(51820), Just(51830)],
        1280u16..1283,
    );
    let sets = (
        btree_set(any_net(), 0..4),
        btree_set(any_net(), 0..4),
        any_routing(),
    );
    (
        device,
        option::of(0u32..3),
        sets,
        btree_map(0u8..8, any_desired_peer(), 0..6),
    )
        .prop_map(
            |((key, listen_port, mtu), fwmark, (addresses, routes, routing), peers)| Desired {
                name: "wg0".parse().unwrap(),
                private_key: secret(key),
                listen_port,
                mtu: Mtu::new(mtu).unwrap(),
                fwmark,
                // No host can have the same IPv6 address with two prefix lengths.
                addresses: one_length_an_address(addresses),
                peers: peers
                    .into_iter()
                    .map(|(n, peer)| (public(n), peer))
                    .collect(),
                routes,
                routing,
            },
        )
}

/// Few tables and metrics, including those that the kernel treats specially.
fn any_routing() -> impl Strategy<Value = Routing> {
    let own = Table::of(&"wg0".parse().unwrap());
    let table = prop_oneof![
        4 => Just(Table::Auto),
        1 => Just(Table::Off),
        3 => prop_oneof![Just(0), Just(7), Just(254), Just(255), Just(own)].prop_map(Table::Number),
    ];
    (
        table,
        option::of(prop_oneof![Just(0), Just(5), Just(256), Just(1024)]),
    )
        .prop_map(|(table, metric)| Routing { table, metric })
}

/// A route that somebody made, in a table that others may use too.
fn any_route() -> impl Strategy<Value = (Route, RouteOrigin)> {
    let own = Table::of(&"wg0".parse().unwrap());
    let table = prop_oneof![3 => Just(254), 1 => Just(7), 1 => Just(8), 1 => Just(own)];
    let origin = prop_oneof![
        Just(RouteOrigin::Kernel),
        Just(RouteOrigin::Static),
        Just(RouteOrigin::Own),
    ];
    let metric = option::of(prop_oneof![Just(5), Just(256)]);
    (any_net(), table, metric, origin)
        .prop_map(|(net, table, metric, origin)| (Route::new(net, table, metric), origin))
}

/// Rules that an earlier run of the program may have left.
fn any_rules() -> impl Strategy<Value = BTreeSet<PolicyRule>> {
    let name: IfName = "wg0".parse().unwrap();
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let rule =
        (family, 1u32..3, 0usize..2, any::<bool>()).prop_map(move |(family, mark, n, other)| {
            let mut rule = PolicyRule::pair(&name, family, mark)[n];
            if other {
                rule.action = RuleAction::Other;
            }
            rule
        });
    btree_set(rule, 0..5)
}

fn one_length_an_address(addresses: BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let mut seen = BTreeSet::new();
    addresses
        .into_iter()
        .filter(|a| a.addr().is_ipv4() || seen.insert(a.addr()))
        .collect()
}

/// A state that the fake host can really be in: the result of some earlier wish, and of what others
/// have done since.
fn any_observed() -> impl Strategy<Value = Observed> {
    let foreign = (
        (proptest::collection::vec(any_route(), 0..4), any_rules()),
        any::<bool>(),
        btree_set(0u8..8, 0..3),
        option::of(any_endpoint()),
    );
    let connected = btree_set(any_net().prop_map(|net| net.trunc()), 0..2);
    (option::of(any_desired()), foreign, connected).prop_map(
        |(earlier, ((routes, rules), up, dropped, endpoint), connected)| {
            let Some(earlier) = earlier else {
                return Observed {
                    interface: None,
                    rules,
                    connected,
                };
            };
            let mut fake = Fake::new();
            fake.connect(connected);
            fake.apply(&plan(&earlier, &Observed::default())).unwrap();
            fake.tamper(&earlier.name, |interface| {
                interface.up = up;
                for (route, origin) in routes {
                    interface.routes.insert(route, origin);
                }
                for n in dropped {
                    let peer = interface.peers.remove(&public(n));
                    if let (Some(_), Some(first)) = (peer, interface.peers.values_mut().next()) {
                        first.endpoint = endpoint.map(canonical);
                        first.latest_handshake = Some(SystemTime::UNIX_EPOCH);
                    }
                }
            });
            let rules = fake.rules(&earlier.name).into_iter().chain(rules).collect();
            fake.set_rules(earlier.name.clone(), rules);
            state(&fake, &earlier.name)
        },
    )
}

fn state(fake: &Fake, name: &IfName) -> Observed {
    let own = secret(0).public();
    fake.clone().observe(name, &own).unwrap()
}

fn host(observed: &Observed, name: &IfName) -> Fake {
    let fake = Fake::new();
    if let Some(interface) = &observed.interface {
        fake.insert(name.clone(), interface.clone());
    }
    fake.set_rules(name.clone(), observed.rules.clone());
    fake.connect(observed.connected.clone());
    fake
}

/// A peer's configuration, without what was measured.
fn configuration(peer: &ObservedPeer) -> ObservedPeer {
    ObservedPeer {
        latest_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        ..peer.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_applied_needs_no_further_plan(d in any_desired(), o in any_observed()) {
        let mut fake = host(&o, &d.name);
        let first = plan(&d, &o);
        fake.apply(&first).unwrap();
        let again = fake.observe(&d.name, &first.own).unwrap();
        let second = plan(&d, &again);
        prop_assert!(second.is_empty(), "first:\n{first}second:\n{second}");
    }

    #[test]
    fn a_plan_is_safe_to_repeat(d in any_desired(), o in any_observed()) {
        let mut fake = host(&o, &d.name);
        let first = plan(&d, &o);
        fake.apply(&first).unwrap();
        let once = fake.interface(&d.name);
        fake.apply(&first).unwrap();
        let twice = state(&fake, &d.name);
        prop_assert!(plan(&d, &twice).is_empty());
        prop_assert_eq!(once.map(|i| i.peers), twice.interface.map(|i| i.peers));
    }

    #[test]
    fn only_peers_that_differ_appear(d in any_desired(), o in any_observed()) {
        let mut fake = host(&o, &d.name);
        let plan = plan(&d, &o);
        fake.apply(&plan).unwrap();
        let before = o.interface.map(|i| i.peers).unwrap_or_default();
        let after = fake.interface(&d.name).map(|i| i.peers).unwrap_or_default();
        let counts = fake.counts();
        for (key, times) in &counts.peer_sets {
            prop_assert_eq!(*times, 1);
            let same = before.get(key).map(configuration) == after.get(key).map(configuration);
            prop_assert!(!same, "touched without need: {}\n{}", key, plan);
        }
        for key in counts.peer_removes.keys() {
            prop_assert!(before.contains_key(key) && !after.contains_key(key));
        }
    }

    #[test]
    fn a_prefix_is_never_at_two_peers(d in any_desired(), o in any_observed()) {
        let fake = host(&o, &d.name);
        let whole = plan(&d, &o);
        for step in whole.steps {
            // One step at a time: the law holds between any two.
            let one = Plan { steps: vec![step], ..Plan { name: d.name.clone(), own: whole.own, steps: vec![] } };
            fake.clone().apply(&one).unwrap();
            let peers = fake.interface(&d.name).unwrap().peers;
            let all: Vec<_> = peers.values().flat_map(|peer| &peer.allowed_ips).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
    }

    #[test]
    fn what_follows_is_what_is_found(d in any_desired(), o in any_observed()) {
        let mut fake = host(&o, &d.name);
        let plan = plan(&d, &o);
        let is_of_a_peer = |s: &&Step| matches!(s, Step::SetPeer(_) | Step::RemovePeer(_));
        let (peers, others): (Vec<Step>, Vec<Step>) =
            plan.steps.iter().cloned().partition(|step| is_of_a_peer(&step));
        if let Some(mut interface) = o.interface {
            prop_assert_eq!(interface.follow(&plan.steps), others.is_empty());
            let mut interface = fake.interface(&d.name).unwrap_or(interface);
            prop_assert!(interface.follow(&peers));
            fake.apply(&Plan { steps: peers, ..plan }).unwrap();
            prop_assert_eq!(Some(interface), fake.interface(&d.name));
        }
    }

    #[test]
    fn rules_stand_only_while_their_routes_do(d in any_desired(), o in any_observed()) {
        let fake = host(&o, &d.name);
        let whole = plan(&d, &o);
        let mut is_led = o.rules.clone();
        let wanted = d.layout(&o).rules;
        for step in whole.steps {
            match &step {
                Step::RemoveRule(rule) => {
                    prop_assert!(is_led.remove(rule));
                }
                Step::AddRule(rule) => {
                    let routes = fake.interface(&d.name).unwrap().routes;
                    let leads = |route: &Route| {
                        Family::of(&route.net) == rule.family && route.table == Table::of(&d.name)
                    };
                    prop_assert!(routes.keys().any(leads), "{rule}");
                    let mark = fake.interface(&d.name).unwrap().fwmark;
                    if let RuleAction::Unmarked { fwmark, .. } = rule.action {
                        prop_assert_eq!(mark, Some(fwmark));
                    }
                    is_led.insert(*rule);
                }
                // Nothing leads to where it led before.
                Step::RemoveRoute(route) if route.table == Table::of(&d.name) => {
                    prop_assert!(is_led.is_subset(&wanted));
                }
                // Nor with another mark.
                Step::Configure(_) => {
                    let mark = d.fwmark.filter(|mark| *mark != 0);
                    let is_right = |rule: &PolicyRule| match rule.action {
                        RuleAction::Unmarked { fwmark, .. } => Some(fwmark) == mark,
                        RuleAction::MainWithoutDefault => true,
                        RuleAction::Other => false,
                    };
                    prop_assert!(is_led.iter().all(is_right));
                }
                _ => {}
            }
            let one = Plan { steps: vec![step], ..Plan { name: d.name.clone(), own: whole.own, steps: vec![] } };
            fake.clone().apply(&one).unwrap();
        }
        prop_assert_eq!(fake.rules(&d.name), wanted);
    }

    #[test]
    fn the_tunnels_own_packets_never_begin_to_enter_it(d in any_desired(), o in any_observed()) {
        let fake = host(&o, &d.name);
        let whole = plan(&d, &o);
        let before = entering(&o, &d);
        for step in whole.steps {
            let said = step.to_string();
            let one = Plan { steps: vec![step], ..Plan { name: d.name.clone(), own: whole.own, steps: vec![] } };
            fake.clone().apply(&one).unwrap();
            let now = entering(&state(&fake, &d.name), &d);
            prop_assert!(now.is_subset(&before), "after {said}: {now:?}");
        }
        prop_assert!(entering(&state(&fake, &d.name), &d).is_empty());
    }

    #[test]
    fn what_goes_into_the_tunnel_before_and_after_never_goes_elsewhere(
        d in any_desired(),
        others in proptest::collection::vec(option::of(any_endpoint()), 6),
        connected in btree_set(any_net().prop_map(|net| net.trunc()), 0..3),
    ) {
        let mut earlier = d.clone();
        for (peer, endpoint) in earlier.peers.values_mut().zip(others) {
            peer.endpoint = endpoint;
        }
        let fake = Fake::new();
        fake.clone().apply(&plan(&earlier, &Observed::default())).unwrap();
        fake.connect(connected);
        let o = state(&fake, &d.name);
        let whole = plan(&d, &o);
        let before = led(&o, &d);
        let after = d.layout(&o).routes.into_iter().map(|route| route.net).collect();
        for step in whole.steps {
            let said = step.to_string();
            let one = Plan { steps: vec![step], ..Plan { name: d.name.clone(), own: whole.own, steps: vec![] } };
            fake.clone().apply(&one).unwrap();
            let now = led(&state(&fake, &d.name), &d);
            let lost: Vec<_> = before.intersection(&after).filter(|net| !now.contains(net)).collect();
            prop_assert!(lost.is_empty(), "after {said}: {lost:?}");
        }
    }

    #[test]
    fn routes_of_others_stay(d in any_desired(), o in any_observed()) {
        let keeps_ipv4 = |o: &Observed| o.interface.as_ref().is_some_and(|i| i.addresses.iter().any(|a| a.addr().is_ipv4()));
        let mut fake = host(&o, &d.name);
        fake.apply(&plan(&d, &o)).unwrap();
        let after = state(&fake, &d.name);
        if let (Some(before), Some(now)) = (&o.interface, &after.interface) {
            for (route, origin) in &before.routes {
                let is_theirs = *origin == RouteOrigin::Static
                    && (matches!(route.table, 7 | 8)
                        || (route.table == 254 && d.routing.table == Table::Off));
                let is_lost = route.net.addr().is_ipv4() && !keeps_ipv4(&after);
                prop_assert!(!is_theirs || is_lost || now.routes.contains_key(route), "{route}");
            }
            // And no rule of ours that is not wanted.
            let wanted = d.layout(&o).routes;
            for (route, origin) in &now.routes {
                prop_assert!(*origin != RouteOrigin::Own || wanted.contains(route), "{route}");
            }
        }
    }

    #[test]
    fn no_secret_is_printed(d in any_desired(), o in any_observed()) {
        let plan = plan(&d, &o);
        let printed = format!("{plan}{plan:?}");
        let mut secrets: Vec<[u8; 32]> = vec![*d.private_key.expose()];
        let psks = d.peers.values().filter_map(|peer| peer.preshared_key.as_ref());
        secrets.extend(psks.map(|psk| *psk.expose()));
        for bytes in secrets {
            let base64 = WgPublicKey(bytes).to_string();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert!(!printed.contains(&base64) && !printed.contains(&hex));
            let array = format!("{bytes:?}");
            prop_assert!(!printed.contains(&array));
        }
    }
}

/// The endpoints that a route of the main table, other than the kernel's and those of the interface's own
/// prefixes, sends into the interface, and by which route.
fn entering(o: &Observed, d: &Desired) -> BTreeSet<(Route, SocketAddr)> {
    let Some(interface) = o
        .interface
        .as_ref()
        .filter(|_| d.routing.table == Table::Auto)
    else {
        return BTreeSet::new();
    };
    let is_own = |net: &IpNet| d.addresses.iter().any(|own| own.trunc() == *net);
    let counts = |(route, origin): &(&Route, &RouteOrigin)| {
        route.table == 254 && **origin != RouteOrigin::Kernel && !is_own(&route.net)
    };
    let endpoints = || interface.peers.values().filter_map(|peer| peer.endpoint);
    let routes = interface.routes.iter().filter(counts);
    routes
        .flat_map(|(route, _)| endpoints().map(|endpoint| (*route, endpoint)))
        .filter(|(route, endpoint)| route.net.contains(&endpoint.ip()))
        .collect()
}

/// The prefixes that lead into the interface: by the main table, or by rules and the interface's own.
fn led(o: &Observed, d: &Desired) -> BTreeSet<IpNet> {
    let leads = |route: &&Route| {
        let pair = |mark| PolicyRule::pair(&d.name, Family::of(&route.net), mark);
        let is_ruled = || {
            let pair = d.fwmark.filter(|mark| *mark != 0).map(pair);
            pair.is_some_and(|pair| pair.iter().all(|rule| o.rules.contains(rule)))
        };
        route.table == 254 || (route.table == Table::of(&d.name) && is_ruled())
    };
    let routes = o
        .interface
        .iter()
        .flat_map(|interface| interface.routes.keys());
    routes.filter(leads).map(|route| route.net).collect()
}

fn wish() -> Desired {
    let peer = |ip: &str| DesiredPeer {
        preshared_key: Some(psk(9)),
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        allowed_ips: nets(&[ip]),
        keepalive: Some(25),
    };
    Desired {
        name: "wg0".parse().unwrap(),
        private_key: secret(0),
        listen_port: 51820,
        mtu: Mtu::DEFAULT,
        fwmark: None,
        addresses: nets(&["10.1.0.1/16", "fd00::1/64"]),
        peers: [
            (public(1), peer("10.1.0.2/32")),
            (public(2), peer("10.1.0.3/32")),
        ]
        .into(),
        routes: nets(&["10.1.0.0/16", "192.168.7.0/24"]),
        routing: Routing::default(),
    }
}

/// The state in which the wish has come true.
fn done(desired: &Desired) -> Observed {
    let mut fake = Fake::new();
    fake.apply(&plan(desired, &Observed::default())).unwrap();
    state(&fake, &desired.name)
}

#[test]
fn a_new_interface_is_built_in_a_safe_order() {
    let first = plan(&wish(), &Observed::default());
    let printed = first.to_string();
    let verbs: Vec<&str> = printed
        .lines()
        .map(|line| line.trim_start_matches("wg0: ").split(' ').next().unwrap())
        .collect();
    assert_eq!(
        verbs,
        [
            "create", "set", "set", "add", "add", "set", "add", "add", "add"
        ]
    );
    // The connected prefix comes with the address, so only the subnet needs a route.
    assert!(
        printed.ends_with("wg0: add route 192.168.7.0/24\n"),
        "{printed}"
    );
    assert!(printed.contains("preshared key [redacted]"));
}

#[test]
fn nothing_to_do_says_so() {
    let observed = done(&wish());
    let plan = plan(&wish(), &observed);
    assert!(plan.is_empty());
    assert_eq!(plan.to_string(), "wg0: nothing to do\n");
}

#[test]
fn an_endpoint_that_is_not_given_stays() {
    let mut desired = wish();
    let mut observed = done(&desired);
    let roamed = Some("198.51.100.7:9".parse().unwrap());
    observed
        .interface
        .as_mut()
        .unwrap()
        .peers
        .get_mut(&public(1))
        .unwrap()
        .endpoint = roamed;
    assert_eq!(plan(&desired, &observed).steps.len(), 1);
    desired.peers.get_mut(&public(1)).unwrap().endpoint = None;
    assert!(plan(&desired, &observed).is_empty());
}

#[test]
fn a_prefix_that_moves_touches_its_new_peer_only() {
    let mut desired = wish();
    let observed = done(&desired);
    let moved = net("10.1.0.2/32");
    desired
        .peers
        .get_mut(&public(1))
        .unwrap()
        .allowed_ips
        .clear();
    desired
        .peers
        .get_mut(&public(2))
        .unwrap()
        .allowed_ips
        .insert(moved);
    let steps = plan(&desired, &observed).steps;
    let [Step::SetPeer(change)] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!(change.public_key, public(2));
    assert_eq!(change.allowed_ips, AllowedIpsChange::Add([moved].into()));
}

#[test]
fn a_prefix_that_goes_replaces_the_list() {
    let mut desired = wish();
    let observed = done(&desired);
    desired
        .peers
        .get_mut(&public(1))
        .unwrap()
        .allowed_ips
        .clear();
    let steps = plan(&desired, &observed).steps;
    let [Step::SetPeer(change)] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!(change.public_key, public(1));
    assert_eq!(
        change.allowed_ips,
        AllowedIpsChange::Replace(BTreeSet::new())
    );
}

#[test]
fn an_address_that_moves_is_added_before_the_old_one_goes() {
    let mut desired = wish();
    let observed = done(&desired);
    desired.addresses = nets(&["10.1.0.9/16", "fd00::1/48"]);
    let steps = plan(&desired, &observed).steps;
    assert_eq!(
        steps,
        [
            Step::RemoveAddress(net("fd00::1/64")),
            Step::AddAddress(net("10.1.0.9/16")),
            Step::AddAddress(net("fd00::1/48")),
            Step::RemoveAddress(net("10.1.0.1/16")),
        ]
    );
}

#[test]
fn routes_go_with_the_last_ipv4_address_and_come_back() {
    let mut desired = wish();
    let observed = done(&desired);
    desired.addresses = nets(&["fd00::1/64"]);
    let steps = plan(&desired, &observed).steps;
    assert_eq!(
        steps,
        [
            Step::RemoveAddress(net("10.1.0.1/16")),
            Step::AddRoute(main("10.1.0.0/16")),
            Step::AddRoute(main("192.168.7.0/24")),
        ]
    );
}

#[test]
fn a_connected_route_that_somebody_deleted_is_put_back() {
    let desired = wish();
    let mut observed = done(&desired);
    observed
        .interface
        .as_mut()
        .unwrap()
        .routes
        .remove(&main("10.1.0.0/16"));
    assert_eq!(
        plan(&desired, &observed).steps,
        [Step::AddRoute(main("10.1.0.0/16"))]
    );
}

#[test]
fn the_same_prefix_at_two_peers_goes_to_the_lower_key() {
    let mut desired = wish();
    for peer in desired.peers.values_mut() {
        peer.allowed_ips = nets(&["10.1.0.7/32"]);
    }
    let observed = done(&desired);
    let peers = observed.interface.unwrap().peers;
    let lower = public(1).min(public(2));
    let holders: Vec<_> = peers
        .iter()
        .filter(|(_, p)| !p.allowed_ips.is_empty())
        .collect();
    assert_eq!(holders.len(), 1);
    assert_eq!(*holders[0].0, lower);
}

#[test]
fn our_own_key_is_no_peer() {
    let mut desired = wish();
    desired.peers.insert(public(0), DesiredPeer::default());
    assert!(plan(&desired, &done(&wish())).is_empty());
}

#[test]
fn five_thousand_peers_plan_quickly_and_touch_one() {
    let mut desired = wish();
    for n in 0..5000u16 {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        let [high, low] = n.to_be_bytes();
        let allowed_ips = [IpNet::from(IpAddr::from([10, 1, high, low]))].into();
        desired.peers.insert(
            WgPublicKey(key),
            DesiredPeer {
                allowed_ips,
                ..Default::default()
            },
        );
    }
    let observed = done(&desired);
    assert!(plan(&desired, &observed).is_empty());
    desired.peers.get_mut(&public(2)).unwrap().keepalive = None;
    assert_eq!(plan(&desired, &observed).steps.len(), 1);
}

/// The lines of a plan that concern routes and rules.
fn routing_lines(plan: &Plan) -> Vec<String> {
    let printed = plan.to_string();
    let lines = printed.lines().map(|line| line.trim_start_matches("wg0: "));
    let is_routing = |line: &&str| line.contains(" route ") || line.contains(" rule ");
    lines.filter(is_routing).map(str::to_owned).collect()
}

fn default_wish() -> Desired {
    let mut desired = wish();
    desired.routes = nets(&["0.0.0.0/0", "::/0", "192.168.7.0/24"]);
    desired.fwmark = Some(0x51);
    desired
}

#[test]
fn a_default_route_gets_a_table_of_its_own_and_rules_that_lead_there() {
    let desired = default_wish();
    let (table, [p, q]) = (
        Table::of(&desired.name),
        PolicyRule::priorities(&desired.name),
    );
    let first = plan(&desired, &Observed::default());
    assert_eq!(
        routing_lines(&first),
        [
            format!("add route 0.0.0.0/0 table {table}"),
            "add route 192.168.7.0/24".to_owned(),
            format!("add route ::/0 table {table}"),
            format!("add rule -4 priority {p} protocol 103 lookup main suppress_prefixlength 0"),
            format!("add rule -4 priority {q} protocol 103 not fwmark 0x51 lookup {table}"),
            format!("add rule -6 priority {p} protocol 103 lookup main suppress_prefixlength 0"),
            format!("add rule -6 priority {q} protocol 103 not fwmark 0x51 lookup {table}"),
        ]
    );
    assert!(matches!(first.steps.last(), Some(Step::AddRule(_))));
}

#[test]
fn the_rule_into_the_tunnel_goes_first_and_the_route_after_it() {
    let mut desired = default_wish();
    let observed = done(&desired);
    desired.routes = nets(&["0.0.0.0/0", "192.168.7.0/24"]);
    let [rule_p, rule_q] = PolicyRule::pair(&desired.name, Family::V6, 0x51);
    let default = Route::new(net("::/0"), Table::of(&desired.name), None);
    assert_eq!(
        plan(&desired, &observed).steps,
        [
            Step::RemoveRule(rule_q),
            Step::RemoveRule(rule_p),
            Step::RemoveRoute(default),
        ]
    );
}

#[test]
fn without_a_mark_a_default_route_is_left_out() {
    for fwmark in [None, Some(0)] {
        let mut desired = default_wish();
        desired.fwmark = fwmark;
        let lines = routing_lines(&plan(&desired, &Observed::default()));
        assert_eq!(lines, ["add route 192.168.7.0/24"]);
        // A table that a person named is the person's business.
        desired.routing.table = Table::MAIN;
        assert_eq!(
            routing_lines(&plan(&desired, &Observed::default())).len(),
            3
        );
    }
}

#[test]
fn a_new_mark_changes_the_rules_around_it() {
    let mut desired = default_wish();
    let observed = done(&desired);
    desired.fwmark = Some(0x52);
    let steps = plan(&desired, &observed).steps;
    let kinds: Vec<u8> = steps
        .iter()
        .map(|step| match step {
            Step::RemoveRule(_) => 0,
            Step::Configure(_) => 1,
            Step::AddRule(_) => 2,
            _ => 9,
        })
        .collect();
    assert_eq!(kinds, [0, 0, 1, 2, 2], "{steps:?}");
}

#[test]
fn another_metric_is_there_before_the_old_one_goes() {
    let mut desired = default_wish();
    let observed = done(&desired);
    desired.routing.metric = Some(5);
    let lines = routing_lines(&plan(&desired, &observed));
    let table = Table::of(&desired.name);
    assert_eq!(
        lines,
        [
            format!("add route 0.0.0.0/0 table {table} metric 5"),
            "add route 192.168.7.0/24 metric 5".to_owned(),
            format!("add route ::/0 table {table} metric 5"),
            format!("remove route 0.0.0.0/0 table {table}"),
            "remove route 192.168.7.0/24".to_owned(),
            format!("remove route ::/0 table {table}"),
        ]
    );
}

#[test]
fn off_leaves_the_routes_to_others() {
    let mut desired = wish();
    let mut observed = done(&desired);
    let theirs = main("203.0.113.0/24");
    let interface = observed.interface.as_mut().unwrap();
    interface.routes.insert(theirs, RouteOrigin::Static);
    assert_eq!(plan(&desired, &observed).steps, [Step::RemoveRoute(theirs)]);
    desired.routing.table = Table::Off;
    let ours = main("192.168.7.0/24");
    assert_eq!(plan(&desired, &observed).steps, [Step::RemoveRoute(ours)]);
}

/// Two peers, one of whom has its endpoint in a subnet that is routed into the tunnel.
fn office_wish() -> Desired {
    let mut desired = wish();
    desired.routes = nets(&["192.0.2.0/24", "192.168.7.0/24"]);
    desired.fwmark = Some(0x51);
    desired.peers.remove(&public(2));
    desired
}

/// The lines for a subnet that goes from the main table into the interface's own, and back.
fn moves() -> [Vec<String>; 2] {
    let name: IfName = "wg0".parse().unwrap();
    let (table, [p, q]) = (Table::of(&name), PolicyRule::priorities(&name));
    let main = format!("rule -4 priority {p} protocol 103 lookup main suppress_prefixlength 0");
    let tunnel = format!("rule -4 priority {q} protocol 103 not fwmark 0x51 lookup {table}");
    let away = [
        format!("add route 192.0.2.0/24 table {table}"),
        format!("add {main}"),
        format!("add {tunnel}"),
        "remove route 192.0.2.0/24".to_owned(),
    ];
    let back = [
        "add route 192.0.2.0/24".to_owned(),
        format!("remove {tunnel}"),
        format!("remove {main}"),
        format!("remove route 192.0.2.0/24 table {table}"),
    ];
    [away.to_vec(), back.to_vec()]
}

#[test]
fn a_subnet_with_an_endpoint_goes_behind_the_main_table_like_a_default_route() {
    let desired = office_wish();
    let table = Table::of(&desired.name);
    let lines = routing_lines(&plan(&desired, &Observed::default()));
    assert_eq!(lines[0], format!("add route 192.0.2.0/24 table {table}"));
    // Where the longest prefix wins, everything else stays.
    assert_eq!(lines[1], "add route 192.168.7.0/24");
    assert_eq!(lines[2..], moves()[0][1..3]);
    let aside = desired.aside(&Observed::default());
    let endpoint = Some("192.0.2.1".parse().unwrap());
    let net = net("192.0.2.0/24");
    let connected = None;
    assert_eq!(
        aside,
        [Aside {
            net,
            endpoint,
            connected
        }]
    );
}

#[test]
fn a_subnet_moves_before_the_endpoint_enters_it_and_after_it_has_left() {
    let [away, back] = moves();
    let near = office_wish();
    let mut far = office_wish();
    let endpoint = Some("203.0.113.7:9".parse().unwrap());
    far.peers.get_mut(&public(1)).unwrap().endpoint = endpoint;
    let entering = plan(&near, &done(&far));
    assert_eq!(routing_lines(&entering), away);
    assert!(matches!(entering.steps.last(), Some(Step::SetPeer(_))));
    let leaving = plan(&far, &done(&near));
    assert_eq!(routing_lines(&leaving), back);
    assert!(matches!(leaving.steps.first(), Some(Step::SetPeer(_))));
    // WireGuard itself has learned the endpoint.
    far.peers.get_mut(&public(1)).unwrap().endpoint = None;
    let mut observed = done(&far);
    assert!(plan(&far, &observed).is_empty());
    let interface = observed.interface.as_mut().unwrap();
    let peer = interface.peers.get_mut(&public(1)).unwrap();
    peer.endpoint = Some("192.0.2.9:51820".parse().unwrap());
    assert_eq!(routing_lines(&plan(&far, &observed)), away);
    // Whoever goes takes its endpoint along.
    let observed = done(&near);
    far.peers.clear();
    assert_eq!(routing_lines(&plan(&far, &observed)), back);
}

#[test]
fn without_a_mark_a_subnet_with_an_endpoint_is_left_out() {
    let mut desired = office_wish();
    let observed = done(&desired);
    desired.fwmark = None;
    let lines = routing_lines(&plan(&desired, &Observed::default()));
    assert_eq!(lines, ["add route 192.168.7.0/24"]);
    let [away, back] = moves();
    let lines = routing_lines(&plan(&desired, &observed));
    assert_eq!(lines, back[1..]);
    // A table that a person named is the person's business.
    desired.routing.table = Table::MAIN;
    let lines = routing_lines(&plan(&desired, &Observed::default()));
    assert!(lines.contains(&back[0]) && desired.aside(&observed).is_empty());
    assert!(!lines.contains(&away[0]));
}

#[test]
fn the_prefix_of_an_address_stays_even_with_an_endpoint() {
    let mut desired = office_wish();
    desired.routes.extend(nets(&["10.1.0.0/16", "fd00::/64"]));
    let mut observed = done(&desired);
    observed.connected = nets(&["10.1.0.0/16"]);
    let peer = desired.peers.get_mut(&public(1)).unwrap();
    peer.endpoint = Some("10.1.0.2:51820".parse().unwrap());
    assert!(desired.aside(&observed).is_empty());
    assert_eq!(routing_lines(&plan(&desired, &observed)), moves()[1]);
}

#[test]
fn what_the_host_is_connected_to_goes_before_what_is_routed() {
    let mut desired = office_wish();
    desired.peers.clear();
    let away = done(&desired);
    let mut home = away.clone();
    home.connected = nets(&["192.0.2.0/24"]);
    let [to, from] = moves();
    assert_eq!(routing_lines(&plan(&desired, &home)), to);
    let mut gone = home.clone();
    let fake = host(&home, &desired.name);
    fake.clone().apply(&plan(&desired, &home)).unwrap();
    gone.interface = fake.interface(&desired.name);
    gone.rules = fake.rules(&desired.name);
    gone.connected.clear();
    assert_eq!(routing_lines(&plan(&desired, &gone)), from);
    // What is longer or shorter is where the longest prefix wins.
    for connected in [
        "192.0.2.128/25",
        "192.0.0.0/16",
        "0.0.0.0/0",
        "198.51.100.0/24",
    ] {
        home.connected = nets(&[connected]);
        assert!(plan(&desired, &home).is_empty(), "{connected}");
    }
    // Unless it has to go aside anyway: then it says that nothing is left of it.
    let desired = office_wish();
    for (connected, around) in [("192.0.0.0/16", true), ("192.0.2.128/25", false)] {
        home.connected = nets(&[connected]);
        let [aside] = <[Aside; 1]>::try_from(desired.aside(&home)).unwrap();
        assert_eq!(aside.connected, around.then(|| net(connected)));
        assert!(aside.endpoint.is_some());
    }
}
