//! One connection per pair of nodes: the rule, without I/O.
//!
//! Either node may dial, both may dial at once, and either may restart and dial again while the
//! other still holds the corpse of the old connection. Both ends must make the same choice in every
//! case.
//!
//! Finishing the TLS handshake does not bring a connection into use. First the dialler *commits* to
//! it: if it has no connection to that peer and has committed to no other, it sends a *greeting* and
//! waits. The other end *answers* the greeting if it makes this connection the one for the pair. Only
//! then does either end use it, so that a connection that is given up has never carried a request.
//!
//! When both have committed, the connection that the node with the lower id dialled is preferred:
//! that node lets the other's greeting wait until its own is answered or has failed, while the other
//! node abandons its dial and names it in the answer.
//!
//! A greeting that arrives while a connection is in use therefore means one of two things. Either
//! the peer has abandoned it in favour of the connection in use, and said so in its answer: it is
//! refused. Or the peer committed to it after losing the connection in use (it restarted, or gave
//! up): it replaces that one at once.

/// A connection's name, which both ends can compute: bytes from the TLS exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinkId(pub(crate) [u8; LinkId::LEN]);

impl LinkId {
    pub(crate) const LEN: usize = 16;
}

/// What this node knows of its connections with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Whether the connection that we dial is the preferred one: our id is the lower.
    prefer_ours: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// We have committed to a dial and wait for the answer to its greeting.
    Committed(LinkId),
    InUse {
        id: LinkId,
        /// What the peer abandoned in favour of it.
        abandoned: Option<LinkId>,
    },
}

/// Whether a dial may send its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Yes, and it must end in [`Pair::answered`] or [`Pair::failed`].
    Greet,
    /// No: a connection is in use.
    Connected,
    /// Not yet: another dial of ours has sent one.
    Wait,
}

/// What to do with a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeted {
    /// Answer it: this is the connection now.
    Accept {
        /// Our own dial, to be given up and named in the answer.
        abandoned: Option<LinkId>,
        /// The connection that was in use until now.
        replaced: Option<LinkId>,
    },
    /// Our own dial comes first: ask again once it has ended.
    Wait,
    /// The peer has abandoned it.
    Refuse,
}

impl Pair {
    pub(crate) const fn new(prefer_ours: bool) -> Self {
        Self {
            prefer_ours,
            phase: Phase::Idle,
        }
    }

    /// A dial of ours has finished its handshake.
    pub(crate) fn commit(&mut self, id: LinkId) -> Commit {
        match self.phase {
            Phase::InUse { .. } => Commit::Connected,
            Phase::Committed(_) => Commit::Wait,
            Phase::Idle => {
                self.phase = Phase::Committed(id);
                Commit::Greet
            }
        }
    }

    /// Our greeting was answered. False if we have abandoned that dial in the meantime.
    pub(crate) fn answered(&mut self, id: LinkId, abandoned: Option<LinkId>) -> bool {
        let ours = self.phase == Phase::Committed(id);
        if ours {
            self.phase = Phase::InUse { id, abandoned };
        }
        ours
    }

    /// Our greeting was not answered.
    pub(crate) fn failed(&mut self, id: LinkId) {
        if self.phase == Phase::Committed(id) {
            self.phase = Phase::Idle;
        }
    }

    /// The peer greets.
    pub(crate) fn greeted(&mut self, id: LinkId) -> Greeted {
        let (abandoned, replaced) = match self.phase {
            Phase::InUse { abandoned, .. } if abandoned == Some(id) => return Greeted::Refuse,
            Phase::Committed(_) if self.prefer_ours => return Greeted::Wait,
            Phase::InUse { id: old, .. } => (None, Some(old)),
            Phase::Committed(ours) => (Some(ours), None),
            Phase::Idle => (None, None),
        };
        self.phase = Phase::InUse {
            id,
            abandoned: None,
        };
        Greeted::Accept {
            abandoned,
            replaced,
        }
    }

    /// A connection has ended. True if it was the one in use.
    pub(crate) fn lost(&mut self, id: LinkId) -> bool {
        let was_in_use = self.in_use() == Some(id);
        if was_in_use {
            self.phase = Phase::Idle;
        }
        was_in_use
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    fn in_use(&self) -> Option<LinkId> {
        match self.phase {
            Phase::InUse { id, .. } => Some(id),
            Phase::Idle | Phase::Committed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> LinkId {
        LinkId([n; LinkId::LEN])
    }

    #[test]
    fn a_dial_is_answered_and_used() {
        let (mut a, mut b) = (Pair::new(true), Pair::new(false));
        assert_eq!(a.commit(id(1)), Commit::Greet);
        assert_eq!(
            b.greeted(id(1)),
            Greeted::Accept {
                abandoned: None,
                replaced: None
            }
        );
        assert!(a.answered(id(1), None));
        assert_eq!(a.commit(id(2)), Commit::Connected);
        assert_eq!(b.commit(id(3)), Commit::Connected);
    }

    #[test]
    fn when_both_dial_the_lower_id_wins_at_both_ends() {
        let (mut low, mut high) = (Pair::new(true), Pair::new(false));
        assert_eq!(low.commit(id(1)), Commit::Greet);
        assert_eq!(high.commit(id(2)), Commit::Greet);
        assert_eq!(low.greeted(id(2)), Greeted::Wait);
        let accept = Greeted::Accept {
            abandoned: Some(id(2)),
            replaced: None,
        };
        assert_eq!(high.greeted(id(1)), accept);
        assert!(low.answered(id(1), Some(id(2))));
        assert_eq!(low.greeted(id(2)), Greeted::Refuse);
        assert!(!high.answered(id(2), None));
    }

    #[test]
    fn a_restarted_peer_replaces_its_corpse_whoever_had_dialled() {
        for prefer_ours in [true, false] {
            let mut ours = Pair::new(prefer_ours);
            ours.commit(id(1));
            ours.answered(id(1), Some(id(9)));
            let replace = Greeted::Accept {
                abandoned: None,
                replaced: Some(id(1)),
            };
            assert_eq!(ours.greeted(id(2)), replace);
            let replace = Greeted::Accept {
                abandoned: None,
                replaced: Some(id(2)),
            };
            assert_eq!(ours.greeted(id(3)), replace);
            assert!(!ours.lost(id(1)), "the end of the corpse is no news");
            assert!(ours.lost(id(3)));
            assert!(ours.is_idle());
        }
    }

    #[test]
    fn a_failed_dial_makes_room_for_the_one_that_waited() {
        let mut low = Pair::new(true);
        low.commit(id(1));
        assert_eq!(low.greeted(id(2)), Greeted::Wait);
        assert_eq!(low.commit(id(3)), Commit::Wait);
        low.failed(id(1));
        assert_eq!(
            low.greeted(id(2)),
            Greeted::Accept {
                abandoned: None,
                replaced: None
            }
        );
    }

    /// What travels between the two nodes of the model below. A close is delivered like the rest.
    #[derive(Clone, Copy, Debug)]
    enum Packet {
        Greeting(LinkId),
        Answer(LinkId, Option<LinkId>),
        Close(LinkId),
    }

    /// One node of the model: the pair and what the task around it would hold.
    struct Node {
        pair: Pair,
        /// Greetings that wait for our own dial to end.
        parked: Vec<LinkId>,
        used: Vec<LinkId>,
        outbox: Vec<Packet>,
    }

    impl Node {
        fn new(prefer_ours: bool) -> Self {
            let pair = Pair::new(prefer_ours);
            Self {
                pair,
                parked: Vec::new(),
                used: Vec::new(),
                outbox: Vec::new(),
            }
        }

        fn dial(&mut self, id: LinkId) {
            if self.pair.commit(id) == Commit::Greet {
                self.outbox.push(Packet::Greeting(id));
            }
        }

        fn greet(&mut self, id: LinkId) {
            match self.pair.greeted(id) {
                Greeted::Accept {
                    abandoned,
                    replaced,
                } => {
                    self.used.push(id);
                    self.outbox.push(Packet::Answer(id, abandoned));
                    self.outbox
                        .extend(replaced.into_iter().chain(abandoned).map(Packet::Close));
                }
                Greeted::Wait => self.parked.push(id),
                Greeted::Refuse => self.outbox.push(Packet::Close(id)),
            }
        }

        fn receive(&mut self, packet: Packet) {
            match packet {
                Packet::Greeting(id) => self.greet(id),
                Packet::Answer(id, abandoned) => {
                    if self.pair.answered(id, abandoned) {
                        self.used.push(id);
                    } else {
                        self.outbox.push(Packet::Close(id));
                    }
                }
                Packet::Close(id) => {
                    self.pair.failed(id);
                    self.pair.lost(id);
                    self.parked.retain(|&parked| parked != id);
                }
            }
            for id in std::mem::take(&mut self.parked) {
                self.greet(id);
            }
        }

        fn current(&self) -> Option<LinkId> {
            self.pair.in_use()
        }
    }

    /// Delivers everything, in an order that `choices` decides. The packets of one connection arrive
    /// in order, a close included; different connections race.
    fn settle(nodes: &mut [Node; 2], choices: &mut impl Iterator<Item = usize>) {
        let mut wires: [Vec<Packet>; 2] = [Vec::new(), Vec::new()];
        loop {
            for from in 0..2 {
                wires[1 - from].append(&mut nodes[from].outbox);
            }
            let choice = choices.next().unwrap_or(0);
            let to = if wires[choice % 2].is_empty() {
                1 - choice % 2
            } else {
                choice % 2
            };
            if wires[to].is_empty() {
                return;
            }
            let link = |packet: &Packet| match *packet {
                Packet::Greeting(id) | Packet::Answer(id, _) | Packet::Close(id) => id,
            };
            let pick = (choice / 2) % wires[to].len();
            let picked = link(&wires[to][pick]);
            let first = wires[to]
                .iter()
                .position(|packet| link(packet) == picked)
                .unwrap();
            let packet = wires[to].remove(first);
            nodes[to].receive(packet);
        }
    }

    proptest! {
        /// Both dial once, with events in any order. One connection results, the same at both ends,
        /// and no other was ever used.
        #[test]
        fn simultaneous_dials_agree(choices in prop::collection::vec(0usize..64, 0..32), late: bool) {
            let mut nodes = [Node::new(true), Node::new(false)];
            nodes[0].dial(id(1));
            if !late {
                nodes[1].dial(id(2));
            }
            settle(&mut nodes, &mut choices.into_iter());
            if late {
                nodes[1].dial(id(2));
            }
            prop_assert!(nodes[0].current().is_some());
            prop_assert_eq!(nodes[0].current(), nodes[1].current());
            for node in &nodes {
                prop_assert_eq!(&node.used, &[node.current().unwrap()]);
            }
        }

        /// One restarts and dials again, while the other may dial too. The corpse never wins.
        #[test]
        fn a_restart_heals(
            choices in prop::collection::vec(0usize..64, 0..32),
            who in 0usize..2,
            first_dialler in 0usize..2,
        ) {
            let mut nodes = [Node::new(true), Node::new(false)];
            nodes[first_dialler].dial(id(1));
            settle(&mut nodes, &mut std::iter::empty());
            nodes[who] = Node::new(who == 0);
            nodes[who].dial(id(2));
            nodes[1 - who].dial(id(3));
            settle(&mut nodes, &mut choices.into_iter());
            prop_assert_eq!(nodes[who].current(), Some(id(2)));
            prop_assert_eq!(nodes[1 - who].current(), Some(id(2)));
        }
    }
}
