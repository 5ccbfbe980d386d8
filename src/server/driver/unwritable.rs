//! What happens when the home takes no changes: its disk is full, read-only, or broken.
//!
//! The core may have gone on from a change by the time that it turns out not to be durable. So that core is given up,
//! as if the server had been killed before the write, and another begins with what is on disk; connections and
//! tunnels stay as they are. Until the home takes changes again, which is tried with growing pauses, the core
//! decides nothing of its own accord, and commands that change something are refused.

use std::collections::BTreeMap;
use std::mem::take;

use grid_promises::core::{Change, Command, CommandError, Core, Effect, Input};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use tracing::{error, info, warn};

use super::Driver;
use super::memory::Forgotten;
use crate::advice;
use crate::server::clock::Clock;
use crate::server::found;
use crate::store::StoreError;

/// What it comes to that a change is lost.
fn without(name: &NetworkName, change: &Change) -> String {
    match change {
        Change::History(_) => advice::replay_lacks(name),
        Change::Issued(_) => advice::invites_lacks(name),
        _ => "the statements of others are not saved".to_owned(),
    }
}

/// Whether a command changes something that has to be written down. An invite holds without.
const fn changes(command: &Command) -> bool {
    match command {
        Command::Invite { .. } | Command::Invites { .. } | Command::Acts { .. } => false,
        Command::Approve { only_say, .. }
        | Command::Appoint { only_say, .. }
        | Command::CloseInvite { only_say, .. }
        | Command::Revoke { only_say, .. } => !*only_say,
        Command::Dismiss { dismissal, .. } => !dismissal.only_say,
        _ => true,
    }
}

impl Driver {
    /// Makes a change durable. `of_a_person`: it belongs to a command, and must be there when that is answered.
    ///
    /// # Errors
    /// It is not durable and must not be used.
    pub(super) fn make_durable(
        &mut self,
        network: NetworkId,
        name: &NetworkName,
        change: &Change,
        of_a_person: bool,
    ) -> Result<(), Forgotten> {
        let is_of_statements = matches!(change, Change::Statements(_));
        // Statements can be had again from the members, and nothing rests on the history or the list of invites.
        let may_be_lost = match change {
            Change::Statements(_) => !of_a_person,
            Change::History(_) | Change::Issued(_) | Change::Awaited(_) => true,
            _ => false,
        };
        if may_be_lost && self.memory.is_failing() {
            return Ok(());
        }
        let interface = self.interface_for(network, name, change);
        let written = tokio::task::block_in_place(|| self.store.apply(name, change, &interface));
        match written {
            Ok(()) => {
                if !may_be_lost {
                    self.memory.worked();
                }
                self.take_note(network, change, interface);
                Ok(())
            }
            Err(error) if may_be_lost => {
                warn!("{name}: {error}; {}", without(name, change));
                // Whether it is this file alone.
                self.try_disk();
                Ok(())
            }
            Err(error) => Err(Forgotten {
                error,
                is_of_statements,
            }),
        }
    }

    /// The home does not take a change. The core decides nothing more until it does.
    fn cannot_write(&mut self, error: &StoreError) {
        if self.memory.fail(error) {
            warn!(
                "{error}; tunnels and connections stay up, and what would have to be written down is not done \
                 until there is room"
            );
            self.remember(false);
        }
    }

    /// Tells the core; what it wants done stands behind what it wanted before.
    fn remember(&mut self, works: bool) {
        let now = self.clock.now();
        self.core
            .handle(now, &mut self.entropy, Input::Memory { works });
    }

    /// Tries whether the home takes changes, and tells the core if that is news.
    pub(super) fn try_disk(&mut self) {
        match tokio::task::block_in_place(|| self.store.probe()) {
            Err(error) => self.cannot_write(&error),
            Ok(()) => {
                if self.memory.heal() {
                    info!("the home takes changes again; what was put off is done now");
                    self.remember(true);
                    self.drain(false);
                }
            }
        }
    }

    /// Whether a command can be carried out as far as the disk goes: one that changes nothing can. A person who has just
    /// made room is not told that there is none.
    ///
    /// # Errors
    /// What it changes could not be written down.
    pub(super) fn check_memory(&mut self, command: &Command) -> Result<(), CommandError> {
        if self.memory.is_failing() && changes(command) {
            self.try_disk();
            if let Some(why) = self.memory.why() {
                return Err(CommandError::Unwritable(why));
            }
        }
        Ok(())
    }

    /// Gives the core up, which has gone on from what is not durable, and begins with what is on disk.
    pub(super) fn begin_again(&mut self, forgotten: &Forgotten) {
        // What stands behind the change is not done.
        while self.core.pop_effect().is_some() {}
        let statements = if forgotten.is_of_statements {
            BTreeMap::new()
        } else {
            self.last_statements()
        };
        self.cannot_write(&forgotten.error);
        self.generation += 1;
        self.core = Core::new(self.config.clone());
        let start = Input::Start {
            shown: Clock::shown(),
            written: self.store.time(),
        };
        for input in [start, Input::Host(self.host.clone())] {
            self.core.handle(self.clock.now(), &mut self.entropy, input);
        }
        self.remember(false);
        self.restore(statements);
        // Whoever asked an earlier core is not answered by this one.
        self.responders.clear();
        let why = forgotten.error.to_string();
        for done in take(&mut self.tickets).into_values() {
            let _ = done.send(Err(CommandError::Unwritable(why.clone())));
        }
    }

    /// The statements that the core holds. It must not go on afterwards.
    fn last_statements(&mut self) -> BTreeMap<NetworkId, Vec<Vec<u8>>> {
        let now = self.clock.now();
        self.core.handle(now, &mut self.entropy, Input::Stop);
        let mut all = BTreeMap::new();
        while let Some(effect) = self.core.pop_effect() {
            if let Effect::Store {
                network,
                change: Change::Statements(statements),
                ..
            } = effect
            {
                all.insert(network, statements);
            }
        }
        all
    }

    /// Tells a new core what is on disk, who is connected, and what WireGuard measured last.
    fn restore(&mut self, mut statements: BTreeMap<NetworkId, Vec<Vec<u8>>>) {
        let networks = match tokio::task::block_in_place(|| found::load(&self.store)) {
            Ok((networks, broken)) => {
                self.broken = broken;
                networks
            }
            Err(failure) => {
                error!(
                    "{failure}; the networks on disk cannot be read, and their tunnels stay as they are"
                );
                Vec::new()
            }
        };
        let mut before = take(&mut self.networks);
        let mut inputs = Vec::new();
        for found in networks {
            let mut record = found.record;
            let network = record.network();
            self.know(&record, found.interface);
            self.lack(&network, found.lack);
            if let (Some(known), Some(was)) =
                (self.networks.get_mut(&network), before.remove(&network))
            {
                known.tunnel = was.tunnel;
                // The file may have been written anew since.
                known.lack = was.lack.or(known.lack.take());
            }
            if let Some(statements) = statements.remove(&network)
                && !record.is_left()
            {
                record.statements = statements;
            }
            inputs.push(Input::Restore(Box::new(record)));
        }
        inputs.extend(
            self.store
                .peers()
                .0
                .into_iter()
                .map(|peer| Input::KnownPeer {
                    node: peer.node,
                    addrs: peer.addresses,
                }),
        );
        let connections = self.endpoint.connections();
        inputs.extend(connections.into_iter().map(|connection| Input::Connected {
            peer: connection.peer,
            remote: connection.remote,
            outgoing: connection.direction == grid_net::Direction::Outgoing,
        }));
        let measured = self.measured.clone().into_iter();
        inputs.extend(measured.map(|(network, peers)| Input::Tunnel { network, peers }));
        for input in inputs {
            self.core.handle(self.clock.now(), &mut self.entropy, input);
            while let Some(effect) = self.core.pop_effect() {
                // It decides nothing now. If it does all the same, it is told nothing of it, and nothing follows.
                if self.carry_out(effect, false).is_err() {
                    while self.core.pop_effect().is_some() {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use grid_promises::core::Keep;

    use super::*;

    #[test]
    fn what_is_only_said_needs_no_disk() {
        let name = || "foo".parse().unwrap();
        let revoke = |only_say| Command::Revoke {
            name: name(),
            node: "b".to_owned(),
            keep: Keep::Nobody,
            only_say,
        };
        let close = |only_say| Command::CloseInvite {
            name: name(),
            invite: "abcdefghij".to_owned(),
            keep: Keep::Nobody,
            only_say,
        };
        for command in [
            Command::Acts { name: name() },
            Command::Invites { name: name() },
            revoke(true),
            close(true),
        ] {
            assert!(!changes(&command), "{command:?}");
        }
        for command in [revoke(false), close(false)] {
            assert!(changes(&command), "{command:?}");
        }
    }
}
