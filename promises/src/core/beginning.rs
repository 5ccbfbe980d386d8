//! How a network comes to be one of this node: found on disk, founded, or about to be joined.

use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::network::{Network, Outgoing, Phase};
use crate::core::record::{Change, NetworkRecord};
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step, links};
use crate::network::admission::Admission;
use crate::network::charter::{AdmissionRule, Charter, NetworkId};
use crate::network::invite::Bootstrap;
use crate::network::ledger::{Item, Ledger};
use crate::network::member::{Member, Standing};
use crate::network::statement::Signed;
use grid_keys::Secret;
use grid_keys::WgSecretKey;

/// Everything that makes a new network of this node.
pub(crate) struct Beginning {
    pub(crate) charter: Signed<Charter>,
    pub(crate) secret: Option<Secret<32>>,
    pub(crate) admission: Option<Admission>,
    pub(crate) bootstrap: Vec<Bootstrap>,
    /// The last promise, in a network that was left before.
    pub(crate) last_promise: Option<Vec<u8>>,
}

impl Core {
    /// Takes a network over that was found on disk.
    pub(crate) fn restore(&mut self, record: NetworkRecord, step: &mut Step<'_>) {
        let Some(private_key) = record.private_key.clone() else {
            self.left.insert(record.name().clone(), record);
            return;
        };
        let now = step.now.timestamp();
        let mut ledger = Ledger::new(record.charter.clone());
        for bytes in &record.statements {
            // What lapsed meanwhile, or is damaged, is had again from the members.
            let _ = ledger.insert_bytes(bytes, now);
        }
        let admission = record
            .admission
            .as_ref()
            .and_then(|raw| Admission::decode(raw, &record.charter, &self.id).ok());
        let mut net = Network::new(
            ledger,
            record.secret,
            private_key,
            record.listen_port,
            admission,
        );
        net.rules = record.rules;
        net.judge = record.judge;
        net.bootstrap = record.bootstrap;
        if let Some(bytes) = &record.promise
            && let Ok(own) = Member::decode(bytes, &record.charter)
            && own.node() == self.id
        {
            take_up(&mut net, own, now);
        }
        let network = net.id();
        self.networks.insert(network, net);
        self.begin_timers(network, step);
        self.update_facts();
    }

    pub(crate) fn begin_timers(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let now = step.now;
        let pause = links::jitter(timers::ANTI_ENTROPY, step.entropy);
        self.timers.set(Timer::AntiEntropy(network), now + pause);
        self.timers
            .set(Timer::Housekeeping(network), now + timers::HOUSEKEEPING);
        match self.networks.get(&network).map(|net| &net.phase) {
            Some(Phase::Member) => self
                .timers
                .set(Timer::Resign(network), now + timers::RESIGN),
            Some(Phase::Joining) => {
                self.timers
                    .set(Timer::ClaimAnyway(network), now + timers::CLAIM_ANYWAY);
            }
            Some(Phase::Waiting) => {
                self.timers
                    .set(Timer::AskAgain(network), now + timers::ASK_AGAIN);
            }
            Some(Phase::Expelled(_)) | None => {}
        }
    }

    /// Founds a network.
    pub(crate) fn found(
        &mut self,
        charter: Signed<Charter>,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let secret =
            (charter.admission == AdmissionRule::Invite).then(|| Secret::generate(step.entropy));
        let network = charter.network();
        self.begin(
            Beginning {
                charter,
                secret,
                admission: Some(Admission::default()),
                bootstrap: Vec::new(),
                last_promise: None,
            },
            listen_port,
            step,
        );
        self.claim(network, step);
        self.joined_reply(&network).ok_or_else(|| {
            let range = self.networks.get(&network).map(|net| net.ranges().0);
            CommandError::RangeFull(range.unwrap_or_default())
        })
    }

    pub(crate) fn begin(
        &mut self,
        beginning: Beginning,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> NetworkId {
        let Beginning {
            charter,
            secret,
            admission,
            bootstrap,
            last_promise,
        } = beginning;
        let private_key = WgSecretKey::generate(step.entropy);
        let network = charter.network();
        let record = NetworkRecord {
            charter: charter.clone(),
            secret: secret.clone(),
            private_key: Some(private_key.clone()),
            listen_port,
            admission: admission.as_ref().map(Admission::raw),
            promise: last_promise.clone(),
            statements: Vec::new(),
            rules: Vec::new(),
            judge: None,
            bootstrap: bootstrap.clone(),
        };
        let mut net = Network::new(
            Ledger::new(charter),
            secret,
            private_key,
            listen_port,
            admission,
        );
        net.bootstrap = bootstrap;
        if let Some(last) =
            last_promise.and_then(|bytes| Member::decode(&bytes, net.ledger.charter()).ok())
        {
            net.sequence_floor = last.promise().sequence;
        }
        net.store(Change::Network(Box::new(record)), &mut self.effects);
        self.networks.insert(network, net);
        self.begin_timers(network, step);
        self.update_facts();
        network
    }
}

/// Takes up a promise of this node that was found on disk.
fn take_up(net: &mut Network, own: Member, now: crate::time::Timestamp) {
    let promise = own.promise().clone();
    net.claim = Some(promise.ipv4);
    net.prefixes = promise.prefixes.iter().copied().collect();
    net.receipts = own.receipts().to_vec();
    if net.admission.is_none() {
        net.admission = Some(own.admission().clone());
    }
    if promise.standing == Standing::Withdrawn {
        // Killed between withdrawing and leaving, or joining again: the next promise overtakes it.
        net.sequence_floor = promise.sequence;
        net.claim = None;
        return;
    }
    net.phase = Phase::Member;
    net.own_member = Some(own.clone());
    if net.ledger.insert(Item::Member(Box::new(own)), now).is_ok() {
        net.outbox.push(Outgoing {
            bytes: promise.bytes().to_vec(),
            source: None,
        });
    }
    net.own = Some(promise);
}
