//! What the driver takes in, one after the other.

use std::collections::BTreeMap;

use grid_keys::NodeId;
use grid_net::Responder;
use grid_promises::ContentId;
use grid_promises::core::{Command, CommandError, Reply, RequestId, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::Place;
use tokio::sync::oneshot;

use crate::control::answer::StatusReport;
use crate::server::tunnels::Observations;
use crate::store::{InterfaceOptions, KnownPeer, StoreError};

/// What the driver is asked or told by the rest of the server.
pub(in crate::server) enum Event {
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
    /// Nobody could be reached.
    ConnectFailed(NodeId),
    /// A request of a peer that asked faster than the core takes, and that has waited.
    Delayed(NodeId, Vec<u8>, Responder, Option<ContentId>),
    /// A judge of a network spoke, or did not.
    Judged(NetworkId, ContentId, Result<Vec<u8>, String>),
    /// A request was answered, or not.
    Response(RequestId, Option<Vec<u8>>),
    /// The server is to end.
    Stop,
}

/// Names and ports that are taken.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Taken {
    /// The WireGuard ports of networks that this node is in.
    pub ports: Vec<u16>,
    /// Networks that are there and cannot be started, and why.
    pub broken: BTreeMap<String, String>,
    /// The networks that this node is in.
    pub names: Vec<NetworkName>,
}
