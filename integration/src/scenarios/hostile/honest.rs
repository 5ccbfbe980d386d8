//! The honest nodes: their configuration for one another, and whether they still reach one another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;

use crate::node::Node;
use crate::ping::Pinger;
use crate::scenarios::seen;
use crate::wireguard;

/// The nodes that follow the rules.
pub(super) struct Honest {
    nodes: Vec<Arc<Node>>,
    /// Their WireGuard keys, in base64.
    keys: BTreeSet<String>,
    addresses: Vec<Vec<IpAddr>>,
}

/// A node's name, and its configuration for every other honest node, its interface and its routes.
pub(super) type Seen = BTreeMap<String, Vec<String>>;

impl Honest {
    pub(super) fn new(nodes: &[Arc<Node>]) -> Result<Self> {
        let mut keys = BTreeSet::new();
        let mut addresses = Vec::new();
        for node in nodes {
            let own = seen::identity(node, "foo")?;
            keys.insert(own.public_key.clone());
            addresses.push(seen::ips_of(&own)?);
        }
        ensure!(keys.len() == nodes.len(), "not one key for each node");
        Ok(Self {
            nodes: nodes.to_vec(),
            keys,
            addresses,
        })
    }

    /// Their configuration now, without counters and times of handshakes.
    pub(super) fn look(&self) -> Result<Seen> {
        let mut seen = Seen::new();
        for node in &self.nodes {
            let interface = wireguard::read(node, "foo")?;
            let mut lines = vec![format!("port {:?}", interface.listen_port)];
            for peer in interface
                .peers
                .iter()
                .filter(|p| self.keys.contains(&p.public_key.to_string()))
            {
                let mut allowed = peer.allowed_ips.clone();
                allowed.sort();
                lines.push(format!(
                    "{} psk {} at {:?} for {allowed:?} every {:?}",
                    peer.public_key,
                    peer.has_preshared_key,
                    peer.endpoint,
                    peer.persistent_keepalive
                ));
            }
            ensure!(lines.len() == self.nodes.len(), "a peer is gone: {lines:?}");
            lines.extend(node.namespaces().in_net(network)??);
            lines.sort();
            seen.insert(node.name().to_owned(), lines);
        }
        Ok(seen)
    }

    /// The same, once it has not changed for two seconds: endpoints settle after the first
    /// handshakes.
    pub(super) fn settled(&self, patience: Duration) -> Result<Seen> {
        let until = Instant::now() + patience;
        let mut last = self.look()?;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            if Instant::now() > until {
                bail!("it does not settle: {last:#?}");
            }
            thread::sleep(Duration::from_millis(200));
            let now = self.look()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    /// Any other peer has only single addresses of the network, and none of an honest node.
    pub(super) fn others_have_only_their_own(&self) -> Result<()> {
        let taken: BTreeSet<IpAddr> = self.addresses.iter().flatten().copied().collect();
        let range: IpNet = "10.66.0.0/28".parse()?;
        for node in &self.nodes {
            let interface = wireguard::read(node, "foo")?;
            let others = interface
                .peers
                .iter()
                .filter(|p| !self.keys.contains(&p.public_key.to_string()));
            for prefix in others.flat_map(|peer| &peer.allowed_ips) {
                let address = prefix.addr();
                let single = prefix.prefix_len() == prefix.max_prefix_len();
                let inside = address.is_ipv6() || range.contains(&address);
                ensure!(
                    single && inside && !taken.contains(&address),
                    "{prefix} goes to another on {}",
                    node.name()
                );
            }
        }
        Ok(())
    }
}

/// The addresses and routes of the calling thread's network namespace.
fn network() -> Result<Vec<String>> {
    let mut all: Vec<String> = nix::ifaddrs::getifaddrs()?
        .filter_map(|one| {
            Some(format!(
                "{} {} {}",
                one.interface_name, one.address?, one.netmask?
            ))
        })
        .collect();
    for line in fs::read_to_string("/proc/thread-self/net/route")?.lines() {
        all.push(line.trim().to_owned());
    }
    Ok(all)
}

/// Continual echoes between all pairs of honest nodes.
pub(super) struct Pings {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Count>>>,
}

/// How many echoes are sent in each direction, however short an attack is.
const FEWEST: u32 = 10;

/// The results in one direction.
struct Count {
    way: String,
    sent: u32,
    lost: u32,
}

impl Pings {
    pub(super) fn start(honest: &Honest) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (number, from) in honest.nodes.iter().enumerate() {
            for (_, to) in honest
                .addresses
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != number)
            {
                // One family for each direction of a pair.
                let address = *to.get(number % to.len()).context("no address")?;
                let mut pinger = Pinger::on(from, address)?;
                let (stop, way) = (Arc::clone(&stop), format!("{} to {address}", from.name()));
                threads.push(thread::spawn(move || {
                    let mut count = Count {
                        way,
                        sent: 0,
                        lost: 0,
                    };
                    while count.sent < FEWEST || !stop.load(Ordering::Relaxed) {
                        count.sent += 1;
                        let answered = pinger.ping(address, Duration::from_secs(1));
                        count.lost += u32::from(!matches!(answered, Ok(Some(_))));
                        thread::sleep(Duration::from_millis(100));
                    }
                    Ok(count)
                }));
            }
        }
        Ok(Self { stop, threads })
    }

    /// Fails if more than one in ten was lost in some direction.
    pub(super) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let count = thread.join().ok().context("a ping panicked")??;
            ensure!(
                count.lost * 10 <= count.sent,
                "{}: {} of {} echoes got lost",
                count.way,
                count.lost,
                count.sent
            );
        }
        Ok(())
    }
}
