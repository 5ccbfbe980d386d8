//! What is believed of what members promise: every row of the rules.

use std::collections::{BTreeMap, BTreeSet};

use grid_promises::network::accept::{
    Action, Grounds, LocalFacts, Objection, Rule, Verdict, decide, overlaps,
};
use grid_promises::network::judgement::{Opinion, Opinions, Reason};
use grid_promises::network::ledger::Ledger;
use grid_promises::network::records::Records;
use grid_promises::network::view::View;
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::{ContentId, Timestamp};
use ipnet::IpNet;

use crate::common::{DAY, INVITES, Net, Node, T0, key};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// This node is the founder; node 1 is the member whose promises it looks at.
struct Scene {
    net: Net,
    rules: Vec<Rule>,
    facts: LocalFacts,
}

fn scene() -> Scene {
    let net = Net::new(AdmissionRule::Invite);
    let own = (net.charter.ipv4, net.charter.ipv6);
    let facts = LocalFacts {
        connected: BTreeSet::from([self::net("192.168.1.0/24"), self::net("2001:db8:1::/64")]),
        ranges: BTreeMap::from([(net.id(), own)]),
    };
    Scene {
        net,
        rules: vec![],
        facts,
    }
}

impl Scene {
    fn rule(mut self, action: Action, prefix: &str, from: Option<u16>) -> Self {
        self.rules.push(Rule {
            action,
            prefix: net(prefix),
            from: from.map(|n| key(n).id()),
        });
        self
    }

    fn accept(self, prefix: &str) -> Self {
        self.rule(Action::Accept, prefix, Some(1))
    }

    fn reject(self, prefix: &str) -> Self {
        self.rule(Action::Reject, prefix, Some(1))
    }

    fn member(&self, n: u16, prefixes: &[&str]) -> Node {
        let mut prefixes: Vec<IpNet> = prefixes.iter().map(|text| net(text)).collect();
        prefixes.sort();
        self.net.admitted(n).with(|body| body.prefixes = prefixes)
    }

    fn verdicts(&self, ledger: &Ledger, now: Timestamp, node: &Node) -> Option<Vec<Verdict>> {
        let view = View::of(ledger, now);
        let records = Records::of(ledger, &view, &key(0).id(), &self.rules, &self.facts);
        decide(&records, None).remove(&node.id())
    }

    /// What becomes of one prefix that node 1 promises.
    fn of(&self, prefix: &str) -> Result<Grounds, Objection> {
        let node = self.member(1, &[prefix]);
        let ledger = self.net.ledger_of([&self.net.founder(), &node]);
        let verdicts = self.verdicts(&ledger, T0, &node).unwrap();
        assert_eq!(verdicts.len(), 3);
        assert_eq!(verdicts[2].prefix, net(prefix));
        verdicts[2].verdict.clone()
    }

    /// What becomes of node 1's own addresses.
    fn own(&self) -> Vec<Result<Grounds, Objection>> {
        let node = self.member(1, &[]);
        let ledger = self.net.ledger_of([&self.net.founder(), &node]);
        let verdicts = self.verdicts(&ledger, T0, &node).unwrap();
        let prefixes: Vec<IpNet> = verdicts.iter().map(|v| v.prefix).collect();
        let v4: IpNet = std::net::IpAddr::from(node.body.ipv4.address).into();
        let v6: IpNet = std::net::IpAddr::from(node.body.ipv6.address).into();
        assert_eq!(prefixes, [v4, v6]);
        verdicts
            .into_iter()
            .map(|verdict| verdict.verdict)
            .collect()
    }
}

const OWN: Result<Grounds, Objection> = Ok(Grounds::OwnAddress);
const BY_RULE: Result<Grounds, Objection> = Ok(Grounds::Rule);
const NO_RULE: Result<Grounds, Objection> = Err(Objection::NoRule);
const REJECTED: Result<Grounds, Objection> = Err(Objection::Rule);
const MEMBERS: Result<Grounds, Objection> = Err(Objection::MemberAddresses);

#[test]
fn a_members_own_addresses_are_accepted_by_default() {
    assert_eq!(scene().own(), [OWN, OWN]);
    assert_eq!(scene().reject("10.7.0.0/16").own(), [REJECTED, OWN]);
    assert_eq!(scene().reject("fc00::/7").own(), [OWN, REJECTED]);
    // What undoes the acceptance of an exit does not cut the members off.
    let exit = scene().accept("0.0.0.0/0").reject("0.0.0.0/0");
    assert_eq!(exit.rule(Action::Reject, "::/0", None).own(), [OWN, OWN]);
    assert_eq!(
        scene().reject("10.7.0.0/16").accept("10.0.0.0/8").own(),
        [OWN, OWN]
    );
    let all = scene().rule(Action::Reject, "10.7.0.0/16", None);
    assert_eq!(all.own(), [REJECTED, OWN]);
    let others = scene().rule(Action::Reject, "10.7.0.0/16", Some(2));
    assert_eq!(others.own(), [OWN, OWN]);
}

#[test]
fn an_address_that_another_holds_is_not_accepted() {
    let scene = scene();
    let victim = scene.net.joined(&scene.net.founder(), INVITES, 5, 2);
    let address = victim.body.ipv4.address;
    let victim = victim.carrying(&[scene.net.receipt(&key(0), &victim, T0, T0)]);
    let thief = scene.member(1, &[]).claiming(&scene.net, address);
    let ledger = scene.net.ledger_of([&scene.net.founder(), &victim, &thief]);
    let verdict = |scene: &Scene, node: &Node| {
        let verdicts = scene.verdicts(&ledger, T0, node).unwrap();
        verdicts
            .iter()
            .map(|v| v.verdict.clone())
            .collect::<Vec<_>>()
    };
    let held = Err(Objection::HeldBy(victim.id()));
    assert_eq!(verdict(&scene, &thief), [held.clone(), OWN]);
    assert_eq!(verdict(&scene, &victim), [OWN, OWN]);
    // No rule can accept it.
    let scene = scene.accept("10.7.0.0/16");
    assert_eq!(verdict(&scene, &thief), [held, OWN]);
}

#[test]
fn a_subnet_needs_a_rule() {
    assert_eq!(scene().of("192.168.7.0/24"), NO_RULE);
    assert_eq!(scene().of("2001:db8:7::/48"), NO_RULE);
    assert_eq!(scene().of("8.8.8.8/32"), NO_RULE);
    assert_eq!(
        scene().accept("192.168.7.0/24").of("192.168.7.0/24"),
        BY_RULE
    );
    // A rule is for its prefix and what lies inside, not for what lies around it.
    assert_eq!(
        scene().accept("192.168.0.0/16").of("192.168.7.0/24"),
        BY_RULE
    );
    assert_eq!(
        scene().accept("192.168.7.0/25").of("192.168.7.0/24"),
        NO_RULE
    );
    assert_eq!(scene().accept("::/0").of("192.168.7.0/24"), NO_RULE);
    // And for one node.
    let other = scene().rule(Action::Accept, "192.168.7.0/24", Some(2));
    assert_eq!(other.of("192.168.7.0/24"), NO_RULE);
}

#[test]
fn a_default_route_needs_a_rule() {
    let default = Err(Objection::DefaultRoute);
    assert_eq!(scene().of("0.0.0.0/0"), default);
    assert_eq!(scene().of("::/0"), default);
    assert_eq!(scene().accept("10.0.0.0/8").of("0.0.0.0/0"), default);
    assert_eq!(scene().accept("::/0").of("0.0.0.0/0"), default);
    assert_eq!(scene().accept("0.0.0.0/0").of("0.0.0.0/0"), BY_RULE);
    assert_eq!(scene().accept("::/0").of("::/0"), BY_RULE);
    assert_eq!(scene().accept("::/0").reject("::/0").of("::/0"), REJECTED);
    // Half of everything is as much as all of it, to those whose addresses lie there.
    assert_eq!(scene().accept("0.0.0.0/0").of("0.0.0.0/1"), MEMBERS);
    // It is no leave to take over a network that is connected here, nor any other subnet.
    let connected = Err(Objection::Connected(net("192.168.1.0/24")));
    assert_eq!(scene().accept("0.0.0.0/0").of("192.168.1.0/24"), connected);
    assert_eq!(scene().accept("0.0.0.0/0").of("192.168.7.0/24"), NO_RULE);
    // To reject everything is to reject each part of it.
    let none = scene().accept("192.168.7.0/24").reject("0.0.0.0/0");
    assert_eq!(none.of("192.168.7.0/24"), REJECTED);
    assert_eq!(
        scene().of("128.0.0.0/1"),
        Err(Objection::Connected(net("192.168.1.0/24")))
    );
}

#[test]
fn what_is_connected_here_needs_a_rule() {
    let connected = Err(Objection::Connected(net("192.168.1.0/24")));
    for prefix in [
        "192.168.1.0/24",
        "192.168.1.128/25",
        "192.168.0.0/16",
        "192.168.1.1/32",
    ] {
        assert_eq!(scene().of(prefix), connected, "{prefix}");
    }
    assert_eq!(scene().of("192.168.2.0/24"), NO_RULE);
    assert_eq!(
        scene().of("2001:db8:1::7/128"),
        Err(Objection::Connected(net("2001:db8:1::/64")))
    );
    assert_eq!(
        scene().accept("192.168.1.0/24").of("192.168.1.0/24"),
        BY_RULE
    );
}

#[test]
fn no_rule_accepts_what_covers_members_addresses() {
    let own = scene().net.charter.ipv6.to_string();
    let host = std::net::IpAddr::from(scene().net.founder().body.ipv4.address).to_string();
    for prefix in [
        "10.7.0.0/16",
        "10.7.5.0/24",
        "10.0.0.0/8",
        &format!("{host}/32"),
        &own,
    ] {
        assert_eq!(scene().of(prefix), MEMBERS, "{prefix}");
        assert_eq!(scene().accept(prefix).of(prefix), MEMBERS, "{prefix}");
    }
    assert_eq!(scene().accept("fd00::/8").of("fd00::/8"), MEMBERS);
    assert_eq!(scene().accept("10.6.0.0/16").of("10.6.0.0/16"), BY_RULE);
    assert_eq!(scene().accept("10.8.0.0/16").of("10.8.0.0/16"), BY_RULE);
}

#[test]
fn no_rule_accepts_what_overlaps_another_network() {
    let other = NetworkId(ContentId::of(b"another"));
    let with_other = |mut scene: Scene| {
        let ranges = ("10.9.0.0/16".parse().unwrap(), "fd09::/64".parse().unwrap());
        scene.facts.ranges.insert(other, ranges);
        scene
    };
    let overlapping = Err(Objection::OtherNetwork(other));
    for prefix in [
        "10.9.0.0/16",
        "10.9.9.9/32",
        "10.8.0.0/15",
        "fd09::/64",
        "fd09::1/128",
    ] {
        assert_eq!(with_other(scene()).of(prefix), overlapping, "{prefix}");
        let accepted = with_other(scene().accept(prefix));
        assert_eq!(accepted.of(prefix), overlapping, "{prefix}");
    }
    // The network of the promise itself is no other one.
    let accepted = with_other(scene().accept("10.10.0.0/16"));
    assert_eq!(accepted.of("10.10.0.0/16"), BY_RULE);
    // A default route takes nothing from it: longer prefixes win.
    let exit = with_other(scene().accept("0.0.0.0/0"));
    assert_eq!(exit.of("0.0.0.0/0"), BY_RULE);
}

#[test]
fn the_last_rule_counts() {
    let prefix = "172.16.5.0/24";
    let (wide, narrow) = ("172.16.0.0/12", "172.16.5.0/24");
    assert_eq!(scene().accept(wide).reject(narrow).of(prefix), REJECTED);
    assert_eq!(scene().reject(narrow).accept(wide).of(prefix), BY_RULE);
    assert_eq!(scene().reject(wide).accept(narrow).of(prefix), BY_RULE);
    assert_eq!(scene().accept(narrow).reject(wide).of(prefix), REJECTED);
    assert_eq!(
        scene().accept(wide).reject(narrow).of("172.16.6.0/24"),
        BY_RULE
    );
    let everybody = |scene: Scene| scene.rule(Action::Reject, wide, None);
    assert_eq!(everybody(scene().accept(narrow)).of(prefix), REJECTED);
    assert_eq!(everybody(scene()).accept(narrow).of(prefix), BY_RULE);
    // One that is about another node or prefix is none of those that match.
    let other = scene().accept(wide).rule(Action::Reject, wide, Some(2));
    assert_eq!(other.reject("172.16.6.0/24").of(prefix), BY_RULE);
}

#[test]
fn a_subnet_of_two_members_is_routed_by_one() {
    let subnet = "192.168.7.0/24";
    let scene = scene().accept(subnet).rule(Action::Accept, subnet, Some(2));
    let (a, b) = (scene.member(1, &[subnet]), scene.member(2, &[subnet]));
    let (first, second) = if a.id() < b.id() { (&a, &b) } else { (&b, &a) };
    let founder = scene.net.founder();
    let routed = |scene: &Scene, order: [&Node; 2]| {
        let mut ledger = scene.net.ledger_of([&founder]);
        for node in order {
            ledger.insert_bytes(&node.bytes(), T0).unwrap();
        }
        let of = |node: &Node| {
            scene.verdicts(&ledger, T0, node).unwrap()[2]
                .verdict
                .clone()
        };
        (of(first), of(second))
    };
    let expected = (BY_RULE, Err(Objection::RoutedBy(first.id())));
    assert_eq!(routed(&scene, [&a, &b]), expected);
    assert_eq!(routed(&scene, [&b, &a]), expected);
    // Who is not accepted is in nobody's way.
    let mut scene = scene;
    scene.rules.retain(|rule| rule.from == Some(second.id()));
    assert_eq!(routed(&scene, [&a, &b]), (NO_RULE, BY_RULE));
    // A part of it is another prefix: the longer one wins in the routing table.
    let part = scene
        .net
        .admitted(3)
        .with(|body| body.prefixes = vec![net("192.168.7.0/25")]);
    let scene = scene.rule(Action::Accept, subnet, Some(3));
    let ledger = scene.net.ledger_of([&founder, &a, &b, &part]);
    assert_eq!(
        scene.verdicts(&ledger, T0, &part).unwrap()[2].verdict,
        BY_RULE
    );
}

#[test]
fn a_judge_is_needed_besides_the_rules_and_bound_by_them() {
    let why = Reason::new("because");
    let judged = |scene: &Scene, prefix: &str, accepts: Option<bool>| {
        let node = scene.member(1, &[prefix]);
        let ledger = scene.net.ledger_of([&scene.net.founder(), &node]);
        let view = View::of(&ledger, T0);
        let records = Records::of(&ledger, &view, &key(0).id(), &scene.rules, &scene.facts);
        let opinion = |accepts| Opinion {
            accepts,
            why: why.clone(),
        };
        let opinions: Opinions = records
            .questions()
            .filter_map(|question| Some((question, opinion(accepts?))))
            .collect();
        let mut verdicts = decide(&records, Some(&opinions));
        let verdicts = verdicts.remove(&node.id()).unwrap();
        let verdicts = verdicts.into_iter().map(|verdict| verdict.verdict);
        <[_; 3]>::try_from(verdicts.collect::<Vec<_>>()).unwrap()
    };
    let yes = || Ok(Grounds::Judge(why.clone()));
    let no = || Err(Objection::Judge(why.clone()));
    let silent = || Err(Objection::NotJudged);
    let subnet = "192.168.7.0/24";
    assert_eq!(judged(&scene(), subnet, Some(true)), [yes(), yes(), yes()]);
    assert_eq!(judged(&scene(), subnet, Some(false)), [no(), no(), no()]);
    assert_eq!(
        judged(&scene(), subnet, None),
        [silent(), silent(), silent()]
    );
    let accepting = scene().accept(subnet);
    assert_eq!(judged(&accepting, subnet, Some(false))[2], no());
    let rejecting = scene().reject(subnet).reject("fd00::/8");
    let expected = [yes(), REJECTED, REJECTED];
    assert_eq!(judged(&rejecting, subnet, Some(true)), expected);
    // What no rule can accept, no judge can; all traffic is for a person to decide about.
    assert_eq!(judged(&scene(), "10.7.1.0/24", Some(true))[2], MEMBERS);
    let default = Err(Objection::DefaultRoute);
    assert_eq!(judged(&scene(), "0.0.0.0/0", Some(true))[2], default);
    // A network that this machine is connected to is its own to judge.
    assert_eq!(judged(&scene(), "192.168.1.0/24", Some(true))[2], yes());
}

#[test]
fn only_live_members_other_than_this_node_are_decided_about() {
    let scene = scene();
    let founder = scene.net.founder();
    let live = scene.member(1, &[]);
    let left = scene.member(2, &[]).withdrawn();
    let spare = scene.net.joined(&founder, INVITES, 1, 3);
    let seen = spare.carrying(&[scene.net.receipt(&key(0), &spare, T0, T0)]);
    let refused = scene.net.joined(&founder, INVITES, 1, 4);
    let ledger = scene
        .net
        .ledger_of([&founder, &live, &left, &seen, &refused]);
    let of = |node: &Node, now| scene.verdicts(&ledger, now, node).is_some();
    assert!(of(&live, T0) && of(&seen, T0));
    assert!(!of(&founder, T0) && !of(&left, T0) && !of(&refused, T0));
    let lapsed = T0.after(2 * DAY);
    assert!(!of(&live, lapsed));
}

#[test]
fn objections_say_what_is_in_the_way() {
    let other = NetworkId(ContentId::of(b"another"));
    for (objection, words) in [
        (Objection::NoRule, "no local rule"),
        (Objection::DefaultRoute, "default route"),
        (
            Objection::Connected(net("192.168.1.0/24")),
            "192.168.1.0/24",
        ),
        (Objection::Rule, "rejects"),
        (Objection::MemberAddresses, "members"),
        (Objection::OtherNetwork(other), &other.0.short()),
        (Objection::HeldBy(key(1).id()), &key(1).id().short()),
        (Objection::RoutedBy(key(1).id()), &key(1).id().short()),
        (Objection::Judge(Reason::new("too wide")), "too wide"),
        (Objection::Judge(Reason::new("")), "does not say why"),
        (Objection::NotJudged, "judge"),
    ] {
        assert!(objection.to_string().contains(words), "{objection}");
    }
}

#[test]
fn prefixes_overlap_when_one_holds_the_other() {
    for (a, b, expected) in [
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.1.0.0/16", "10.1.0.0/16", true),
        ("10.1.0.0/16", "10.2.0.0/16", false),
        ("0.0.0.0/0", "10.2.0.0/16", true),
        ("0.0.0.0/0", "::/0", false),
        ("fd00::/8", "fd00::1/128", true),
        ("fd00::/8", "fe00::/8", false),
    ] {
        assert_eq!(overlaps(&net(a), &net(b)), expected, "{a} and {b}");
        assert_eq!(overlaps(&net(b), &net(a)), expected, "{b} and {a}");
    }
}
