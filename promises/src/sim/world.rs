//! The network between simulated machines, and the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand_core::Rng;

use crate::core::{
    Command, CommandError, Effect, Input, PeerObservation, Reply, ReplyTo, RequestId, Ticket,
};
use crate::network::ids::NetworkId;
use crate::sim::node::SimNode;
use crate::time::{Millis, Timestamp};
use grid_keys::WgPublicKey;
use grid_keys::{NodeId, NodeKey};

/// Names a machine.
pub type NodeIndex = usize;

/// How bad the network is. Chances are in 1/1000.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The chance that a message is lost (its sender learns it by a time-out).
    pub loss: u32,
    /// The chance that a message arrives twice.
    pub duplicate: u32,
    /// The least and the most delay of a message. A wide range reorders.
    pub delay: (Duration, Duration),
}

impl Faults {
    /// A good local network.
    pub const NONE: Self = Self {
        loss: 0,
        duplicate: 0,
        delay: (Duration::from_millis(1), Duration::from_millis(2)),
    };
    /// A bad one: one message of ten is lost, one of ten repeated, all are reordered.
    pub const BAD: Self = Self {
        loss: 100,
        duplicate: 100,
        delay: (Duration::from_millis(1), Duration::from_millis(400)),
    };
}

/// How long a dial and a request may take.
const TIMEOUT: Duration = Duration::from_secs(3);

enum Event {
    Input(NodeIndex, Box<Input>),
    /// A tick, valid while the node's timer has this number.
    Timer(NodeIndex, u64),
    Establish(NodeIndex, NodeIndex),
    Request {
        from: NodeIndex,
        to: NodeIndex,
        id: RequestId,
        message: Vec<u8>,
    },
    Handshakes(NodeIndex, NetworkId),
}

/// All machines, and everything that is under way between them.
pub struct World<R> {
    rng: R,
    /// The present.
    pub now: Millis,
    /// The machines.
    pub nodes: Vec<SimNode>,
    /// How bad the network is.
    pub faults: Faults,
    /// Every effect since [`trace`](Self::trace), hashed.
    trace: Option<blake3::Hasher>,
    /// The machines with each key: several, if it was copied.
    by_id: BTreeMap<NodeId, Vec<NodeIndex>>,
    by_address: BTreeMap<SocketAddr, NodeIndex>,
    by_key: BTreeMap<(NetworkId, WgPublicKey), NodeIndex>,
    connections: BTreeSet<(NodeIndex, NodeIndex)>,
    queue: BTreeMap<(Millis, u64), Event>,
    replies: BTreeMap<ReplyTo, (NodeIndex, NodeIndex, RequestId)>,
    counter: u64,
}

impl<R: Rng> World<R> {
    /// A world without machines, at a fixed moment.
    pub fn new(rng: R, faults: Faults) -> Self {
        Self {
            rng,
            now: Millis(1_800_000_000_000),
            nodes: Vec::new(),
            faults,
            trace: None,
            by_id: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_key: BTreeMap::new(),
            connections: BTreeSet::new(),
            queue: BTreeMap::new(),
            replies: BTreeMap::new(),
            counter: 0,
        }
    }

    /// Adds a machine with a new key and starts it.
    pub fn add(&mut self) -> NodeIndex {
        let key = NodeKey::generate(&mut self.rng);
        self.add_with_key(key)
    }

    /// Adds a machine with a key of the caller's and starts it.
    pub fn add_with_key(&mut self, key: NodeKey) -> NodeIndex {
        let index = self.add_stopped(key);
        self.start(index);
        index
    }

    /// Adds a machine that a test plays: it takes every connection, and keeps what comes in [`SimNode::heard`].
    pub fn add_played(&mut self, key: NodeKey) -> NodeIndex {
        let index = self.add_stopped(key);
        self.nodes[index].heard = Some(Vec::new());
        index
    }

    /// Adds a machine that is down, with nothing on its disk.
    pub fn add_stopped(&mut self, key: NodeKey) -> NodeIndex {
        let index = self.nodes.len();
        let node = SimNode::new(key, u32::try_from(index).unwrap_or(u32::MAX));
        self.by_id.entry(node.key.id()).or_default().push(index);
        self.by_address.insert(node.quic(), index);
        self.nodes.push(node);
        index
    }

    /// Starts a machine from its disk.
    pub fn start(&mut self, index: NodeIndex) {
        let core = self.nodes[index].fresh_core(index);
        self.nodes[index].core = Some(core);
        let (shown, written) = (self.clock_of(index), self.nodes[index].written);
        self.input(index, Input::Start { shown, written });
        let records: Vec<_> = self.nodes[index].disk.values().cloned().collect();
        for record in records {
            self.input(index, Input::Restore(Box::new(record)));
        }
        let host = self.nodes[index].host();
        self.input(index, Input::Host(host));
    }

    /// What the clock of a machine shows.
    #[must_use]
    pub fn clock_of(&self, index: NodeIndex) -> Timestamp {
        let right = self.now.timestamp().0;
        Timestamp(right.saturating_add_signed(self.nodes[index].clock_error))
    }

    /// Sets the clock of a machine wrong by so many seconds.
    pub fn set_clock(&mut self, index: NodeIndex, error: i64) {
        self.nodes[index].clock_error = error;
        let shown = self.clock_of(index);
        self.input(index, Input::Clock { shown });
    }

    /// Kills a machine. Its disk and its address stay.
    pub fn kill(&mut self, index: NodeIndex) {
        self.nodes[index].core = None;
        self.nodes[index].tunnels.clear();
        self.nodes[index].located.clear();
        self.nodes[index].dated.clear();
        self.nodes[index].measuring.clear();
        self.cut(|a, b| a == index || b == index);
        // What was under way to or from the dead process is of no use to the next one.
        self.queue.retain(|_, event| match event {
            Event::Input(at, _) | Event::Timer(at, _) | Event::Handshakes(at, _) => *at != index,
            Event::Establish(from, to) => *from != index && *to != index,
            Event::Request { from, to, .. } => *from != index && *to != index,
        });
        self.replies
            .retain(|_, (from, asker, _)| *from != index && *asker != index);
    }

    /// Puts machines on sides; only those of one side reach each other.
    pub fn partition(&mut self, side: impl Fn(NodeIndex) -> u8) {
        for index in 0..self.nodes.len() {
            self.nodes[index].side = side(index);
        }
        let sides: Vec<u8> = self.nodes.iter().map(|node| node.side).collect();
        self.cut(|a, b| sides[a] != sides[b]);
    }

    fn cut(&mut self, which: impl Fn(NodeIndex, NodeIndex) -> bool) {
        let gone: Vec<_> = self
            .connections
            .iter()
            .copied()
            .filter(|(a, b)| which(*a, *b))
            .collect();
        for (a, b) in gone {
            self.disconnect(a, b);
        }
    }

    fn disconnect(&mut self, a: NodeIndex, b: NodeIndex) {
        if self.connections.remove(&pair(a, b)) {
            for (at, peer) in [(a, b), (b, a)] {
                let peer = self.nodes[peer].key.id();
                self.schedule(
                    Duration::ZERO,
                    Event::Input(at, Box::new(Input::Disconnected { peer })),
                );
            }
        }
    }

    /// Gives a command. Its outcome is in [`SimNode::done`] once it has come to its end.
    pub fn command(&mut self, index: NodeIndex, command: Command) -> Ticket {
        self.counter += 1;
        let ticket = Ticket(self.counter);
        self.input(
            index,
            Input::Command {
                command: Box::new(command),
                ticket,
            },
        );
        ticket
    }

    /// Gives a command and runs the world until it has come to its end.
    ///
    /// # Panics
    /// If it takes longer than ten minutes of virtual time.
    pub fn run_command(
        &mut self,
        index: NodeIndex,
        command: Command,
    ) -> Result<Reply, CommandError> {
        let ticket = self.command(index, command);
        let done = self.run_until(Duration::from_secs(600), |world| {
            world.nodes[index].done.contains_key(&ticket)
        });
        assert!(done, "the command did not come to its end");
        self.nodes[index]
            .done
            .remove(&ticket)
            .unwrap_or(Ok(Reply::Unchanged))
    }

    /// Runs for a span of virtual time.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Runs until something holds, or a span is over. Says whether it held.
    pub fn run_until(&mut self, span: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if holds(self) {
                return true;
            }
            match self.queue.first_key_value() {
                Some(((at, _), _)) if *at <= end => {}
                _ => {
                    self.now = end;
                    return holds(self);
                }
            }
            if let Some(((at, _), event)) = self.queue.pop_first() {
                self.now = at;
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(index, input) => self.input(index, *input),
            Event::Timer(index, number) => {
                if self.nodes[index].timer == number {
                    self.input(index, Input::Tick);
                }
            }
            Event::Establish(from, to) => self.establish(from, to),
            Event::Request {
                from,
                to,
                id,
                message,
            } => self.deliver(from, to, id, message),
            Event::Handshakes(index, network) => self.handshakes(index, network),
        }
    }

    /// Feeds one input and carries the effects out.
    pub fn input(&mut self, index: NodeIndex, input: Input) {
        if let Some(heard) = &mut self.nodes[index].heard {
            heard.push(input);
            return;
        }
        let Some(core) = self.nodes[index].core.as_mut() else {
            return;
        };
        core.handle(self.now, &mut self.rng, input);
        let mut effects = Vec::new();
        while let Some(effect) = core.pop_effect() {
            effects.push(effect);
        }
        let timer = core.next_timer();
        let busiest = &mut self.nodes[index].busiest;
        *busiest = effects.len().max(*busiest);
        for effect in effects {
            self.note(index, &effect);
            self.carry_out(index, effect);
        }
        self.nodes[index].timer += 1;
        if let Some(at) = timer {
            let number = self.nodes[index].timer;
            self.schedule(at - self.now, Event::Timer(index, number));
        }
    }

    /// From here on, hashes every effect, which makes a run slower.
    pub fn trace(&mut self) {
        self.trace = Some(blake3::Hasher::new());
    }

    /// A digest of every effect since [`trace`](Self::trace): which node wanted what, when, and in which
    /// order. `None` if nothing was traced.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.trace
            .as_ref()
            .map(|trace| *trace.finalize().as_bytes())
    }

    fn note(&mut self, index: NodeIndex, effect: &Effect) {
        let Some(trace) = &mut self.trace else { return };
        let what = match effect {
            Effect::Request { id, peer, message } => {
                trace.update(message);
                format!("{index} {:?} request {id:?} {peer}", self.now)
            }
            Effect::Respond { to, message } => {
                trace.update(message);
                format!("{index} {:?} respond {to:?}", self.now)
            }
            other => format!("{index} {:?} {other:?}", self.now),
        };
        trace.update(what.as_bytes());
    }

    fn carry_out(&mut self, index: NodeIndex, effect: Effect) {
        match effect {
            Effect::Connect { peer, addrs } => self.dial(index, peer, &addrs),
            // There is room for everybody here.
            Effect::Know(_) => {}
            Effect::Disconnect { peer, .. } => {
                if let Some(other) = self.other_end(index, &peer) {
                    self.disconnect(index, other);
                }
            }
            Effect::Request { id, peer, message } => self.send(index, peer, id, message),
            Effect::Respond { to, message } => self.respond(to, message),
            Effect::Store {
                network, change, ..
            } => self.nodes[index].store(network, change),
            Effect::Configure {
                network, tunnel, ..
            } => {
                if let Some(tunnel) = &tunnel {
                    let key = tunnel.private_key.public();
                    self.by_key.insert((network, key), index);
                    if self.nodes[index].measuring.insert(network) {
                        let soon = Duration::from_millis(500);
                        self.schedule(soon, Event::Handshakes(index, network));
                    }
                }
                let tunnel = tunnel.map(|tunnel| *tunnel);
                self.nodes[index].configure(network, tunnel);
            }
            Effect::WriteTime(time) => self.nodes[index].written = time,
            Effect::Judge {
                network,
                judge,
                records,
            } => {
                let answer = self.nodes[index].judge(&judge, &records);
                let judged = Input::Judged {
                    network,
                    judge,
                    answer,
                };
                let soon = Duration::from_millis(5);
                self.schedule(soon, Event::Input(index, Box::new(judged)));
            }
            Effect::Done { ticket, outcome } => {
                self.nodes[index].done.insert(ticket, outcome);
            }
            Effect::Notice(notice) => self.nodes[index].notices.push(notice),
        }
    }

    fn dial(&mut self, from: NodeIndex, peer: NodeId, addrs: &[SocketAddr]) {
        let target = addrs
            .iter()
            .find_map(|addr| self.by_address.get(addr))
            .copied();
        let reachable = target.filter(|to| {
            self.nodes[*to].is_up()
                && self.nodes[*to].key.id() == peer
                && self.nodes[*to].side == self.nodes[from].side
        });
        match reachable {
            Some(to) if !self.unlucky(self.faults.loss) => {
                let delay = self.delay() + self.delay();
                self.schedule(delay, Event::Establish(from, to));
            }
            _ => {
                let failed = Box::new(Input::ConnectFailed { peer });
                self.schedule(TIMEOUT, Event::Input(from, failed));
            }
        }
    }

    fn establish(&mut self, from: NodeIndex, to: NodeIndex) {
        let (a, b) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (a.key.id(), b.key.id());
        let (from_addr, to_addr) = (a.quic(), b.quic());
        if !a.is_up() || !b.is_up() || a.side != b.side {
            self.input(from, Input::ConnectFailed { peer: to_id });
            return;
        }
        self.replace(from, to);
        self.replace(to, from);
        let new = self.connections.insert(pair(from, to));
        if new {
            let remote = from_addr;
            self.input(
                to,
                Input::Connected {
                    peer: from_id,
                    remote,
                    outgoing: false,
                },
            );
        }
        self.input(
            from,
            Input::Connected {
                peer: to_id,
                remote: to_addr,
                outgoing: true,
            },
        );
    }

    /// A connection of `old` to another machine with the key of `new` makes room for one to that.
    fn replace(&mut self, new: NodeIndex, old: NodeIndex) {
        let other = self.other_end(old, &self.nodes[new].key.id());
        if let Some(other) = other.filter(|other| *other != new) {
            self.connections.remove(&pair(old, other));
            let peer = self.nodes[old].key.id();
            self.schedule(
                Duration::ZERO,
                Event::Input(other, Box::new(Input::Disconnected { peer })),
            );
        }
    }

    /// The machine at the other end of a connection to this node.
    fn other_end(&self, from: NodeIndex, peer: &NodeId) -> Option<NodeIndex> {
        let machines = self.by_id.get(peer)?;
        let is_connected = |to: &&NodeIndex| self.connections.contains(&pair(from, **to));
        machines.iter().find(is_connected).copied()
    }

    /// A machine that a test plays connects to another one.
    pub fn connect(&mut self, from: NodeIndex, to: NodeIndex) {
        self.establish(from, to);
    }

    /// Whether two machines are connected.
    #[must_use]
    pub fn is_connected(&self, one: NodeIndex, other: NodeIndex) -> bool {
        self.connections.contains(&pair(one, other))
    }

    /// Ends the connection between two machines, if there is one.
    pub fn hang_up(&mut self, one: NodeIndex, other: NodeIndex) {
        self.disconnect(one, other);
    }

    /// A machine sends a request that its core, if it has one, knows nothing of.
    pub fn say(&mut self, from: NodeIndex, peer: NodeId, message: Vec<u8>) -> RequestId {
        self.counter += 1;
        // No core comes so far.
        let id = RequestId(u64::MAX - self.counter);
        self.send(from, peer, id, message);
        id
    }

    fn send(&mut self, from: NodeIndex, peer: NodeId, id: RequestId, message: Vec<u8>) {
        self.nodes[from].sent.0 += 1;
        self.nodes[from].sent.1 += message.len() as u64;
        let connected = self.other_end(from, &peer);
        let Some(to) = connected.filter(|_| !self.unlucky(self.faults.loss)) else {
            let none = Input::Response {
                request: id,
                message: None,
            };
            self.schedule(TIMEOUT, Event::Input(from, Box::new(none)));
            return;
        };
        let copies = 1 + usize::from(self.unlucky(self.faults.duplicate));
        for _ in 0..copies {
            let delay = self.delay();
            let message = message.clone();
            self.schedule(
                delay,
                Event::Request {
                    from,
                    to,
                    id,
                    message,
                },
            );
        }
        // Answered or not, the request ends; the core ignores what comes later.
        let none = Input::Response {
            request: id,
            message: None,
        };
        self.schedule(TIMEOUT, Event::Input(from, Box::new(none)));
    }

    fn deliver(&mut self, from: NodeIndex, to: NodeIndex, id: RequestId, message: Vec<u8>) {
        if !self.connections.contains(&pair(from, to)) {
            return;
        }
        self.counter += 1;
        let reply = ReplyTo(self.counter);
        self.replies.insert(reply, (to, from, id));
        let peer = self.nodes[from].key.id();
        self.input(
            to,
            Input::Request {
                peer,
                message,
                reply,
            },
        );
    }

    /// Answers a request that came to a machine.
    pub fn respond(&mut self, to: ReplyTo, message: Vec<u8>) {
        let Some((from, asker, id)) = self.replies.remove(&to) else {
            return;
        };
        self.nodes[from].sent.1 += message.len() as u64;
        if self.unlucky(self.faults.loss) {
            return;
        }
        let delay = self.delay();
        let input = Input::Response {
            request: id,
            message: Some(message),
        };
        self.schedule(delay, Event::Input(asker, Box::new(input)));
    }

    /// WireGuard: handshakes with those peers are complete that answer.
    fn handshakes(&mut self, index: NodeIndex, network: NetworkId) {
        self.nodes[index].measuring.remove(&network);
        let Some(own) = self.nodes[index].tunnels.get(&network) else {
            return;
        };
        let at = self.clock_of(index);
        let keys: Vec<WgPublicKey> = own.peers.keys().copied().collect();
        let mut peers = BTreeMap::new();
        for key in keys {
            let answers = self.answers(index, &network, &key);
            if answers {
                self.shake_hands(index, &network, &key);
            }
            let observation = PeerObservation {
                latest_handshake: answers.then_some(at),
                ..PeerObservation::default()
            };
            peers.insert(key, observation);
        }
        self.input(index, Input::Tunnel { network, peers });
    }

    /// The one that measures learns where the other is; the one that is greeted notes the date.
    fn shake_hands(&mut self, index: NodeIndex, network: &NetworkId, key: &WgPublicKey) {
        let located = self.nodes[index].located.entry(*network).or_default();
        located.insert(*key);
        let Some(other) = self.fits(index, network, key) else {
            return;
        };
        let (from, to) = match self.greets(index, other, network) {
            true => (index, other),
            false => (other, index),
        };
        let at = self.clock_of(from);
        if let Some(own) = self.nodes[from].keys.get(network).copied() {
            self.nodes[to].dated.insert((*network, own), at);
        }
    }

    /// Whether the peer of an interface that has this key answers it: each has the other as a peer, with the same
    /// pre-shared key, on the same side, and one of them can begin a handshake.
    #[must_use]
    pub fn answers(&self, index: NodeIndex, network: &NetworkId, key: &WgPublicKey) -> bool {
        self.fits(index, network, key).is_some_and(|other| {
            self.greets(index, other, network) || self.greets(other, index, network)
        })
    }

    /// Whether a handshake with the peer that has this key can be begun here.
    #[must_use]
    pub fn reaches(&self, index: NodeIndex, network: &NetworkId, key: &WgPublicKey) -> bool {
        let other = self.fits(index, network, key);
        other.is_some_and(|other| self.greets(index, other, network))
    }

    /// The peer of an interface that has this key, if each has the other as a peer and is not cut off from it.
    fn fits(&self, index: NodeIndex, network: &NetworkId, key: &WgPublicKey) -> Option<NodeIndex> {
        let at = *self.by_key.get(&(*network, *key))?;
        let (own, other) = (&self.nodes[index], &self.nodes[at]);
        let to = own.tunnels.get(network)?.peers.get(key)?;
        let back = other
            .tunnels
            .get(network)?
            .peers
            .get(own.keys.get(network)?)?;
        let is_current = other.keys.get(network) == Some(key);
        let fits = back.preshared_key == to.preshared_key && own.side == other.side;
        (is_current && fits).then_some(at)
    }

    /// Whether one can begin a handshake with the other: it knows where that is, and its clock shows no earlier time than
    /// at the last one.
    fn greets(&self, from: NodeIndex, to: NodeIndex, network: &NetworkId) -> bool {
        let (one, other) = (&self.nodes[from], &self.nodes[to]);
        let keys = one.keys.get(network).zip(other.keys.get(network));
        keys.is_some_and(|(own, key)| {
            let located = one.located.get(network);
            let last = other.dated.get(&(*network, *own)).copied();
            located.is_some_and(|located| located.contains(key))
                && self.clock_of(from) >= last.unwrap_or_default()
        })
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.counter += 1;
        self.queue.insert((self.now + after, self.counter), event);
    }

    fn unlucky(&mut self, chance: u32) -> bool {
        self.rng.next_u32() % 1000 < chance
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = self.faults.delay;
        let span = u64::try_from((most - least).as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        least + Duration::from_micros(self.rng.next_u64() % span)
    }
}

fn pair(a: NodeIndex, b: NodeIndex) -> (NodeIndex, NodeIndex) {
    (a.min(b), a.max(b))
}
