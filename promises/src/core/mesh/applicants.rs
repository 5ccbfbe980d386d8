//! The waiting room: the nodes that asked this one to be admitted, until they are members.
//!
//! Keys cost nothing, so places are not given to keys: a connection has one, and where there are too few, the networks
//! that the requests come from share them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::core::mesh::roster::Roster;
use crate::core::timers::ASK_AGAIN;
use crate::network::admission::AdmissionRequest;
use crate::network::name::Label;
use crate::time::Millis;
use grid_keys::NodeId;

/// Nodes that may wait at once.
const MOST: usize = 32;
/// How long a node waits that does not ask again.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// After so long it has missed some times of asking again, and gives its place to another.
const IDLE: Duration = ASK_AGAIN.saturating_mul(4);
/// Who asks again sooner says nothing new.
const SOON: Duration = Duration::from_secs(1);

/// The nodes that ask.
#[derive(Debug, Default)]
pub(crate) struct Applicants(BTreeMap<NodeId, Applicant>);

#[derive(Debug)]
struct Applicant {
    label: Label,
    /// Whose connection its request came over: its own, or that of a member.
    through: NodeId,
    /// The network at the other end of that.
    from: Option<IpNet>,
    /// When it asked last.
    heard: Millis,
}

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Whose connection it came over.
    pub(crate) through: NodeId,
    /// Where that comes from.
    pub(crate) from: Option<IpAddr>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The node waits from now on.
    New,
    /// It waits already.
    Again,
    /// It asked a moment ago.
    Soon,
    NoRoom,
}

impl Applicants {
    /// What the nodes call themselves that asked, also those that were admitted and may not have heard of it.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (NodeId, String)> {
        let labels = self.0.iter();
        labels.map(|(node, applicant)| (*node, applicant.label.as_str().to_owned()))
    }

    /// The nodes that no owner has admitted yet.
    pub(crate) fn asking(&self, roster: &Roster) -> BTreeMap<NodeId, Label> {
        let authority = roster.ledger().authority();
        let asking = self.0.iter();
        let asking = asking.filter(|(node, _)| !authority.is_rooted(node));
        asking
            .map(|(node, applicant)| (*node, applicant.label.clone()))
            .collect()
    }

    /// Takes a request in. Those that `is_admitted` says were admitted keep their places, and take none from others.
    pub(crate) fn hear(
        &mut self,
        request: &AdmissionRequest,
        way: Way,
        now: Millis,
        is_admitted: impl Fn(&NodeId) -> bool,
    ) -> Heard {
        self.forget_idle(now);
        let from = way.from.map(network_of);
        if let Some(applicant) = self.0.get_mut(&request.node) {
            let soon = now - applicant.heard < SOON;
            applicant.label = request.label.clone();
            applicant.heard = now;
            if way.through == request.node {
                (applicant.through, applicant.from) = (way.through, from);
            }
            return if soon { Heard::Soon } else { Heard::Again };
        }
        if let Some(gives_way) = self.in_the_way(way.through, from, is_admitted) {
            if !gives_way.to(now) {
                return Heard::NoRoom;
            }
            self.0.remove(&gives_way.node);
        }
        let applicant = Applicant {
            label: request.label.clone(),
            through: way.through,
            from,
            heard: now,
        };
        self.0.insert(request.node, applicant);
        Heard::New
    }

    /// Who has to give way to a node that comes this way. `None`: there is a place.
    fn in_the_way(
        &self,
        through: NodeId,
        from: Option<IpNet>,
        is_admitted: impl Fn(&NodeId) -> bool,
    ) -> Option<InTheWay> {
        let waiting = || self.0.iter().filter(|(node, _)| !is_admitted(node));
        let oldest = |among: &dyn Fn(&Applicant) -> bool| {
            let among = waiting().filter(|(_, applicant)| among(applicant));
            let oldest = among.min_by_key(|(node, applicant)| (applicant.heard, **node));
            oldest.map(|(node, applicant)| (*node, applicant.heard))
        };
        if let Some((node, heard)) = oldest(&|applicant| applicant.through == through) {
            return Some(InTheWay::if_idle(node, heard));
        }
        if waiting().count() < MOST {
            return None;
        }
        let mut crowds: BTreeMap<Option<IpNet>, usize> = BTreeMap::new();
        for (_, applicant) in waiting() {
            *crowds.entry(applicant.from).or_default() += 1;
        }
        let near = crowds.get(&from).copied().unwrap_or_default();
        let (crowd, size) = crowds.into_iter().max_by_key(|(_, size)| *size)?;
        if size > near + 1 {
            let (node, heard) = oldest(&|applicant| applicant.from == crowd)?;
            return Some(InTheWay {
                node,
                heard,
                if_idle: false,
            });
        }
        let (node, heard) = oldest(&|_| true)?;
        Some(InTheWay::if_idle(node, heard))
    }

    /// Forgets those that have not asked for long.
    pub(crate) fn forget_idle(&mut self, now: Millis) {
        self.0.retain(|_, applicant| now - applicant.heard < LIFE);
    }

    /// Forgets those that are members.
    pub(crate) fn forget_members(&mut self, roster: &Roster) {
        self.0.retain(|node, _| !roster.is_member(node));
    }
}

/// One that has the place that another wants.
struct InTheWay {
    node: NodeId,
    heard: Millis,
    /// Whether it stays unless it is idle.
    if_idle: bool,
}

impl InTheWay {
    const fn if_idle(node: NodeId, heard: Millis) -> Self {
        Self {
            node,
            heard,
            if_idle: true,
        }
    }

    fn to(&self, now: Millis) -> bool {
        !self.if_idle || now - self.heard >= IDLE
    }
}

/// The network that an address is in, as one party may have it: an IPv4 /24 or an IPv6 /48.
pub(crate) fn network_of(addr: IpAddr) -> IpNet {
    let addr = addr.to_canonical();
    let length = if addr.is_ipv4() { 24 } else { 48 };
    IpNet::new(addr, length).unwrap_or(addr.into()).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use crate::network::ids::NetworkId;
    use crate::time::Timestamp;

    const T0: Millis = Millis(1_800_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn node(number: u16) -> NodeId {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        NodeId(bytes)
    }

    struct Room(Applicants);

    impl Room {
        /// Node `number` asks over the connection of `through`, at another end of which is `from`.
        fn hear(&mut self, number: u16, through: u16, from: &str, now: Millis) -> Heard {
            let request = AdmissionRequest {
                network: NetworkId(ContentId::of(b"foo")),
                node: node(number),
                label: Label::from_host_name("box"),
                issued: Timestamp(0),
            };
            let way = Way {
                through: node(through),
                from: Some(from.parse().unwrap()),
            };
            // Node 999 was admitted.
            self.0
                .hear(&request, way, now, |asking| *asking == node(999))
        }

        fn ask(&mut self, number: u16, from: &str, now: Millis) -> Heard {
            self.hear(number, number, from, now)
        }

        fn waits(&self, number: u16) -> bool {
            self.0.0.contains_key(&node(number))
        }
    }

    fn full() -> Room {
        let mut room = Room(Applicants::default());
        for number in 0..32 {
            assert_eq!(room.ask(number, "192.0.2.1", T0), Heard::New);
        }
        room
    }

    #[test]
    fn a_connection_has_one_place_however_many_keys_come_over_it() {
        let mut room = Room(Applicants::default());
        assert_eq!(room.hear(1, 100, "192.0.2.1", T0), Heard::New);
        for number in 2..500 {
            let heard = room.hear(number, 100, "192.0.2.1", T0 + MINUTE / 2);
            assert_eq!(heard, Heard::NoRoom);
        }
        // The next one, once the first has not asked for a while; who comes by itself has a place of its own.
        let later = T0 + MINUTE;
        assert_eq!(room.hear(2, 100, "192.0.2.1", later), Heard::New);
        assert!(!room.waits(1));
        assert_eq!(room.ask(2, "192.0.2.1", later + SOON), Heard::Again);
        assert_eq!(room.hear(3, 100, "192.0.2.1", later + SOON), Heard::New);
        assert!(room.waits(2) && room.waits(3));
    }

    #[test]
    fn asking_again_keeps_a_place_and_an_hour_of_silence_ends_it() {
        let mut room = Room(Applicants::default());
        room.ask(1, "192.0.2.1", T0);
        room.ask(2, "192.0.2.1", T0);
        assert_eq!(room.ask(1, "192.0.2.1", T0), Heard::Soon);
        assert_eq!(room.ask(1, "192.0.2.1", T0 + LIFE / 2), Heard::Again);
        room.0.forget_idle(T0 + LIFE);
        assert!(room.waits(1) && !room.waits(2));
        room.0.forget_idle(T0 + LIFE + LIFE / 2);
        assert!(!room.waits(1));
    }

    #[test]
    fn a_crowd_from_one_network_gives_way_to_others() {
        for (near, far) in [
            ("192.0.2.77", "198.51.100.1"),
            ("::ffff:192.0.2.9", "2001:db8:1::1"),
        ] {
            let mut room = full();
            assert_eq!(room.ask(100, near, T0), Heard::NoRoom);
            for number in 101..200 {
                room.ask(number, far, T0 + SOON);
            }
            // Each has half of it, and keeps that.
            let near = (0..32).filter(|number| room.waits(*number)).count();
            assert_eq!((near, room.0.0.len()), (16, 32));
        }
    }

    #[test]
    fn who_has_not_asked_for_long_gives_way_and_who_was_admitted_does_not() {
        let mut room = full();
        let later = T0 + IDLE;
        for number in 1..32 {
            room.ask(number, "192.0.2.1", later);
        }
        assert_eq!(room.ask(999, "192.0.2.1", later), Heard::New);
        assert!(!room.waits(0));
        // It takes no place from those that wait.
        assert_eq!(room.ask(100, "192.0.2.1", later), Heard::New);
        for number in 101..200 {
            room.ask(number, "198.51.100.1", later + LIFE / 2);
        }
        assert!(room.waits(999));
    }
}
