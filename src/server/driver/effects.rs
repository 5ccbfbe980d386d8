//! What the core wants done, one by one and in order.

use std::net::SocketAddr;

use grid_keys::NodeId;
use grid_net::CloseCode;
use grid_promises::ContentId;
use grid_promises::core::{Change, Effect, Parting, RequestId};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use tracing::debug;

use super::Driver;
use super::events::Event;
use super::memory::Forgotten;
use crate::store::InterfaceOptions;

/// The closing code that tells a node that it was revoked.
const REVOKED: CloseCode = CloseCode::program(1);

impl Driver {
    /// Does one thing. `of_a_person`: it follows from a command.
    ///
    /// # Errors
    /// It could not be made durable; nothing behind it may be done.
    pub(super) fn carry_out(&mut self, effect: Effect, of_a_person: bool) -> Result<(), Forgotten> {
        match effect {
            Effect::Store {
                network,
                name,
                change,
            } => self.make_durable(network, &name, &change, of_a_person)?,
            Effect::Configure {
                network,
                name,
                tunnel,
            } => {
                if let Some(known) = self.networks.get_mut(&network) {
                    known.tunnel.clone_from(&tunnel);
                }
                let interface = self.interface_of(&network);
                self.tunnels.configure(network, name, interface, tunnel);
            }
            Effect::Connect { peer, addrs } => self.connect(peer, addrs),
            Effect::Know(nodes) => {
                self.notices.know(&nodes);
                self.endpoint.know(nodes);
            }
            Effect::Disconnect { peer, why } => {
                let (code, reason) = match why {
                    Parting::NotNeeded => (CloseCode::DONE, "nothing is shared"),
                    Parting::Revoked => (REVOKED, "revoked"),
                    Parting::Misbehaved => (CloseCode::PROTOCOL, "that does not hold"),
                };
                self.endpoint.disconnect(peer, code, reason);
            }
            Effect::Request { id, peer, message } => self.request(id, peer, message),
            Effect::Respond { to, message } => {
                if let Some((responder, promise)) = self.responders.remove(&to) {
                    if let Some(promise) = promise {
                        self.modules.answered(&promise, &message);
                    }
                    responder.send(message);
                }
            }
            Effect::Judge {
                network,
                judge,
                records,
            } => self.ask_judge(network, judge, records),
            Effect::Done { ticket, outcome } => {
                if let Some(done) = self.tickets.remove(&ticket) {
                    let _ = done.send(outcome);
                }
            }
            Effect::WriteTime(time) => {
                let written = tokio::task::block_in_place(|| self.store.write_time(&time));
                if let Err(error) = written {
                    // Without it, the clock is doubted a little longer after the next start.
                    debug!("the time is not written down: {error}");
                }
            }
            Effect::Notice(notice) => self.notices.write(notice),
        }
        Ok(())
    }

    fn connect(&self, peer: NodeId, addrs: Vec<SocketAddr>) {
        let endpoint = self.endpoint.clone();
        let events = self.events.clone();
        tokio::spawn(async move {
            // That a connection stands comes as an event of the endpoint.
            if let Err(error) = endpoint.connect(Some(peer), &addrs).await {
                debug!("{} cannot be reached: {error}", peer.short());
                let _ = events.send(Event::ConnectFailed(peer)).await;
            }
        });
    }

    fn ask_judge(&self, network: NetworkId, judge: ContentId, records: Vec<u8>) {
        let modules = self.modules.clone();
        let events = self.events.clone();
        tokio::spawn(async move {
            let answer = modules.judge(judge, records).await;
            let _ = events.send(Event::Judged(network, judge, answer)).await;
        });
    }

    fn request(&self, id: RequestId, peer: NodeId, message: Vec<u8>) {
        let endpoint = self.endpoint.clone();
        let events = self.events.clone();
        let generation = self.generation;
        tokio::spawn(async move {
            let answer = endpoint.request(peer, message).await;
            if let Err(error) = &answer {
                debug!("{} did not answer: {error}", peer.short());
            }
            let _ = events
                .send(Event::Response(generation, id, answer.ok()))
                .await;
        });
    }

    /// How the interface of a network is to be run that `change` is about.
    pub(super) fn interface_for(
        &mut self,
        network: NetworkId,
        name: &NetworkName,
        change: &Change,
    ) -> InterfaceOptions {
        match change {
            Change::Network(_) => self.wished.remove(name).unwrap_or_default(),
            _ => self.interface_of(&network),
        }
    }

    /// Follows a change that is durable.
    pub(super) fn take_note(
        &mut self,
        network: NetworkId,
        change: &Change,
        interface: InterfaceOptions,
    ) {
        match change {
            Change::Network(record) => self.know(record, interface),
            Change::Left(_) => {
                if let Some(known) = self.networks.get_mut(&network) {
                    known.left = true;
                }
            }
            Change::Removed => drop(self.networks.remove(&network)),
            _ => {}
        }
    }
}
