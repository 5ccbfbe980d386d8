//! Sets of admissions that are larger than the room for them: which are kept follows from the set, and not from the
//! order. Compared with a plain rule over random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Admission;
use grid_promises::network::ids::AdmissionId;
use grid_promises::network::ledger::{Item, Ledger, Refusal};
use grid_promises::network::member::Member;
use grid_promises::network::room::Size;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::common::exchange::settle;
use crate::common::{HOUR, INVITES, MINUTE, Net, Node, T0, key};

const ROOM: Size = Size {
    all: 16,
    by_themselves: 5,
    through: 8,
};
const NOW: Timestamp = T0.after(HOUR);
const HISTORIES: u64 = 10_000;

/// Somebody who promises.
#[derive(Clone)]
struct Person {
    node: Node,
    /// Who let it in and by which invite, from the first on the way who is no owner, and itself.
    way: Vec<u16>,
    came_by_itself: bool,
}

impl Person {
    fn new(node: Node, n: u16, came_by_itself: bool) -> Self {
        Self {
            node,
            way: vec![n],
            came_by_itself,
        }
    }

    /// Somebody whom it lets in.
    fn lets_in(&self, net: &Net, invite: u16, n: u16) -> Self {
        Self {
            node: net.joined(&self.node, invite, 99, n),
            way: [&self.way[..], &[invite, n]].concat(),
            ..self.clone()
        }
    }
}

/// An admission of a node.
type Place = (NodeId, AdmissionId);

/// What can be said in an open network, by those who came in all ways.
struct World {
    net: Net,
    /// Who shows which admission.
    people: BTreeMap<Place, Person>,
    /// One of them is admitted by name.
    naming: Item,
    /// What they say: how they came, later that somebody saw them, and then, of some, that they came in another way.
    said: Vec<Member>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let net = Net::new(AdmissionRule::Open);
    let people = people(&net);
    let named = people.iter().find(|person| person.way == [9]);
    let naming = net.name(0, &[&named.unwrap().node], &[]);
    let mut world = World {
        naming: net.ledger().verify(naming.bytes()).unwrap(),
        people: BTreeMap::new(),
        said: Vec::new(),
        net,
    };
    for person in &people {
        world.live(person, 1);
    }
    for (one, other) in people.iter().zip(people.iter().rev()) {
        let n = *one.way.last().unwrap();
        // Owners and those admitted by name need nobody.
        if ![0, 9].contains(&n) && other.way != [0] && !other.way.contains(&n) {
            world.live(&other.lets_in(&world.net, INVITES + 90, n), 3);
        }
    }
    world
});

fn people(net: &Net) -> Vec<Person> {
    let founder = net.founder();
    let named = Person::new(net.node(9, Admission::default()), 9, false);
    let mut people = vec![Person::new(founder.clone(), 0, false), named.clone()];
    for n in 10..16 {
        let node = net.joined(&founder, INVITES, 99, n);
        people.push(Person::new(node, n, false));
    }
    for n in 20..28 {
        let node = net.node(n, Admission::default());
        people.push(Person::new(node, n, true));
    }
    // Guests of one invite, of another of the same member, and of their guests; of whoever came by itself too.
    let (host, stranger) = (people[2].clone(), people[8].clone());
    for n in 30..36 {
        people.push(host.lets_in(net, INVITES + 1, n));
        people.push(host.lets_in(net, INVITES + 2, n + 10));
        people.push(named.lets_in(net, INVITES + 3, n + 20));
        people.push(stranger.lets_in(net, INVITES + 4, n + 30));
    }
    let guest = people[people.len() - 4].clone();
    for n in 70..74 {
        people.push(guest.lets_in(net, INVITES + 5, n));
        people.push(guest.lets_in(net, INVITES + 6, n + 10));
    }
    people
}

impl World {
    /// Somebody says how it came, and then that somebody saw it.
    fn live(&mut self, person: &Person, sequence: u64) {
        let issuer = person.way.iter().rev().nth(2).copied().unwrap_or(0);
        let since = T0.after(MINUTE * u32::from(person.way[person.way.len() - 1] % 7));
        let receipt = |by| self.net.receipt(&key(by), &person.node, since, since);
        let receipts = (person.node.id() != key(issuer).id()).then(|| receipt(issuer));
        let came = person.node.at(sequence, T0);
        let seen = person.node.carrying(receipts.as_slice());
        for node in [came, seen.at(sequence + 1, since)] {
            let member = Member::decode(&node.bytes(), &self.net.charter).unwrap();
            self.people.insert(place(&member), person.clone());
            self.said.push(member);
        }
    }

    /// A ledger that was told these, in this order.
    fn ledger<'a>(&self, said: impl IntoIterator<Item = &'a Member>) -> Ledger {
        let mut ledger = Ledger::with_room(self.net.charter.clone(), ROOM);
        ledger.insert(self.naming.clone(), NOW).unwrap();
        self.tell(&mut ledger, said);
        ledger
    }

    fn tell<'a>(&self, ledger: &mut Ledger, said: impl IntoIterator<Item = &'a Member>) {
        for member in said {
            let before = ledger.root();
            match ledger.insert(Item::Member(Box::new(member.clone())), NOW) {
                Ok(_) => {}
                Err(Refusal::NoRoom) => assert_eq!(ledger.root(), before),
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// What the plain rule keeps of this: the best first, as long as none of their shares is full.
    fn kept<'a>(
        &self,
        said: impl IntoIterator<Item = &'a Member>,
        ledger: &Ledger,
    ) -> Vec<&'a Member> {
        let mut last: BTreeMap<Place, &Member> = BTreeMap::new();
        for member in said {
            let standing = last.entry(place(member)).or_insert(member);
            if member.promise().sequence > standing.promise().sequence {
                *standing = member;
            }
        }
        let mut all: Vec<&Member> = last.into_values().collect();
        all.sort_by_cached_key(|member| (ledger.authority().rank(member), place(member)));
        let mut used: BTreeMap<Vec<u16>, usize> = BTreeMap::new();
        let mut kept = Vec::new();
        for member in all {
            let shares = self.shares(&place(member));
            let is_full = |(share, most): &(Vec<u16>, usize)| {
                used.get(share).is_some_and(|used| used >= most)
            };
            if !shares.iter().any(is_full) {
                for (share, _) in shares {
                    *used.entry(share).or_default() += 1;
                }
                kept.push(member);
            }
        }
        kept
    }

    fn check<'a>(&self, ledger: &Ledger, said: impl IntoIterator<Item = &'a Member>, seed: u64) {
        let kept = self.kept(said, ledger);
        let mut bytes: Vec<&[u8]> = kept.iter().map(|kept| kept.promise().bytes()).collect();
        bytes.sort_unstable();
        let mut held: Vec<&[u8]> = ledger.statements().skip(1).collect();
        held.sort_unstable();
        assert_eq!(held, bytes, "seed {seed}");
        let mut last: BTreeMap<NodeId, u64> = BTreeMap::new();
        for member in kept {
            let sequence = last.entry(member.node()).or_default();
            *sequence = member.promise().sequence.max(*sequence);
        }
        let members = ledger.members().iter();
        let members = members.map(|(node, member)| (*node, member.promise().sequence));
        assert!(members.eq(last), "seed {seed}");
    }

    /// The shares of a person, by what those in them have in common, and what each holds.
    fn shares(&self, place: &Place) -> Vec<(Vec<u16>, usize)> {
        let person = &self.people[place];
        let mut shares = vec![(vec![], ROOM.all)];
        if person.came_by_itself {
            shares.push((vec![u16::MAX], ROOM.by_themselves));
        }
        for length in 1..person.way.len() {
            let most = (ROOM.through >> (length / 2)).max(1);
            shares.push((person.way[..length].to_vec(), most));
        }
        shares
    }
}

fn place(member: &Member) -> Place {
    (member.node(), member.admission_id())
}

/// Some of these, in some order, some of them twice.
fn some<'a>(said: &'a [Member], rng: &mut ChaCha8Rng) -> Vec<&'a Member> {
    let most = rng.next_u64() % (2 * said.len() as u64);
    let mut pick = || usize::try_from(rng.next_u64() % said.len() as u64).unwrap();
    (0..most).map(|_| &said[pick()]).collect()
}

/// Nodes that show one admission now and another one later are in it.
#[test]
fn who_has_room_follows_from_the_set() {
    let world = &*WORLD;
    let mut reached = BTreeSet::new();
    for seed in 0..HISTORIES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (one, other) = (some(&world.said, &mut rng), some(&world.said, &mut rng));
        let (mut a, mut b) = (world.ledger(one.clone()), world.ledger(other.clone()));
        world.check(&a, one.clone(), seed);
        world.check(&b, other.clone(), seed);
        let rounds = settle(&mut a, &mut b, NOW);
        assert!(rounds <= 2, "{rounds} rounds, seed {seed}");
        world.check(&a, one.into_iter().chain(other), seed);
        reached.insert(a.len() - 1);
    }
    assert!(reached.contains(&ROOM.all), "it was never full");
}
