//! What the server's tasks share: the driver, WireGuard, QUIC, the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use grid_keys::NodeId;
use grid_net::Endpoint;
use grid_promises::core::{Command, Reply};
use tokio::sync::{mpsc, oneshot, watch};

use super::config_file::ConfigFile;
use super::driver::{Event, Taken};
#[cfg(feature = "modules")]
use super::modules::Modules;
use super::tunnels::Tunnels;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::InterfaceOptions;

/// Shared by every task of the server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Context {
    /// The way to the driver.
    pub events: mpsc::Sender<Event>,
    /// WireGuard.
    pub tunnels: Tunnels,
    /// QUIC.
    pub endpoint: Endpoint,
    /// The home.
    pub home: Home,
    /// The configuration as it is now.
    pub config: Arc<ConfigFile>,
    /// Who handles the messages of peers, and gets objects from them.
    #[cfg(feature = "modules")]
    pub modules: Modules,
    /// Whether this server was started in the background by a command.
    pub background: bool,
    /// Turns true when the server is to end.
    pub stop: watch::Sender<bool>,
    /// Ports of networks that are being founded or joined.
    pub reserved: Arc<Mutex<BTreeSet<u16>>>,
}

/// A port that nobody else gets while this value lives.
pub(super) struct Reservation {
    port: u16,
    reserved: Arc<Mutex<BTreeSet<u16>>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.remove(&self.port);
    }
}

impl Context {
    /// This node.
    #[must_use]
    pub(super) fn node(&self) -> NodeId {
        self.endpoint.node_id()
    }

    /// Asks the driver.
    ///
    /// # Errors
    /// The server is about to end.
    pub(super) async fn ask<T>(
        &self,
        event: impl FnOnce(oneshot::Sender<T>) -> Event,
    ) -> Outcome<T> {
        let ending = |()| Failure::failed("the server ended before it was done; its log says why");
        let (answer, answered) = oneshot::channel();
        let sent = self.events.send(event(answer)).await;
        sent.map_err(|_| ending(()))?;
        answered.await.map_err(|_| ending(()))
    }

    /// Has the core carry a command out.
    ///
    /// # Errors
    /// Why it was not.
    pub(super) async fn command(
        &self,
        command: Command,
        interface: Option<InterfaceOptions>,
    ) -> Outcome<Reply> {
        let command = Box::new(command);
        let outcome = self
            .ask(|done| Event::Command {
                command,
                interface,
                done,
            })
            .await?;
        outcome.map_err(Failure::from)
    }

    /// Which names and ports are taken.
    ///
    /// # Errors
    /// The server is about to end.
    pub(super) async fn taken(&self) -> Outcome<Taken> {
        self.ask(Event::Taken).await
    }

    /// Chooses a port for one more network.
    ///
    /// # Errors
    /// None is free.
    pub(super) fn reserve(
        &self,
        wished: Option<u16>,
        taken: &Taken,
    ) -> Outcome<(u16, Reservation)> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ports = taken.ports.clone();
        ports.extend(reserved.iter());
        let quic = self.endpoint.local_addr().port();
        let port = super::ports::choose(wished, &ports, quic)?;
        reserved.insert(port);
        let reserved = Arc::clone(&self.reserved);
        Ok((port, Reservation { port, reserved }))
    }

    /// Whether a network is being founded or joined.
    #[must_use]
    pub(super) fn is_joining(&self) -> bool {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        !reserved.is_empty()
    }

    /// Ends the server.
    pub(super) fn end(&self) {
        self.stop.send_replace(true);
    }
}
