//! One run: the honest machines, what the adversary has in hand, and how time passes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::core::protocol::by_hand;
use grid_promises::core::{Input, RequestId};
use grid_promises::message::Message;
use grid_promises::network::act::{ActId, OfficeId};
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};
use grid_promises::{Millis, Timestamp};

use super::common::{DAY, HOUR, Net, Node};
use super::dice::Dice;
use super::invariants::Watch;
use super::stage::{FOUNDER, HONEST, MEMBER, OWNER, REVOKED, Sim, Stage, ip, key};
use super::temper::Temper;
use super::truth::{Truth, Way};

/// How long the adversary lets a request lie at most. Honest nodes wait for three seconds.
const SLICE: Duration = Duration::from_millis(400);

pub struct Play {
    pub stage: &'static Stage,
    pub net: Net,
    pub world: Sim,
    pub dice: Dice,
    pub truth: Truth,
    pub watch: Watch,
    /// The machine that shows each key of the adversary's.
    machines: BTreeMap<u16, NodeIndex>,
    /// What each node of the adversary's promises, as it was said last.
    pub nodes: BTreeMap<u16, Node>,
    /// The last act of the stolen office: its number and id.
    pub tip: (u32, ActId),
    /// Invite keys that were used so far.
    pub invites: u16,
    /// Messages that came to the adversary.
    pub loot: Vec<Vec<u8>>,
    /// A machine that runs with a copied key, and of which honest machine, if it is of one.
    pub copy: Option<(NodeIndex, Option<NodeIndex>)>,
    asked: BTreeMap<RequestId, (u16, NodeId)>,
    temper: Temper,
}

impl Play {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rule = if dice.one_in(4) {
            AdmissionRule::Approve
        } else {
            AdmissionRule::Invite
        };
        let faults = if dice.one_in(3) {
            Faults::BAD
        } else {
            Faults::NONE
        };
        let stage = Stage::of(rule);
        let mut truth = Truth::default();
        for n in [MEMBER, OWNER] {
            truth.let_in(key(n).id(), Way::Founder);
        }
        truth.note();
        truth.revoked.insert(key(REVOKED).id());
        let cast = [MEMBER, REVOKED, OWNER];
        let mut play = Self {
            world: stage.world(seed, faults),
            net: stage.net.clone(),
            watch: Watch::new(stage),
            machines: cast.iter().map(|n| (*n, usize::from(*n))).collect(),
            nodes: cast.iter().map(|n| (*n, stage.member(*n))).collect(),
            tip: (0, stage.office.0),
            invites: 2000,
            loot: Vec::new(),
            copy: None,
            asked: BTreeMap::new(),
            temper: Temper::of(&mut dice),
            stage,
            dice,
            truth,
        };
        play.wait(Duration::from_secs(1));
        play
    }

    pub fn id(&self) -> NetworkId {
        self.net.id()
    }

    pub const fn office(&self) -> OfficeId {
        self.stage.office
    }

    /// One of the honest machines that run.
    pub fn honest(&mut self) -> NodeIndex {
        self.dice.index(HONEST.len())
    }

    /// The machine that shows this key.
    pub fn machine(&mut self, n: u16) -> NodeIndex {
        let world = &mut self.world;
        *self
            .machines
            .entry(n)
            .or_insert_with(|| world.add_played(key(n)))
    }

    /// The nodes of the adversary's that may be members.
    pub fn insiders(&self) -> Vec<u16> {
        let all = self.nodes.keys().copied();
        all.filter(|n| self.truth.may_be_in(&key(*n).id()))
            .collect()
    }

    /// One of them; there is always the owner, until it is dismissed.
    pub fn insider(&mut self) -> u16 {
        let insiders = self.insiders();
        if insiders.is_empty() {
            return MEMBER;
        }
        self.dice.pick(&insiders)
    }

    /// One of the adversary's keys connects to a machine and asks for something.
    pub fn say(&mut self, n: u16, to: NodeIndex, message: Vec<u8>) {
        self.truth.note();
        let machine = self.machine(n);
        if self.world.nodes[machine].side != self.world.nodes[to].side {
            return;
        }
        if !self.world.is_connected(machine, to) {
            self.world.connect(machine, to);
        }
        let peer = self.world.nodes[to].key.id();
        let id = self.world.say(machine, peer, message);
        self.asked.insert(id, (n, peer));
    }

    /// One of the adversary's keys sends statements.
    pub fn push(&mut self, n: u16, to: NodeIndex, statements: &[Vec<u8>]) {
        let message = by_hand::push(self.id(), statements);
        self.say(n, to, message);
    }

    /// Some of the adversary's members send statements to some honest nodes.
    pub fn spread(&mut self, statements: &[Vec<u8>]) {
        for to in HONEST {
            if to == FOUNDER || self.dice.one_in(2) {
                let by = self.insider();
                self.push(by, to, statements);
            }
        }
    }

    /// Lets time pass. The adversary answers meanwhile.
    pub fn wait(&mut self, span: Duration) {
        let end = self.world.now + span;
        while self.world.now < end {
            let slice = SLICE.min(end - self.world.now);
            self.world.run(slice);
            self.watch.count(&self.world);
            self.answer();
        }
    }

    /// Answers what came, each in its way.
    fn answer(&mut self) {
        let machines: Vec<(u16, NodeIndex)> =
            self.machines.iter().map(|(n, at)| (*n, *at)).collect();
        for (n, at) in machines {
            let heard = self.world.nodes[at].heard.as_mut();
            for input in heard.map(std::mem::take).unwrap_or_default() {
                self.hear(n, input);
            }
        }
    }

    fn hear(&mut self, n: u16, input: Input) {
        match input {
            Input::Request {
                peer,
                message,
                reply,
            } => {
                let kind = Message::decode(&message, &Message::BOUNDS).ok();
                let kind = kind.and_then(|message| message.args.first().cloned());
                let answer = self.lie(n, peer, &kind.unwrap_or_default());
                self.keep(n, peer, message);
                if let Some(answer) = answer {
                    self.world.respond(reply, answer);
                }
            }
            Input::Response {
                request,
                message: Some(message),
            } => {
                if let Some((_, peer)) = self.asked.remove(&request) {
                    self.keep(n, peer, message);
                }
            }
            _ => {}
        }
    }

    fn lie(&mut self, n: u16, peer: NodeId, kind: &[u8]) -> Option<Vec<u8>> {
        let temper = self.temper;
        temper.answer(self, n, peer, kind)
    }

    fn keep(&mut self, n: u16, peer: NodeId, message: Vec<u8>) {
        self.watch
            .told(&key(n).id(), &peer, &message, &self.truth, self.world.now);
        if self.loot.len() < 64 {
            self.loot.push(message);
        } else {
            let place = self.dice.index(64);
            self.loot[place] = message;
        }
    }

    /// Looks at all that has to hold.
    pub fn check(&mut self) -> Result<(), String> {
        self.truth.note();
        let copied = self.copy.and_then(|(_, of)| of);
        self.watch.look(&self.world, &self.truth, copied)
    }

    pub fn now(&self) -> Millis {
        self.world.now
    }

    /// Where a key of the adversary's says that it sees others: elsewhere for each, and in another network for those who never were members.
    pub fn lie_of(&self, n: u16) -> SocketAddr {
        let host = u8::try_from(n % 250).unwrap();
        let is_in = self.truth.was_in(&key(n).id());
        let net = if is_in { [198, 51, 100] } else { [203, 0, 113] };
        ([net[0], net[1], net[2], host], 4000).into()
    }

    /// What a key of the adversary's says that its clock shows: right, years away, or in between.
    pub fn lie_of_time(&self, n: u16) -> Timestamp {
        let right = self.world.now.timestamp();
        match n % 4 {
            0 => right,
            1 => right.after(DAY * 365),
            2 => right.before(DAY * 365),
            _ => right.after(HOUR),
        }
    }

    /// Where an honest machine is.
    pub fn address(&self, node: NodeIndex) -> SocketAddr {
        (ip(&self.world, node), 51820).into()
    }
}
