//! What a command would change on this machine (`--dry-run`): the core runs in memory, on a copy of
//! what is on disk and with nobody in reach, and what it wants of WireGuard is planned.
//! Nothing is written, sent or configured.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use grid_keys::NodeKey;
use grid_promises::Millis;
use grid_promises::core::{
    Command, CommandError, Config, Core, Effect, HostFacts, Input, Ticket, Tunnel,
};
use grid_promises::network::name::NetworkName;
use grid_wg::{Error, Observed, Table};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::command::Report;
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::host::{self, ports};
use crate::store::{InterfaceOptions, Loaded, Store};
use crate::tunnels::{desired, name_of};
use crate::values::moment;

/// How long a joiner is watched, in the rehearsal's own time.
pub const WATCHED: Duration = Duration::from_secs(60);
/// How many steps it may take: each input has few consequences.
const STEPS: usize = 10_000;

/// The core, and what it wants of WireGuard by now.
pub struct Rehearsal {
    core: Core,
    entropy: ChaCha20Rng,
    now: Millis,
    tunnels: BTreeMap<NetworkName, Option<Box<Tunnel>>>,
    interfaces: BTreeMap<NetworkName, InterfaceOptions>,
    ports: Vec<u16>,
    quic: u16,
    mark: u32,
    outcome: Option<Result<(), CommandError>>,
}

impl Rehearsal {
    /// The core as a server would begin.
    ///
    /// # Errors
    /// What is on disk, or this machine, cannot be read.
    pub fn begin(home: &Home) -> Outcome<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| {
            Failure::failed(format!("cannot get randomness from the system: {error}"))
        })?;
        let mut entropy = ChaCha20Rng::from_seed(seed);
        let store = Store::look(home);
        let config = store.config()?;
        let key = match store.node_key()? {
            Some(key) => key,
            None => NodeKey::generate(&mut entropy),
        };
        let label = config.label.clone().unwrap_or_else(host::label);
        let quic = config.listen.unwrap_or(grid_net::DEFAULT_LISTEN);
        let now = moment::since_epoch().as_millis();
        let mut rehearsal = Self {
            core: Core::new(Config { key, label }),
            entropy,
            now: Millis(u64::try_from(now).unwrap_or(u64::MAX)),
            tunnels: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            ports: Vec::new(),
            quic: quic.port(),
            mark: config.mark(),
            outcome: None,
        };
        rehearsal.input(Input::Start {
            shown: moment::now(),
            written: store.time(),
        });
        for loaded in store.networks()? {
            match loaded {
                Loaded::Broken { name, error } => {
                    output::say(&format!("{name} would not be started: {error}"));
                }
                Loaded::Whole(stored) => {
                    let record = stored.record;
                    if !record.is_left() {
                        rehearsal.ports.push(record.listen_port);
                        rehearsal
                            .interfaces
                            .insert(record.name().clone(), stored.interface);
                    }
                    rehearsal.input(Input::Restore(Box::new(record)));
                }
            }
        }
        let (addresses, connected) = host::facts(rehearsal.interfaces.iter())?;
        rehearsal.input(Input::Host(HostFacts {
            addresses,
            connected,
            fixed_quic: config.endpoints,
            quic,
        }));
        Ok(rehearsal)
    }

    /// What a server would configure when it starts.
    ///
    /// # Errors
    /// The plan cannot be made.
    pub fn start(self) -> Outcome<PlanReport> {
        if self.interfaces.is_empty() {
            output::say("this node is in no network: a server would configure nothing");
        }
        let settled = self.settled();
        let mut report = PlanReport::default();
        for (net, interface) in &settled.interfaces {
            report.add(settled.plan(net, interface, false)?);
        }
        Ok(report)
    }

    /// The networks on disk that this node is in.
    pub fn networks(&self) -> impl Iterator<Item = &NetworkName> {
        self.interfaces.keys()
    }

    /// Once the networks on disk have what they want.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.wait_until(|_| false);
        self
    }

    /// A port for one more network.
    ///
    /// # Errors
    /// None is free.
    pub fn port(&self, wished: Option<NonZeroU16>) -> Outcome<u16> {
        ports::choose(wished, &self.ports, self.quic)
    }

    /// What is wanted of WireGuard for a network by now.
    #[must_use]
    pub fn tunnel(&self, net: &NetworkName) -> Option<&Tunnel> {
        self.tunnels.get(net)?.as_deref()
    }

    /// Where the routes of a network on disk go.
    #[must_use]
    pub fn table(&self, net: &NetworkName) -> Table {
        let interface = self.interfaces.get(net);
        interface.map_or(Table::Auto, |interface| interface.routing.table)
    }

    /// Whether anything is wanted of WireGuard for a network.
    #[must_use]
    pub fn wants(&self, net: &NetworkName) -> bool {
        self.tunnel(net).is_some()
    }

    /// Has the core carry a command out.
    ///
    /// # Errors
    /// Why it was not.
    pub fn carry_out(&mut self, command: Command) -> Outcome {
        let command = Box::new(command);
        let ticket = Ticket(1);
        self.input(Input::Command { command, ticket });
        self.wait_until(|this| this.outcome.is_some());
        match self.outcome.take() {
            Some(outcome) => outcome.map_err(Failure::from),
            None => Err(Failure::failed("the command does not come to an end")),
        }
    }

    /// Lets time pass, in which nobody answers.
    fn wait_until(&mut self, is_over: impl Fn(&Self) -> bool) {
        let until = self.now + WATCHED + Duration::from_secs(1);
        for _ in 0..STEPS {
            match self.core.next_timer() {
                Some(timer) if timer <= until && !is_over(self) => {
                    self.now = self.now.max(timer);
                    self.input(Input::Tick);
                }
                _ => return,
            }
        }
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        let mut steps = 0;
        while let Some(input) = inputs.pop() {
            self.core.handle(self.now, &mut self.entropy, input);
            while let Some(effect) = self.core.pop_effect() {
                match effect {
                    Effect::Connect { peer, .. } => inputs.push(Input::ConnectFailed { peer }),
                    Effect::Request { id, .. } => inputs.push(Input::Response {
                        request: id,
                        message: None,
                    }),
                    Effect::Configure { name, tunnel, .. } => {
                        self.tunnels.insert(name, tunnel);
                    }
                    Effect::Done { outcome, .. } => self.outcome = Some(outcome.map(drop)),
                    _ => {}
                }
            }
            steps += 1;
            if steps > STEPS {
                return;
            }
        }
    }

    /// What would be changed for one network. With `adopt`, a foreign interface of its name
    /// counts as its own.
    ///
    /// # Errors
    /// The interface is somebody else's.
    pub fn plan(
        &self,
        net: &NetworkName,
        options: &InterfaceOptions,
        adopt: bool,
    ) -> Outcome<PlanReport> {
        let Some(tunnel) = self.tunnel(net) else {
            return Ok(PlanReport::default());
        };
        let name = name_of(net)?;
        let own = tunnel.private_key.public();
        let look = |mut wg: Box<dyn grid_wg::Backend>| match wg.observe(&name, &own) {
            // To adopt is to take it for one's own; what changes it is the plan.
            Err(Error::ForeignInterface { .. }) if adopt => {
                wg.adopt(&name)?;
                wg.observe(&name, &own)
            }
            other => other,
        };
        let seen = grid_wg::open(options.backend.into(), &options.place()).and_then(look);
        let observed = match seen {
            Ok(observed) => observed,
            Err(error @ Error::ForeignInterface { .. }) if !self.interfaces.contains_key(net) => {
                return Err(error.into());
            }
            Err(error) => {
                output::say(&format!(
                    "the plan assumes that there is no interface \"{net}\": {error}"
                ));
                Observed::default()
            }
        };
        let desired = desired(name, tunnel, options.routing, self.mark, &observed);
        let plan = grid_wg::plan(&desired, &observed);
        Ok(PlanReport::of(
            net,
            plan.steps.iter().map(ToString::to_string).collect(),
        ))
    }
}

/// What would be changed on this machine.
#[derive(Debug, Default, Serialize)]
pub struct PlanReport {
    networks: Vec<NetworkPlan>,
}

#[derive(Debug, Serialize)]
struct NetworkPlan {
    name: String,
    /// In the order in which they would be carried out.
    steps: Vec<String>,
}

impl PlanReport {
    /// The plan for one network.
    #[must_use]
    pub fn of(net: &NetworkName, steps: Vec<String>) -> Self {
        let name = net.to_string();
        Self {
            networks: vec![NetworkPlan { name, steps }],
        }
    }

    fn add(&mut self, other: Self) {
        self.networks.extend(other.networks);
    }
}

impl Report for PlanReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for NetworkPlan { name, steps } in &self.networks {
            if steps.is_empty() {
                writeln!(out, "{name}: nothing to do")?;
            }
            steps
                .iter()
                .try_for_each(|step| writeln!(out, "{name}: {step}"))?;
        }
        Ok(())
    }
}
