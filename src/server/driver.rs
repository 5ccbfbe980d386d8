//! The one task that owns the core: everything that happens goes in, everything that it wants done
//! is carried out in order.
//!
//! A change of what is on disk is durable before anything behind it is done: what was not written down must not
//! be used. If it cannot be made durable, nothing behind it is done, and the core begins again with what is on
//! disk (`unwritable`).

mod effects;
mod events;
mod memory;
mod unwritable;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::{Endpoint, Limits, Pace, Responder};
use grid_promises::core::{
    CommandError, Config as CoreConfig, Core, HostFacts, Input, NetworkRecord, Reply, ReplyTo,
    Ticket, Tunnel,
};
#[cfg(feature = "modules")]
use grid_promises::modules::fetch::refuse;
use grid_promises::modules::fetch::reject;
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, Millis};
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{debug, warn};

use super::clock::Clock;
use super::found::Found;
use super::modules::{Claim, Modules};
use super::notices::Notices;
use super::notify::Notifier;
use super::report;
use crate::exit::{Failure, Outcome};
use crate::host;
use crate::node::question::{Question, Taken};
use crate::node::status::{BrokenReport, StatusReport};
use crate::store::{InterfaceOptions, KnownPeer, Store};
use crate::tunnels::{Observations, Tunnels};
use events::Event;
use memory::Memory;

/// How many reports of the driver's own tasks may wait for it.
const QUEUE: usize = 1024;
/// How often the host's addresses are looked at.
const HOST_EVERY: Duration = Duration::from_secs(10);

/// What a peer is told that calls what this node does not keep to it.
#[cfg(feature = "modules")]
const MAY_NOT: &str =
    "this node does not keep that promise to you; whoever runs it says to whom it does";

/// A network as the driver knows it.
struct Known {
    name: NetworkName,
    interface: InterfaceOptions,
    listen_port: u16,
    left: bool,
    tunnel: Option<Box<Tunnel>>,
    /// Why statements that were written down may be missing since the start.
    lack: Option<String>,
}

/// The owner of the core.
pub(super) struct Driver {
    /// What every core of this driver is made with.
    config: CoreConfig,
    core: Core,
    /// How many cores there were before this one: what was asked for an earlier one is not for this one.
    generation: u64,
    memory: Memory,
    clock: Clock,
    entropy: ChaCha20Rng,
    store: Store,
    endpoint: Endpoint,
    tunnels: Tunnels,
    modules: Modules,
    /// How fast the core takes the requests of one peer.
    pace: Pace,
    /// Where the driver's own tasks report to, and where that arrives.
    events: mpsc::Sender<Event>,
    arriving: mpsc::Receiver<Event>,
    networks: BTreeMap<NetworkId, Known>,
    /// How the interfaces of networks are to be run that are being founded or joined.
    wished: BTreeMap<NetworkName, InterfaceOptions>,
    broken: Vec<BrokenReport>,
    tickets: BTreeMap<Ticket, oneshot::Sender<Result<Reply, CommandError>>>,
    responders: BTreeMap<ReplyTo, (Responder, Option<ContentId>)>,
    counter: u64,
    host: HostFacts,
    /// What WireGuard measured last.
    measured: Observations,
    fixed: Vec<SocketAddr>,
    notices: Notices,
    notifier: Notifier,
}

/// What a driver begins with.
pub(super) struct Beginning {
    /// What the core is made with.
    pub config: CoreConfig,
    /// A seeded generator.
    pub entropy: ChaCha20Rng,
    /// The home.
    pub store: Store,
    /// The connections to other nodes.
    pub endpoint: Endpoint,
    /// WireGuard.
    pub tunnels: Tunnels,
    /// Who handles the messages of peers.
    pub modules: Modules,
    /// Where a person says that this node's QUIC can be reached.
    pub fixed: Vec<SocketAddr>,
    /// Networks that cannot be started.
    pub broken: Vec<BrokenReport>,
    /// Who is told that the driver turns.
    pub notifier: Notifier,
}

impl Driver {
    /// A driver that has not begun.
    #[must_use]
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning {
            config,
            entropy,
            store,
            endpoint,
            tunnels,
            modules,
            fixed,
            broken,
            notifier,
        } = beginning;
        let limits = Limits::default();
        let (events, arriving) = mpsc::channel(QUEUE);
        Self {
            core: Core::new(config.clone()),
            config,
            generation: 0,
            memory: Memory::default(),
            clock: Clock::start(),
            entropy,
            store,
            endpoint,
            tunnels,
            modules,
            pace: Pace::new(limits.request_rate, limits.request_burst),
            events,
            arriving,
            networks: BTreeMap::new(),
            wished: BTreeMap::new(),
            broken,
            tickets: BTreeMap::new(),
            responders: BTreeMap::new(),
            counter: 0,
            host: HostFacts::default(),
            measured: Observations::new(),
            fixed,
            notices: Notices::default(),
            notifier,
        }
    }

    /// Takes over what was on disk, and what the host is like.
    pub(super) fn begin(&mut self, networks: Vec<Found>, peers: Vec<KnownPeer>) {
        self.try_disk();
        self.input(Input::Start {
            shown: Clock::shown(),
            written: self.store.time(),
        });
        for found in networks {
            let network = found.record.network();
            self.know(&found.record, found.interface);
            self.lack(&network, found.lack);
            self.input(Input::Restore(Box::new(found.record)));
        }
        self.look_at_host();
        for peer in peers {
            self.input(Input::KnownPeer {
                node: peer.node,
                addrs: peer.addresses,
            });
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The endpoint ended by itself.
    pub(super) async fn run(
        &mut self,
        mut questions: mpsc::Receiver<Question>,
        mut net: mpsc::Receiver<grid_net::Event>,
    ) -> Outcome {
        let mut host = tokio::time::interval(HOST_EVERY);
        host.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Said here and by no other task: it is this loop that must not stand still.
        let mut watchdog = self.notifier.pause().map(tokio::time::interval);
        if let Some(watchdog) = &mut watchdog {
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let timer = self.core.next_timer();
            tokio::select! {
                () = sleep_until(&self.clock, timer) => self.input(Input::Tick),
                () = due(self.memory.next_try()) => self.try_disk(),
                question = questions.recv() => match question {
                    None | Some(Question::Stop) => {
                        self.input(Input::Stop);
                        return Ok(());
                    }
                    Some(question) => self.answer(question),
                },
                // This end of it is held by the driver itself, so that it never closes.
                Some(event) = self.arriving.recv() => self.take(event),
                event = net.recv() => match event {
                    None => return Err(Failure::failed("the QUIC endpoint ended by itself")),
                    Some(event) => self.take_net(event),
                },
                _ = host.tick() => self.look_at_host(),
                () = tick(&mut watchdog) => self.notifier.alive(),
            }
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Command {
                command,
                interface,
                done,
            } => {
                if let Err(error) = self.check_memory(&command) {
                    let _ = done.send(Err(error));
                    return;
                }
                if let Some(interface) = interface {
                    self.wished.insert(command.network().clone(), interface);
                }
                let ticket = Ticket(self.count());
                self.tickets.insert(ticket, done);
                self.input(Input::Command { command, ticket });
            }
            // Whoever asked may have gone; then nobody needs the answer.
            Question::Status(answer) => drop(answer.send(self.status())),
            Question::Taken(answer) => drop(answer.send(self.taken())),
            Question::Tunnel(name, answer) => {
                let known = self.known(&name);
                let tunnel =
                    known.and_then(|known| Some((known.tunnel.clone()?, known.interface.clone())));
                drop(answer.send(tunnel));
            }
            Question::Place(name, answer) => {
                drop(answer.send(self.known(&name).map(|known| known.interface.place())));
            }
            Question::KnownPeer(peer, answer) => {
                let saved = self.store.save_peer(&peer);
                let is_saved = saved.is_ok();
                let _ = answer.send(saved);
                if is_saved {
                    self.input(Input::KnownPeer {
                        node: peer.node,
                        addrs: peer.addresses,
                    });
                }
            }
            Question::Observed(observations) => {
                self.measured.clone_from(&observations);
                for (network, peers) in observations {
                    self.input(Input::Tunnel { network, peers });
                }
            }
            Question::Stop => {}
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::ConnectFailed(peer) => self.input(Input::ConnectFailed { peer }),
            Event::Delayed(peer, message, respond, promise) => {
                self.request_of(peer, message, respond, promise)
            }
            Event::Response(generation, request, message) => {
                if generation == self.generation {
                    self.input(Input::Response { request, message });
                }
            }
            Event::Judged(network, judge, answer) => self.input(Input::Judged {
                network,
                judge,
                answer,
            }),
        }
    }

    fn take_net(&mut self, event: grid_net::Event) {
        match event {
            grid_net::Event::Connected {
                peer,
                remote,
                direction,
            } => {
                debug!("{} is connected from {remote}", peer.short());
                self.input(Input::Connected {
                    peer,
                    remote,
                    outgoing: direction == grid_net::Direction::Outgoing,
                })
            }
            grid_net::Event::Disconnected { peer, reason } => {
                self.notices.parted(peer, &reason);
                self.input(Input::Disconnected { peer })
            }
            grid_net::Event::Request {
                peer,
                message,
                respond,
                ..
            } => {
                let networks = || self.core.shared_with(&peer);
                match self.modules.claim(peer, networks, &message) {
                    Claim::Core(promise) => self.take_request(peer, message, respond, promise),
                    Claim::Reject(promise) => respond.send(reject(&promise)),
                    #[cfg(feature = "modules")]
                    Claim::Refuse => respond.send(refuse(MAY_NOT)),
                    #[cfg(feature = "modules")]
                    Claim::Modules(promise, caller) => {
                        self.modules.take(&promise, caller, message, respond);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes a request for the core, or has it wait. Those that wait are bounded by the streams that a
    /// peer may open.
    fn take_request(
        &mut self,
        peer: NodeId,
        message: Vec<u8>,
        respond: Responder,
        promise: Option<ContentId>,
    ) {
        let wait = self.pace.take(peer, Instant::now());
        if wait.is_zero() {
            return self.request_of(peer, message, respond, promise);
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if !respond.is_closed() {
                let delayed = Event::Delayed(peer, message, respond, promise);
                let _ = events.send(delayed).await;
            }
        });
    }

    fn request_of(
        &mut self,
        peer: NodeId,
        message: Vec<u8>,
        respond: Responder,
        promise: Option<ContentId>,
    ) {
        let reply = ReplyTo(self.count());
        self.responders.insert(reply, (respond, promise));
        self.input(Input::Request {
            peer,
            message,
            reply,
        })
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Tells the core, and does what it wants done.
    fn input(&mut self, input: Input) {
        if let Some(shown) = self.clock.leap() {
            self.tell(Input::Clock { shown });
        }
        self.tell(input);
    }

    fn tell(&mut self, input: Input) {
        let of_a_person = matches!(input, Input::Command { .. });
        self.core.handle(self.clock.now(), &mut self.entropy, input);
        self.drain(of_a_person);
    }

    /// Does what the core wants done.
    fn drain(&mut self, of_a_person: bool) {
        while let Some(effect) = self.core.pop_effect() {
            if let Err(forgotten) = self.carry_out(effect, of_a_person) {
                self.begin_again(&forgotten);
            }
        }
    }

    fn know(&mut self, record: &NetworkRecord, interface: InterfaceOptions) {
        let known = Known {
            name: record.name().clone(),
            interface,
            listen_port: record.listen_port,
            left: record.is_left(),
            tunnel: None,
            lack: None,
        };
        // One that was left under this name has lost its folder.
        self.networks.retain(|_, other| other.name != known.name);
        self.networks.insert(record.network(), known);
    }

    /// Notes why statements of a network may be missing.
    fn lack(&mut self, network: &NetworkId, why: Option<String>) {
        if let Some(known) = self.networks.get_mut(network) {
            known.lack = why;
        }
    }

    fn look_at_host(&mut self) {
        let own = self.networks.values();
        let own = own.map(|known| (&known.name, &known.interface));
        match tokio::task::block_in_place(|| host::facts(own)) {
            Ok((addresses, connected)) => {
                let facts = HostFacts {
                    addresses,
                    connected,
                    fixed_quic: self.fixed.clone(),
                    quic: self.endpoint.local_addr(),
                };
                if facts != self.host {
                    self.host = facts.clone();
                    self.input(Input::Host(facts));
                    self.tunnels.check_soon();
                }
            }
            Err(error) => warn!("the host's addresses cannot be read: {error}"),
        }
    }

    fn status(&self) -> StatusReport {
        let networks = self
            .core
            .status()
            .iter()
            .map(|status| {
                let about = self.tunnels.status(&status.network);
                let interface = self.interface_of(&status.network);
                let known = self.networks.get(&status.network);
                let lack = known.and_then(|known| known.lack.as_deref());
                report::network(&self.core.id(), status, &about, &interface, lack)
            })
            .collect();
        StatusReport {
            node: self.core.id().to_string(),
            networks,
            left: self
                .networks
                .values()
                .filter(|known| known.left)
                .map(|known| known.name.to_string())
                .collect(),
            broken: self.broken.clone(),
            home: None,
            unwritable: self.memory.why(),
            clock: Some(report::clock(self.core.clock(self.clock.now()))),
        }
    }

    /// How the interface of a network is to be run.
    fn interface_of(&self, network: &NetworkId) -> InterfaceOptions {
        let known = self.networks.get(network);
        known.map_or_else(InterfaceOptions::default, |known| known.interface.clone())
    }

    fn known(&self, name: &NetworkName) -> Option<&Known> {
        self.networks.values().find(|known| known.name == *name)
    }

    fn taken(&self) -> Taken {
        let here = || self.networks.values().filter(|known| !known.left);
        Taken {
            ports: here().map(|known| known.listen_port).collect(),
            broken: self
                .broken
                .iter()
                .map(|broken| (broken.name.clone(), broken.error.clone()))
                .collect(),
            names: here().map(|known| known.name.clone()).collect(),
        }
    }
}

/// Until this moment; for ever if there is none.
async fn due(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Until the next tick; for ever if there is no such clock.
async fn tick(clock: &mut Option<Interval>) {
    match clock {
        Some(clock) => {
            clock.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Until a timer of the core; for ever if there is none.
async fn sleep_until(clock: &Clock, timer: Option<Millis>) {
    match timer {
        // Timers count in milliseconds, and so do those of the runtime.
        Some(timer) => tokio::time::sleep(clock.until(timer)).await,
        None => std::future::pending().await,
    }
}
