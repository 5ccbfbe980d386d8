//! Five honest nodes under attack: what must not change about them, and what it may cost them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use grid_keys::NodeId;
use grid_promises::network::NetworkId;
use grid_promises::network::code::Code;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use tokio::runtime::Builder;

use super::honest::{Honest, Pings, Seen};
use super::target::Victim;
use crate::lab::Lab;
use crate::mesh::node_name;
use crate::node::Node;
use crate::output::say;
use crate::scenarios::seen;
use crate::server;
use crate::tap::QUIC_PORT;
use crate::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the log of an honest node holds besides: connections that end.
const LOG: &str = "log = \"info,grid::server=debug\"\n";

/// What an attack may cost an honest node: docs/trust.md names these bounds.
///
/// Of one processor this part of the time that the attack lasts, besides a second.
const BUSY: f64 = 0.5;
/// By how much its memory may grow, at the most that it ever had, in KiB.
const MEMORY: u64 = 30 << 10;
/// Lines of its log.
const LINES: usize = 100;

/// How much processor time an attack may cost an honest node that lasts so long.
pub(super) fn may_be_busy(lasted: Duration) -> Duration {
    Duration::from_secs(1) + lasted.mul_f64(BUSY)
}

/// Five honest nodes, of which everybody is connected to everybody.
pub(super) struct Five {
    pub(super) victims: Vec<Victim>,
}

impl Five {
    /// Each came by an invite of its own.
    pub(super) fn meet(lab: &Lab) -> Result<Self> {
        Self::meet_with(lab, |_| Ok(()))
    }

    /// As [`Five::meet`], with something done to each machine before its node is made.
    pub(super) fn meet_with(lab: &Lab, prepare: impl Fn(&Node) -> Result<()>) -> Result<Self> {
        Self::gather(lab, "invite", prepare, |founder, node| {
            let invite = founder.grid_ok(&["invite", "foo"], "")?;
            node.grid_ok(&["join-wireguard-net", "foo", "-"], &invite)?;
            Ok(())
        })
    }

    /// The founder accepted the code of each.
    pub(super) fn accepted(lab: &Lab) -> Result<Self> {
        Self::gather(
            lab,
            "approve",
            |_| Ok(()),
            |founder, node| {
                node.grid_ok(&["generate-keys"], "")?;
                accept(founder, seen::identity_of(node)?.parse()?)?;
                exchange(node, founder)?;
                node.grid_ok(&["join-wireguard-net", "foo", "--wait", "30s"], "")?;
                Ok(())
            },
        )
    }

    fn gather(
        lab: &Lab,
        admission: &str,
        prepare: impl Fn(&Node) -> Result<()>,
        join: impl Fn(&Node, &Node) -> Result<()>,
    ) -> Result<Self> {
        let mut nodes = Vec::new();
        for number in 0..5 {
            let node = lab.add_node(&node_name(number))?;
            prepare(&node)?;
            let mut config = fs::OpenOptions::new();
            let path = node.home().join("config");
            let mut config = config.write(true).create_new(true).mode(0o600).open(path)?;
            config.write_all(LOG.as_bytes())?;
            nodes.push(node);
        }
        let (founder, others) = nodes.split_first().context("no nodes")?;
        founder
            .namespaces()
            .in_net(crate::requirements::wireguard)??;
        let found = ["create-wireguard-net", "foo", "--ipv4", "10.66.0.0/28"];
        founder.grid_ok(&[&found[..], &["--admission", admission]].concat(), "")?;
        for node in others {
            join(founder, node)?;
        }
        let victims: Result<_> = nodes.iter().map(Victim::of).collect();
        let five = Self { victims: victims? };
        five.connected()?;
        for from in &five.victims {
            for to in &five.victims {
                seen::reaches(&from.node, to.ipv4.into(), PATIENCE)?;
                seen::reaches(&from.node, to.ipv6.into(), PATIENCE)?;
            }
        }
        Ok(five)
    }

    pub(super) fn founder(&self) -> Result<&Victim> {
        self.victims.first().context("no founder")
    }

    /// An invite of the founder for many.
    pub(super) fn invite(&self) -> Result<Invite> {
        let founder = &self.founder()?.node;
        let text = founder.grid_ok(&["invite", "foo", "--uses", "100"], "")?;
        Ok(Invite::from_text(text.trim())?)
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let nodes = self.victims.iter();
        nodes.map(|victim| Arc::clone(&victim.node)).collect()
    }

    /// Runs an attack on a machine, and checks that nothing between the five has changed, and what it cost them.
    pub(super) fn endure<F>(&self, attacker: &Node, attack: impl FnOnce() -> F + Send) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let honest = Honest::new(&self.nodes())?;
        let before = Before::look(self, &honest)?;
        let pings = Pings::start(&honest)?;
        let started = Instant::now();
        on_machine(attacker, attack)?;
        let lasted = started.elapsed();
        self.cost(&before, lasted)?;
        pings.stop()?;
        same(&before.seen, &honest.look()?)?;
        honest.others_have_only_their_own()?;
        for (victim, before) in self.victims.iter().zip(&before.nodes) {
            before.promises_the_same(victim)?;
            before.lost_nobody(victim, &self.victims)?;
        }
        Ok(())
    }

    fn cost(&self, before: &Before, lasted: Duration) -> Result<()> {
        let allowed = may_be_busy(lasted);
        for (victim, before) in self.victims.iter().zip(&before.nodes) {
            let node = &victim.node;
            let busy = server::processor_time(node)?.saturating_sub(before.busy);
            let peak = server::memory(node)?.peak_kib.saturating_sub(before.peak);
            let lines = said(&before.new_lines(node)?).count();
            say(&format!(
                "{}: {busy:.1?} of the processor in {lasted:.1?}, {peak} KiB more, {lines} lines",
                node.name()
            ));
            ensure!(busy <= allowed, "{}: more than {allowed:?}", node.name());
            ensure!(peak <= MEMORY, "{}: more than {MEMORY} KiB", node.name());
            ensure!(
                lines <= LINES,
                "{}: more than {LINES} lines\n{}",
                node.name(),
                node.server_log_tail(20)
            );
        }
        Ok(())
    }

    /// Waits until each of the five is connected to every other.
    pub(super) fn connected(&self) -> Result<()> {
        for victim in &self.victims {
            let what = format!("{} to be connected to all others", victim.node.name());
            wait_until(&what, PATIENCE, || {
                let status = seen::status(&victim.node, "foo")?;
                let peers = status["networks"][0]["peers"].as_array();
                let peers = peers.context("no peers")?.iter();
                let mut left: Vec<String> = self
                    .victims
                    .iter()
                    .map(|other| other.id.to_string())
                    .filter(|id| *id != victim.id.to_string())
                    .collect();
                for peer in peers.filter(|peer| peer["kept"]["connected"] == true) {
                    left.retain(|id| peer["node"] != id.as_str());
                }
                ensure!(left.is_empty(), "not to {left:?}");
                Ok(true)
            })?;
        }
        Ok(())
    }
}

/// An owner accepts the code of a node that has not asked yet.
pub(super) fn accept(owner: &Node, node: NodeId) -> Result<()> {
    let network = NetworkId(seen::network(owner, "foo")?.id.parse()?);
    let code = Code::of(&network, &node).to_string();
    owner.grid_ok(&["accept", "foo", &code], "").map(drop)
}

/// Makes two nodes peers.
pub(super) fn exchange(from: &Node, to: &Node) -> Result<()> {
    let place = format!("{}:{QUIC_PORT}", to.ipv4()?);
    from.grid_ok(&["exchange-keys", &place], "")?;
    Ok(())
}

/// Runs an attack on the network of a machine.
pub(super) fn on_machine<T, F>(attacker: &Node, attack: impl FnOnce() -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T>>,
{
    attacker.namespaces().in_net(|| -> Result<T> {
        // On this thread only: others would be in another network namespace.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(attack())
    })?
}

/// The five before an attack.
struct Before {
    seen: Seen,
    nodes: Vec<State>,
}

/// One of them.
struct State {
    busy: Duration,
    peak: u64,
    /// How long its log is.
    log: usize,
    promise: Signed<MemberPromise>,
}

impl Before {
    fn look(five: &Five, honest: &Honest) -> Result<Self> {
        five.connected()?;
        let seen = honest.settled(PATIENCE)?;
        let nodes = five.victims.iter().map(|victim| -> Result<State> {
            let node = &victim.node;
            Ok(State {
                busy: server::processor_time(node)?,
                peak: server::memory(node)?.peak_kib,
                log: node.server_log()?.len(),
                promise: promise(node)?,
            })
        });
        Ok(Self {
            seen,
            nodes: nodes.collect::<Result<_>>()?,
        })
    }
}

impl State {
    fn new_lines(&self, node: &Node) -> Result<String> {
        let log = node.server_log()?;
        Ok(log.get(self.log..).unwrap_or_default().to_owned())
    }

    /// It signed nothing else. A node may renew its receipts meanwhile.
    fn promises_the_same(&self, victim: &Victim) -> Result<()> {
        let now = promise(&victim.node)?;
        let was = &self.promise;
        ensure!(
            now.quic == was.quic && now.wireguard == was.wireguard && now.ipv4 == was.ipv4,
            "{} promised {was:#?}\nand now {now:#?}",
            victim.node.name()
        );
        ensure!(
            now.sequence <= was.sequence + 1,
            "{} signed {} promises",
            victim.node.name(),
            now.sequence - was.sequence
        );
        Ok(())
    }

    /// No connection between two of the five ended, but for those that a node dialled and needs no more: which it needs
    /// depends on who the members are.
    fn lost_nobody(&self, victim: &Victim, all: &[Victim]) -> Result<()> {
        for line in self.new_lines(&victim.node)?.lines() {
            let is_about = |other: &Victim| line.contains(&other.id.short());
            let is_lost = line.contains("was disconnected") && !line.contains(": done");
            if is_lost && all.iter().any(is_about) {
                bail!("{} lost a member: {line}", victim.node.name());
            }
        }
        Ok(())
    }
}

/// Says which lines changed, if any did.
fn same(before: &Seen, after: &Seen) -> Result<()> {
    let without = |these: &Seen, those: &Seen| -> Vec<String> {
        let is_in = |node, line| those.get(node).is_some_and(|lines| lines.contains(line));
        let lines = these
            .iter()
            .flat_map(|(node, lines)| lines.iter().map(move |line| (node, line)));
        let other = lines.filter(|(node, line)| !is_in(*node, *line));
        other
            .map(|(node, line)| format!("{node}: {line}"))
            .collect()
    };
    let (gone, new) = (without(before, after), without(after, before));
    ensure!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}\nnew: {new:#?}"
    );
    Ok(())
}

/// The lines that a log has unless somebody asks for more.
fn said(log: &str) -> impl Iterator<Item = &str> {
    let levels = [" INFO ", " WARN ", " ERROR "];
    log.lines()
        .filter(move |line| levels.iter().any(|level| line.contains(level)))
}

/// What a node promises now.
fn promise(node: &Node) -> Result<Signed<MemberPromise>> {
    let bytes = fs::read(node.home().join("nets/foo/promise"))?;
    Ok(Signed::decode(&bytes)?)
}
