//! The server of a home: everything that runs between `start-server` and `stop-server`.
//!
//! ```text
//!  control socket ── listener ── service ─┐
//!  QUIC (grid-net) ───────────────────────┼─> driver ── core (no I/O)
//!  WireGuard (grid-wg) <── tunnels <──────┘   │  └────> store
//!                      modules (grid-modules) <┘
//! ```
//!
//! No protocol logic is here: what follows from what is the core's. Nor does it know any command: what
//! carries out the requests of the control socket is given to it.

mod clock;
mod driver;
mod found;
mod guard;
mod join_dir;
mod listener;
mod logging;
mod modules;
mod notices;
mod notify;
mod ready;
mod report;
mod signals;
mod tap;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_net::{BindError, Endpoint};
use grid_promises::core::Config as CoreConfig;
use nix::sys::stat::{Mode, umask};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use zeroize::Zeroize as _;

use crate::advice;
use crate::control::connecting;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::host::{self, ports};
use crate::node::config_file::ConfigFile;
use crate::node::handle::Parts;
use crate::node::question::Question;
use crate::node::requests::Requests;
use crate::node::{NodeHandle, Service};
use crate::store::{Config, ServerLock, Store};
use crate::tunnels::Tunnels;
use driver::{Beginning, Driver};
use listener::Listener;
use modules::Modules;
use notify::Notifier;
use signals::Signals;

/// How often WireGuard is looked at while a peer has not answered yet.
const LOOK_OFTEN: Duration = Duration::from_secs(1);
/// How soon after something was configured, or after so many times the time that the look before took.
const LOOK_SOON: Duration = Duration::from_millis(300);
const LOOK_SHARE: u32 = 20;
/// How often otherwise.
const LOOK: Duration = Duration::from_secs(10);
/// How long what still runs at the end is waited for.
const ENDING: Duration = Duration::from_secs(1);
/// How many questions may wait for the driver.
const QUEUE: usize = 1024;

/// What a server is told when it is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where QUIC listens, if not where the configuration says.
    pub listen: Option<SocketAddr>,
    /// Where others can reach this node's QUIC, beyond what the configuration says.
    pub endpoints: Vec<SocketAddr>,
    /// Whether a command started it in the background: then it ends with the last network.
    pub background: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Where invites may lie that this server is to join with.
    pub join_dir: Option<PathBuf>,
    /// Where every message is written to in plaintext: a test instrument.
    pub tap: Option<PathBuf>,
}

/// Runs the server of a home until it is stopped. `service` carries out what comes on its control socket.
///
/// # Errors
/// It could not be started, or could not go on.
pub fn run(home: &Home, options: &Options, service: Service) -> Outcome {
    // While there is no other thread.
    let notifier = Notifier::from_environment();
    // Nothing that this process makes is for others.
    umask(Mode::from_bits_truncate(0o077));
    grid_net::seed_early();
    let store = Store::open(home)?;
    let _lock = ServerLock::take(home)?;
    store.check_machine()?;
    // What is unfinished is read by nobody. A home that takes no changes has to do with what is there.
    let tidied = store.recover().and_then(|()| store.ensure_config());
    let config = store.config()?;
    logging::start(options.verbose, config.log.as_deref());
    if let Err(error) = tidied {
        warn!("the home was not brought in order: {error}");
    }
    let notifier = notifier.unwrap_or_else(|why| {
        warn!("{why}");
        Notifier::default()
    });
    for key in &config.unknown {
        warn!("{}: unknown key \"{key}\"", home.config().display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("grid")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the server has no threads: {error}")))?;
    let serving = serve(home, store, &config, options, service, notifier);
    let outcome = runtime.block_on(Box::pin(serving));
    // The port of QUIC is held by tasks: who takes the lock next needs it.
    runtime.shutdown_timeout(ENDING);
    outcome
}

async fn serve(
    home: &Home,
    store: Store,
    config: &Config,
    options: &Options,
    service: Service,
    notifier: Notifier,
) -> Outcome {
    let signals = Signals::catch(options.background).unwrap_or_else(|error| {
        warn!("signals end this server without a shutdown: {error}");
        Signals::default()
    });
    // Before anything is configured: it may be impossible.
    let mut listener = Listener::prepare(home)?;
    // Beside the rest: at the first start it waits for the disk.
    #[cfg(feature = "modules")]
    let symbols = tokio::task::spawn_blocking({
        let (home, config) = (home.clone(), config.clone());
        move || crate::symbols::ensure(&home, &config)
    });
    let mut entropy = entropy()?;
    let key = store.node_key_or_new(&mut entropy)?;
    let (endpoint, net) = bind(&key, config, options)?;
    info!("node {} listens on UDP {}", key.id(), endpoint.local_addr());
    let (tunnels, thread) = Tunnels::start(config.mark())
        .map_err(|error| Failure::failed(format!("the server has no threads: {error}")))?;
    let (questions, asked) = mpsc::channel(QUEUE);
    let (networks, broken) = found::load(&store)?;
    let (peers, complaints) = store.peers();
    for complaint in complaints {
        warn!("a known peer is left out: {complaint}");
    }
    let label = config.label.clone().unwrap_or_else(host::label);
    let config_file = Arc::new(ConfigFile::new(home, config.clone()));
    let modules = Modules::new(Arc::clone(&config_file), &endpoint);
    let mut fixed = config.endpoints.clone();
    fixed.extend(&options.endpoints);
    let mut driver = Driver::new(Beginning {
        config: CoreConfig { key, label },
        entropy,
        store,
        endpoint: endpoint.clone(),
        tunnels: tunnels.clone(),
        modules: modules.clone(),
        fixed,
        broken,
        notifier: notifier.clone(),
    });
    driver.begin(networks, peers);
    let (stop, stopped) = watch::channel(false);
    let requests = Requests::default();
    let node = NodeHandle::new(Parts {
        questions: questions.clone(),
        tunnels: tunnels.clone(),
        endpoint: endpoint.clone(),
        home: home.clone(),
        config: config_file,
        #[cfg(feature = "modules")]
        fetching: modules.fetching().clone(),
        #[cfg(feature = "modules")]
        dispatcher: modules.dispatcher().clone(),
        requests: requests.clone(),
        background: options.background,
    });
    let mut tasks = modules.tasks();
    tasks.extend([
        tokio::spawn(look(tunnels.clone(), questions.clone())),
        tokio::spawn(guard::guard(tunnels.clone())),
        tokio::spawn(end(
            signals,
            stopped,
            requests.clone(),
            home.clone(),
            questions,
        )),
        tokio::spawn(take_up(
            node.clone(),
            tunnels.clone(),
            options.join_dir.clone(),
            notifier.clone(),
        )),
    ]);
    #[cfg(feature = "modules")]
    if let Ok(Err(error)) = symbols.await {
        warn!("the symbol table was not brought up to date: {error}");
    }
    // Last: who can connect finds a server that is ready.
    listener.publish()?;
    let means = listener::Means {
        node,
        service,
        requests: requests.clone(),
        stop,
    };
    let listening = tokio::spawn(listener::listen(means, listener));
    let outcome = driver.run(asked, net).await;
    info!("the server ends");
    notifier.stopping();
    leave(&requests, home);
    for task in tasks {
        task.abort();
    }
    endpoint.shutdown().await;
    tokio::task::block_in_place(|| modules.save());
    tunnels.close();
    // Interfaces in userspace go down with their thread.
    let _ = tokio::task::block_in_place(|| thread.join());
    // Until now it refused those who had connected before the socket was gone.
    listening.abort();
    outcome
}

fn entropy() -> Outcome<ChaCha20Rng> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        Failure::failed(format!("cannot get randomness from the system: {error}"))
    })?;
    let entropy = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(entropy)
}

fn bind(
    key: &grid_keys::NodeKey,
    config: &Config,
    options: &Options,
) -> Outcome<(Endpoint, mpsc::Receiver<grid_net::Event>)> {
    let mut net = grid_net::Config::new(key.clone());
    if let Some(listen) = options.listen.or(config.listen) {
        net.listen = listen;
    }
    // Chunks of objects come in quick succession. What is the core's is held back by the driver.
    #[cfg(feature = "modules")]
    {
        net.limits.request_rate = grid_modules::fetch::REQUEST_RATE;
        net.limits.request_burst = grid_modules::fetch::REQUEST_BURST;
    }
    net.mark = config.mark();
    if let Some(path) = &options.tap {
        net.tap = Some(tap::open(path)?);
        warn!(
            "every message is written to {} in plaintext",
            path.display()
        );
    }
    let addr = net.listen;
    Endpoint::bind(net).map_err(|error| match error {
        BindError::AddrInUse { .. } => Failure::failed(format!(
            "UDP {addr}, where this node's QUIC is to listen, is in use by {}; stop it, or {}",
            ports::holder(addr.port()),
            advice::listens_elsewhere()
        )),
        BindError::PermissionDenied { .. } => Failure::failed(format!(
            "this node's QUIC cannot listen: {error}; use a port of 1024 or above"
        )),
        error => Failure::failed(format!("this node's QUIC cannot listen: {error}")),
    })
}

/// Takes the invites that were left for this server, and says when it is ready.
async fn take_up(
    node: NodeHandle,
    tunnels: Tunnels,
    join_dir: Option<PathBuf>,
    notifier: Notifier,
) {
    let (begun, begins) = mpsc::channel(1);
    let ready = ready::announce(node.clone(), tunnels, notifier, begins);
    match join_dir {
        Some(folder) => {
            let joining = join_dir::follow_all(node, folder, begun);
            tokio::join!(ready, joining);
        }
        None => {
            drop(begun);
            ready.await;
        }
    }
}

/// Measures WireGuard, often while somebody has not answered yet. What is found to be changed by
/// others, peers above all, of which the kernel tells nothing, is put right by the same look.
async fn look(tunnels: Tunnels, questions: mpsc::Sender<Question>) {
    let mut configured = tunnels.configured();
    loop {
        let begun = Instant::now();
        let observed = tunnels.observe_and_repair().await;
        // A look at thousands takes time that is better spent.
        let soon = LOOK_SOON.max(begun.elapsed() * LOOK_SHARE);
        let is_waiting = observed
            .values()
            .flat_map(|peers| peers.values())
            .any(|peer| peer.latest_handshake.is_none());
        if questions.send(Question::Observed(observed)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(if is_waiting { LOOK_OFTEN } else { LOOK }) => {}
            _ = configured.changed() => tokio::time::sleep(soon).await,
        }
    }
}

/// Ends the driver when a signal or a command says so.
async fn end(
    mut signals: Signals,
    mut stopped: watch::Receiver<bool>,
    requests: Requests,
    home: Home,
    questions: mpsc::Sender<Question>,
) {
    tokio::select! {
        signal = signals.ending() => info!("stopped by {signal}"),
        _ = stopped.wait_for(|stop| *stop) => info!("stopped by a command"),
    }
    leave(&requests, &home);
    // The driver is gone already, if this fails.
    let _ = questions.send(Question::Stop).await;
}

/// From here on nobody takes this server for one that goes on.
fn leave(requests: &Requests, home: &Home) {
    requests.close();
    for path in home.sockets() {
        if connecting::is_of(&path, std::process::id()) {
            let _ = std::fs::remove_file(path);
        }
    }
}
