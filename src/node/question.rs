//! What the rest of the process asks the driver of the core.

use std::collections::BTreeMap;

use grid_promises::core::{Command, CommandError, Reply, Tunnel};
use grid_promises::network::name::NetworkName;
use grid_wg::Place;
use tokio::sync::oneshot;

use super::status::StatusReport;
use crate::store::{InterfaceOptions, KnownPeer, StoreError};
use crate::tunnels::Observations;

/// A question to the driver, or something to tell it. It takes them in order.
pub enum Question {
    /// A person wants something.
    Command {
        /// What.
        command: Box<Command>,
        /// Who is to run WireGuard, for commands that decide it.
        interface: Option<InterfaceOptions>,
        /// Told how it ended.
        done: oneshot::Sender<Result<Reply, CommandError>>,
    },
    /// What is known of every network.
    Status(oneshot::Sender<StatusReport>),
    /// Which names and ports are taken.
    Taken(oneshot::Sender<Taken>),
    /// What WireGuard was told for a network.
    Tunnel(
        NetworkName,
        oneshot::Sender<Option<(Box<Tunnel>, InterfaceOptions)>>,
    ),
    /// Where the interface of a network is, if this node is in it.
    Place(NetworkName, oneshot::Sender<Option<Place>>),
    /// A peer to remember.
    KnownPeer(KnownPeer, oneshot::Sender<Result<(), StoreError>>),
    /// What WireGuard measured.
    Observed(Observations),
    /// The server is to end.
    Stop,
}

/// Names and ports that are taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The WireGuard ports of networks that this node is in.
    pub ports: Vec<u16>,
    /// Networks that are there and cannot be started, and why.
    pub broken: BTreeMap<String, String>,
    /// The networks that this node is in.
    pub names: Vec<NetworkName>,
}
