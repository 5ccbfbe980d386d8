//! Which promises a ledger keeps of an invite that too many used: as the plain rule says, which looks at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use grid_keys::NodeId;
use grid_promises::limits::{CLOCK_SKEW, INVITE_GRACE, QUIET_TIME, SPARE_USES};
use grid_promises::network::act::{Act, Action, OfficeId};
use grid_promises::network::admission::{Admission, Grant, Link};
use grid_promises::network::authority::Authority;
use grid_promises::network::ledger::{Item, Ledger};
use grid_promises::network::member::Member;
use grid_promises::network::membership::evidence_of_use;
use grid_promises::network::statement::Signed;
use grid_promises::{ContentId, Timestamp};
use proptest::prelude::*;

use crate::common::story::network;
use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, T0, key};

/// What a ledger does, found anew for each step from all promises.
struct Plain<'a> {
    net: &'a Net,
    members: BTreeMap<NodeId, Member>,
    void: BTreeMap<NodeId, Member>,
}

impl Plain<'_> {
    fn insert(&mut self, member: Member, authority: &Authority, now: Timestamp) {
        if member.promise().issued <= now.after(CLOCK_SKEW) {
            self.keep(member, authority, now);
        }
    }

    /// One that it took before is of the past, whatever the time is now.
    fn keep(&mut self, member: Member, authority: &Authority, now: Timestamp) {
        if retained_until(&member) < now {
            return;
        }
        let node = member.node();
        let rank = |member: &Member| (member.promise().sequence, member.promise().id());
        let standing = self.members.get(&node).or_else(|| self.void.get(&node));
        if standing.is_some_and(|it| retained_until(it) >= now && rank(it) >= rank(&member)) {
            return;
        }
        if authority.rule(&self.net.charter, &member).is_err() {
            self.members.remove(&node);
            self.void.insert(node, member);
            return;
        }
        let mut all = self.members.clone();
        all.insert(node, member.clone());
        let grants = member.admission().links().iter().map(|link| &link.grant);
        let beyond: BTreeSet<NodeId> = grants
            .flat_map(|grant| beyond(grant, &all, authority, now))
            .collect();
        if beyond.contains(&node) {
            return;
        }
        self.void.remove(&node);
        self.members = all;
        self.members.retain(|node, _| !beyond.contains(node));
    }

    fn rule_again(&mut self, authority: &Authority, now: Timestamp) {
        let holds = |member: &Member| authority.rule(&self.net.charter, member).is_ok();
        let (back, void) = take(&mut self.void).partition(|(_, member)| holds(member));
        let (members, out) = take(&mut self.members).partition(|(_, member)| holds(member));
        let back: BTreeMap<NodeId, Member> = back;
        self.void = void;
        self.void.extend::<BTreeMap<_, _>>(out);
        self.members = members;
        for member in back.into_values() {
            self.keep(member, authority, now);
        }
    }

    fn prune(&mut self, authority: &Authority, now: Timestamp) {
        let grants = self.members.values().flat_map(|m| m.admission().links());
        let beyond: BTreeSet<NodeId> = grants
            .flat_map(|link| beyond(&link.grant, &self.members, authority, now))
            .collect();
        self.members
            .retain(|node, member| retained_until(member) >= now && !beyond.contains(node));
        self.void.retain(|_, member| retained_until(member) >= now);
    }

    fn held(&self) -> Vec<Vec<u8>> {
        let all = self.members.values().chain(self.void.values());
        let mut all: Vec<_> = all
            .map(|member| member.promise().bytes().to_vec())
            .collect();
        all.sort();
        all
    }
}

fn take(all: &mut BTreeMap<NodeId, Member>) -> impl Iterator<Item = (NodeId, Member)> + use<> {
    std::mem::take(all).into_iter()
}

fn retained_until(member: &Member) -> Timestamp {
    member.promise().expires.after(QUIET_TIME)
}

fn is_heard(witness: &NodeId, links: &[Link], authority: &Authority) -> bool {
    let signed = |link: &Link| {
        let office = link.grant.office;
        let is_live = |office: OfficeId| {
            authority
                .offices()
                .get(&office)
                .is_some_and(|o| o.is_live())
        };
        link.issuer() == *witness && office.is_none_or(is_live)
    };
    authority.is_owner(witness) || (links.iter().any(signed) && !authority.is_out(witness))
}

fn seen_since(authority: &Authority, member: &Member, position: usize) -> Option<Timestamp> {
    let links = member.admission().links();
    if position + 1 == links.len() {
        return evidence_of_use(authority, member);
    }
    let seen = links[position].seen.as_ref()?;
    is_heard(&seen.witness, &links[position..=position], authority).then_some(seen.member_since)
}

fn witnessed(authority: &Authority, member: &Member, links: &[Link]) -> Option<Timestamp> {
    let receipts = member.membership_receipts();
    let heard = receipts.filter(|receipt| is_heard(&receipt.witness, links, authority));
    heard.map(|receipt| receipt.member_since).min()
}

/// Who is void because of a grant, and not kept.
fn beyond(
    grant: &Signed<Grant>,
    members: &BTreeMap<NodeId, Member>,
    authority: &Authority,
    now: Timestamp,
) -> Vec<NodeId> {
    let at = |member: &Member| {
        let mut links = member.admission().links().iter();
        links.position(|link| link.grant.id() == grant.id())
    };
    let members = members
        .values()
        .filter(|member| retained_until(member) >= now);
    let on_it: Vec<(&Member, usize)> = members.filter_map(|m| Some((m, at(m)?))).collect();
    let user = |member: &Member, position: usize| member.admission().links()[position].node();
    let mut since: BTreeMap<NodeId, Option<Timestamp>> = BTreeMap::new();
    for (member, position) in &on_it {
        let seen = seen_since(authority, member, *position);
        let known = since.entry(user(member, *position)).or_default();
        *known = [*known, seen].into_iter().flatten().min();
    }
    let rank = |node: &NodeId| {
        let seen = since[node].unwrap_or(Timestamp(u64::MAX));
        let parts = [&b"grid/1 invite use\0"[..], &grant.invite.0, &node.0];
        (seen, ContentId::of(&parts.concat()))
    };
    let mut seen: Vec<NodeId> = since
        .keys()
        .filter(|n| since[*n].is_some())
        .copied()
        .collect();
    seen.sort_by_key(rank);
    let uses = grant.uses as usize;
    let won: Option<BTreeSet<NodeId>> =
        (seen.len() >= uses).then(|| seen.into_iter().take(uses).collect());
    let deadline = grant.expires.after(INVITE_GRACE);
    let (mut users, mut guests) = (Vec::new(), Vec::new());
    for (member, position) in on_it {
        if position < authority.first_that_counts(member.admission(), &member.node()) {
            continue;
        }
        let (user, node) = (user(member, position), member.node());
        let by = witnessed(authority, member, &member.admission().links()[..=position]);
        let in_time = |since: Option<Timestamp>| since.is_some_and(|since| since <= deadline);
        let is_late = now > deadline
            && !in_time(since[&user])
            && !in_time(by)
            && (user == node || by.is_none());
        if user == node {
            users.push((is_late, rank(&user), user));
        } else if is_late || won.as_ref().is_some_and(|won| !won.contains(&user)) {
            guests.push(node);
        }
    }
    let in_time = users.iter().filter(|(is_late, ..)| !is_late).count();
    users.sort();
    guests.sort();
    let users = users.into_iter().map(|(.., node)| node);
    users
        .skip(in_time.min(uses) + SPARE_USES)
        .chain(guests.into_iter().skip(SPARE_USES))
        .collect()
}

/// Twenty-six users of an invite for four, with evidence that comes and goes, and guests of eight of them.
static POOL: LazyLock<(Net, Vec<Item>)> = LazyLock::new(|| {
    let net = network();
    let founder = net.founder();
    let mut bytes = vec![founder.bytes(), net.node(9, Admission::default()).bytes()];
    let users: Vec<Node> = (100..126)
        .map(|n| net.joined(&founder, INVITES, 4, n))
        .collect();
    for (n, user) in (0u32..).zip(&users) {
        bytes.extend(lives(&net, user, &[0, 9], n));
    }
    let hosts = users.iter().take(8).cloned().enumerate();
    for (number, (at, host)) in hosts.flat_map(|host| vec![host; 5]).enumerate() {
        let n = u16::try_from(number).unwrap();
        let receipt = net.receipt(
            &key(0),
            &host,
            T0.after(MINUTE * u32::from(n)),
            T0.after(HOUR),
        );
        let ledger = net.ledger();
        let seen = host
            .admission
            .seen(&receipt, &net.charter, ledger.authority());
        let above = if number % 3 == 0 { host.by(seen) } else { host };
        let invite = INVITES + 1 + u16::try_from(at).unwrap();
        let guest = net.joined(&above, invite, 3, 200 + n);
        bytes.extend(lives(
            &net,
            &guest,
            &[0, 100 + u16::try_from(at).unwrap()],
            u32::from(n),
        ));
    }
    bytes.extend(deeds(&net, &users).iter().map(|act| act.bytes().to_vec()));
    let empty = net.ledger();
    let items = bytes.iter().map(|bytes| empty.verify(bytes).unwrap());
    let items = items.collect();
    (net, items)
});

/// Promises of one node: without evidence, with early, late and other evidence, and without again.
fn lives(net: &Net, node: &Node, witnesses: &[u16; 2], n: u32) -> Vec<Vec<u8>> {
    let seen = |witness: u16, since: Timestamp| {
        let issued = since.max(T0.after(HOUR));
        let receipt = net.receipt(&key(witness), node, since, issued);
        node.carrying(&[receipt])
    };
    let late = T0.after(2 * DAY).after(MINUTE * (n % 5));
    let lives = [
        (1, T0, node.clone()),
        (
            2,
            T0.after(HOUR),
            seen(witnesses[0], T0.after(MINUTE * (n % 7))),
        ),
        (
            3,
            T0.after(HOUR),
            seen(witnesses[1], T0.after(MINUTE * (n % 9))),
        ),
        (4, late, seen(witnesses[(n % 2) as usize], late)),
        (5, late.after(HOUR), node.clone()),
    ];
    let lives = lives.into_iter().skip((n % 2) as usize);
    lives
        .map(|(sequence, issued, node)| node.at(sequence, issued).bytes())
        .collect()
}

/// Owners close the invite, revoke users, admit some by name, and appoint and dismiss one.
fn deeds(net: &Net, users: &[Node]) -> Vec<Signed<Act>> {
    let appointment = net.does(Action::Appoint {
        node: users[3].id(),
    });
    let office = OfficeId(appointment.act_id());
    let second = |action| {
        net.act(&key(0), |act: &mut Act| {
            act.number = 2;
            act.previous = appointment.act_id();
            act.action = action;
        })
    };
    vec![
        net.revoke(&users[1]),
        net.close(INVITES, T0.after(3 * MINUTE), &[&users[2], &users[20]]),
        net.name(9, &[&users[4], &users[5]], &[]),
        net.name(9, &[&users[1]], &[&net.revoke(&users[1])]),
        second(Action::Dismiss {
            office,
            cut: office.0,
            heir: None,
        }),
        // The other owner of the charter, whose receipts are worth nothing any longer.
        second(Action::Dismiss {
            office: net.office(&key(9).id()),
            cut: net.office(&key(9).id()).0,
            heir: None,
        }),
        appointment,
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Told(usize),
    /// It is so many hours after [`T0`].
    Time(u32),
    Pruned,
}

fn history() -> impl Strategy<Value = Vec<Event>> {
    let count = POOL.1.len();
    let event = prop_oneof![
        60 => (0..count).prop_map(Event::Told),
        2 => (50u32..60).prop_map(Event::Time),
        1 => prop_oneof![Just(2), Just(23), Just(25), 0u32..300].prop_map(Event::Time),
        1 => Just(Event::Pruned),
    ];
    // Most of what is told comes after most of it can be believed.
    prop::collection::vec(event, 100..400)
}

fn held(ledger: &Ledger) -> Vec<Vec<u8>> {
    let acts = ledger.acts().held().len();
    let mut held: Vec<_> = ledger.statements().skip(acts).map(<[u8]>::to_vec).collect();
    held.sort();
    held
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_ledger_keeps_what_the_plain_rule_keeps(history in history()) {
        let (net, items) = &*POOL;
        let mut ledger = net.ledger();
        let mut plain = Plain { net, members: BTreeMap::new(), void: BTreeMap::new() };
        let mut now = T0.after(52 * HOUR);
        for event in history {
            let before = ledger.authority().clone();
            match &event {
                Event::Time(hours) => now = T0.after(*hours * HOUR),
                Event::Pruned => {
                    ledger.prune(now);
                    plain.prune(&before, now);
                }
                Event::Told(at) => {
                    let _ = ledger.insert(items[*at].clone(), now);
                    match &items[*at] {
                        Item::Member(member) => plain.insert((**member).clone(), &before, now),
                        Item::Act(_) if *ledger.authority() != before => {
                            plain.rule_again(ledger.authority(), now);
                        }
                        Item::Act(_) | Item::Trace(_) => {}
                    }
                }
            }
            prop_assert_eq!(held(&ledger), plain.held(), "after {:?}", event);
        }
    }
}
