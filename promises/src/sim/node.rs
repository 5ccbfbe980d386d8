//! One simulated machine: a core, a disk that survives restarts, and a tunnel as configured.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::content_id::ContentId;
use crate::core::{
    Change, CommandError, Config, Core, HostFacts, Input, NetworkRecord, Notice, Reply, Ticket,
    Tunnel, WrittenTime,
};
use crate::network::ids::NetworkId;
use crate::network::judgement::{self, Opinion};
use crate::network::name::Label;
use crate::network::records::Records;
use crate::time::Timestamp;
use grid_keys::NodeKey;
use grid_keys::WgPublicKey;

/// What survives a restart.
pub type Disk = BTreeMap<NetworkId, NetworkRecord>;

/// The QUIC port of every simulated node.
pub(crate) const QUIC_PORT: u16 = 51821;

/// One simulated machine.
pub struct SimNode {
    /// The node; `None` while the machine is down, or if a test plays it.
    pub core: Option<Core>,
    /// What came to a machine that a test plays, until the test takes it out.
    pub heard: Option<Vec<Input>>,
    /// Its key, which is on disk.
    pub key: NodeKey,
    /// Its networks on disk.
    pub disk: Disk,
    /// The interfaces as last configured, by network.
    pub tunnels: BTreeMap<NetworkId, Tunnel>,
    /// How often each interface was configured.
    pub configured: BTreeMap<NetworkId, u64>,
    /// What was decided about promises, by network: the entries of a history, one after the other.
    pub histories: BTreeMap<NetworkId, Vec<u8>>,
    /// Answers for judges, by the content id of their code. One that is not here fails.
    pub judges: BTreeMap<ContentId, fn(&Records) -> Vec<Opinion>>,
    /// Commands that came to their end.
    pub done: BTreeMap<Ticket, Result<Reply, CommandError>>,
    /// What the log says.
    pub notices: Vec<Notice>,
    /// Messages and bytes sent.
    pub sent: (u64, u64),
    /// By how many seconds its clock is ahead of the right time.
    pub clock_error: i64,
    /// What it wrote down last of the time.
    pub written: WrittenTime,
    /// How often it stored a promise of its own.
    pub promised: u64,
    /// The most effects that one input had.
    pub busiest: usize,
    /// The side of a partition that the machine is on.
    pub side: u8,
    /// The peers of each interface of which it knows an endpoint: told, or learned.
    pub(crate) located: BTreeMap<NetworkId, BTreeSet<WgPublicKey>>,
    /// The public key of each interface.
    pub(crate) keys: BTreeMap<NetworkId, WgPublicKey>,
    /// The latest date of a handshake that it took from each key.
    pub(crate) dated: BTreeMap<(NetworkId, WgPublicKey), Timestamp>,
    /// Interfaces whose handshakes are about to be measured.
    pub(crate) measuring: BTreeSet<NetworkId>,
    pub(crate) address: Ipv4Addr,
    pub(crate) timer: u64,
}

impl SimNode {
    pub(crate) fn new(key: NodeKey, number: u32) -> Self {
        Self {
            core: None,
            heard: None,
            key,
            disk: Disk::new(),
            tunnels: BTreeMap::new(),
            configured: BTreeMap::new(),
            histories: BTreeMap::new(),
            judges: BTreeMap::new(),
            done: BTreeMap::new(),
            notices: Vec::new(),
            sent: (0, 0),
            clock_error: 0,
            written: WrittenTime::default(),
            promised: 0,
            busiest: 0,
            side: 0,
            located: BTreeMap::new(),
            keys: BTreeMap::new(),
            dated: BTreeMap::new(),
            measuring: BTreeSet::new(),
            // 198.18.0.0/15 is for benchmarks (RFC 2544).
            address: Ipv4Addr::from(0xc612_0000 + 1 + number),
            timer: 0,
        }
    }

    /// Makes an interface as it should be, or takes it down. What it learned goes with it, and with each peer.
    pub(crate) fn configure(&mut self, network: NetworkId, tunnel: Option<Tunnel>) {
        *self.configured.entry(network).or_default() += 1;
        let Some(tunnel) = tunnel else {
            self.tunnels.remove(&network);
            self.located.remove(&network);
            self.dated.retain(|(from, _), _| *from != network);
            return;
        };
        self.keys.insert(network, tunnel.private_key.public());
        let located = self.located.entry(network).or_default();
        located.retain(|key| tunnel.peers.contains_key(key));
        let is_peer = |key: &WgPublicKey| tunnel.peers.contains_key(key);
        self.dated
            .retain(|(from, key), _| *from != network || is_peer(key));
        let told = tunnel
            .peers
            .iter()
            .filter(|(_, peer)| peer.endpoint.is_some());
        located.extend(told.map(|(key, _)| *key));
        self.tunnels.insert(network, tunnel);
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.core.is_some() || self.heard.is_some()
    }

    /// Where its QUIC listens.
    #[must_use]
    pub fn quic(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), QUIC_PORT)
    }

    pub(crate) fn fresh_core(&self, number: usize) -> Core {
        let label = Label::from_host_name(&format!("node-{number}"));
        Core::new(Config {
            key: self.key.clone(),
            label,
        })
    }

    pub(crate) fn host(&self) -> HostFacts {
        HostFacts {
            addresses: [IpAddr::V4(self.address)].into(),
            connected: BTreeSet::new(),
            fixed_quic: Vec::new(),
            quic: self.quic(),
        }
    }

    /// What a judge answers.
    pub(crate) fn judge(&self, judge: &ContentId, records: &[u8]) -> Result<Vec<u8>, String> {
        let judge = self.judges.get(judge).ok_or("it is not here")?;
        let records = Records::decode(records).map_err(|error| error.to_string())?;
        Ok(judgement::encode(&judge(&records)))
    }

    /// Makes a change durable.
    pub(crate) fn store(&mut self, network: NetworkId, change: Change) {
        self.promised += u64::from(matches!(change, Change::Promise(_)));
        if let Change::Network(record) = change {
            self.disk.insert(network, *record);
            return;
        }
        let Some(record) = self.disk.get_mut(&network) else {
            return;
        };
        match change {
            Change::PrivateKey(key) => record.private_key = Some(key),
            Change::Promise(bytes) => record.promise = Some(bytes),
            Change::Admission(links) => record.admission = Some(links),
            Change::Statements(statements) => record.statements = statements,
            Change::Rules { rules, judge } => (record.rules, record.judge) = (rules, judge),
            Change::Expected(codes) => record.expected = codes,
            Change::Awaited(acts) => record.awaited = acts,
            Change::Issued(invites) => record.issued = invites,
            Change::History(entry) => {
                let history = self.histories.entry(network).or_default();
                history.extend(entry.bytes);
            }
            Change::Left(bootstrap) => {
                record.private_key = None;
                record.statements.clear();
                record.rules.clear();
                record.expected.clear();
                record.issued.clear();
                record.awaited.clear();
                record.bootstrap = bootstrap;
            }
            Change::Removed => {
                self.disk.remove(&network);
            }
            Change::Network(_) => {}
        }
    }
}
