//! What a command would change on this machine (`--dry-run`): the core runs in memory, on a copy of
//! what is on disk and with nobody in reach, and what it wants of WireGuard is planned and printed.
//! Nothing is written, sent or configured.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grid_keys::NodeKey;
use grid_promises::Millis;
use grid_promises::core::{
    Command, CommandError, Config, Core, Effect, HostFacts, Input, JoinWith, Ticket, Tunnel,
};
use grid_promises::network::invite::Invite;
use grid_promises::network::name::NetworkName;
use grid_wg::{Error, Observed, Table};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::args::{Create, CreateConfig, Join};
use super::output;
use crate::control::answer::ConfigReport;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::server::tunnels::{desired, name_of};
use crate::server::{host, ports};
use crate::store::{InterfaceOptions, Loaded, Store, WG_QUICK};
use crate::wg_quick;

/// How long a joiner is watched, in the rehearsal's own time.
const WATCHED: Duration = Duration::from_secs(60);
/// How many steps it may take: each input has few consequences.
const STEPS: usize = 10_000;

/// The core, and what it wants of WireGuard by now.
struct Rehearsal {
    core: Core,
    entropy: ChaCha20Rng,
    now: Millis,
    tunnels: BTreeMap<NetworkName, Option<Box<Tunnel>>>,
    interfaces: BTreeMap<NetworkName, InterfaceOptions>,
    ports: Vec<u16>,
    mark: u32,
    outcome: Option<Result<(), CommandError>>,
}

/// `start-server --dry-run`.
pub(super) fn start(home: &Home) -> Outcome {
    let mut rehearsal = Rehearsal::begin(home)?;
    if rehearsal.interfaces.is_empty() {
        output::say("this node is in no network: a server would configure nothing");
    }
    rehearsal.wait_until(|_| false);
    rehearsal.print_all()
}

/// `create-wireguard-net --dry-run`.
pub(super) fn create(home: &Home, create: &Create) -> Outcome {
    let mut rehearsal = Rehearsal::begin(home)?;
    let listen_port = rehearsal.port(create.tunnel.port)?;
    let command = Command::Create {
        name: create.net.clone(),
        ipv4: create.ipv4,
        admission: create.admission.into(),
        listen_port,
    };
    rehearsal.carry_out(command)?;
    output::say("the keys and addresses below are drawn anew when the network is founded");
    rehearsal.print(&create.net, &create.tunnel.interface(), create.tunnel.adopt)
}

/// `join-wireguard-net --dry-run`.
pub(super) fn join(home: &Home, join: &Join, payload: &[u8]) -> Outcome {
    let mut rehearsal = Rehearsal::begin(home)?;
    let listen_port = rehearsal.port(join.tunnel.port)?;
    let with = if join.invite.is_some() {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let invite = Invite::from_text(text).map_err(CommandError::from)?;
        JoinWith::Invite(Box::new(invite))
    } else {
        JoinWith::Peers
    };
    let command = Command::Join {
        name: join.net.clone(),
        with,
        listen_port,
        wait: WATCHED,
    };
    match rehearsal.carry_out(command) {
        // In a rehearsal nobody ever answers.
        Err(error) if rehearsal.wants(&join.net) && error.exit == crate::exit::Exit::TimedOut => {}
        other => other?,
    }
    if !rehearsal.wants(&join.net) {
        return Err(Failure::failed(format!(
            "what joining \"{}\" changes depends on its members, and nobody is asked in a dry run",
            join.net
        )));
    }
    output::say(
        "the address below is the first candidate; another is taken if a member holds it, and the \
         members are added as peers",
    );
    rehearsal.print(&join.net, &join.tunnel.interface(), join.tunnel.adopt)
}

/// `leave-wireguard-net --dry-run`.
pub(super) fn leave(home: &Home, net: &NetworkName) -> Outcome {
    let mut rehearsal = Rehearsal::begin(home)?;
    rehearsal.carry_out(Command::Leave { name: net.clone() })?;
    output::print(&format!("{net}: remove the interface\n"))
}

/// `create-config` without a server: from what is on disk.
pub(super) fn config(home: &Home, config: &CreateConfig) -> Outcome<ConfigReport> {
    let mut rehearsal = Rehearsal::begin(home)?;
    let net = &config.net;
    rehearsal.wait_until(|_| false);
    let Some(Some(tunnel)) = rehearsal.tunnels.get(net) else {
        return Err(Failure::failed(format!(
            "there is no WireGuard configuration of a network \"{net}\" on disk; `grid status` \
             lists the networks"
        )));
    };
    let interface = rehearsal.interfaces.get(net);
    let table = interface.map_or(Table::Auto, |interface| interface.routing.table);
    let text: Zeroizing<String> = wg_quick::render(net.as_str(), tunnel, table, &BTreeMap::new());
    let path = match &config.output {
        Some(path) => path.clone(),
        None => home.nets().join(net.as_str()).join(WG_QUICK),
    };
    Store::look(home).write_private(&path, text.as_bytes())?;
    Ok(ConfigReport {
        path: path.display().to_string(),
        peers: tunnel.peers.len(),
    })
}

impl Rehearsal {
    /// The core as a server would begin.
    fn begin(home: &Home) -> Outcome<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
        let mut entropy = ChaCha20Rng::from_seed(seed);
        let store = Store::look(home);
        let config = store.config()?;
        let key = match store.node_key()? {
            Some(key) => key,
            None => NodeKey::generate(&mut entropy),
        };
        let label = config.label.clone().unwrap_or_else(host::label);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_millis());
        let mut rehearsal = Self {
            core: Core::new(Config { key, label }),
            entropy,
            now: Millis(u64::try_from(now).unwrap_or(u64::MAX)),
            tunnels: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            ports: Vec::new(),
            mark: config.mark(),
            outcome: None,
        };
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
            quic: config.listen.unwrap_or(grid_net::DEFAULT_LISTEN),
        }));
        Ok(rehearsal)
    }

    fn port(&self, wished: Option<u16>) -> Outcome<u16> {
        ports::choose(wished, &self.ports, grid_net::DEFAULT_PORT)
    }

    fn wants(&self, net: &NetworkName) -> bool {
        matches!(self.tunnels.get(net), Some(Some(_)))
    }

    fn carry_out(&mut self, command: Command) -> Outcome {
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

    fn print_all(&self) -> Outcome {
        for (net, interface) in &self.interfaces {
            if self.wants(net) {
                self.print(net, interface, false)?;
            }
        }
        Ok(())
    }

    /// Prints what would be changed for one network.
    fn print(&self, net: &NetworkName, options: &InterfaceOptions, adopt: bool) -> Outcome {
        let Some(Some(tunnel)) = self.tunnels.get(net) else {
            return Ok(());
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
        output::print(&grid_wg::plan(&desired, &observed).to_string())
    }
}
