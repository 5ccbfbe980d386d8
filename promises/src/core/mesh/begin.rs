//! How a network comes to be one of this node: found on disk, founded, or about to be joined.

use std::collections::BTreeSet;

use crate::core::budget::Budget;
use crate::core::links::jitter;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::acceptance::Acceptance;
use crate::core::mesh::appeal::Appeal;
use crate::core::mesh::applicants::Applicants;
use crate::core::mesh::comparisons::Comparisons;
use crate::core::mesh::device::Device;
use crate::core::mesh::expected::Codes;
use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::own_invites::OwnInvites;
use crate::core::mesh::own_promise::OwnPromise;
use crate::core::mesh::paths::Paths;
use crate::core::mesh::phase::Phase;
use crate::core::mesh::rival::Rival;
use crate::core::mesh::roster::Roster;
use crate::core::mesh::witness::Witness;
use crate::core::mesh::work::Work;
use crate::core::record::{Change, NetworkRecord};
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use crate::network::act::{Act, ActId};
use crate::network::admission::Admission;
use crate::network::charter::Charter;
use crate::network::invite::Bootstrap;
use crate::network::ledger::Ledger;
use crate::network::member::{Ipv6Claim, Member, Standing};
use crate::network::sealed::Sealer;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::{Secret, WgSecretKey};

/// How often statements are compared again at once: enough for those of a full network, at 256 KiB a time.
const MAX_REPEATS: u32 = 64;

/// What a new network of this node begins with.
pub(crate) struct Beginning {
    pub(crate) charter: Signed<Charter>,
    pub(crate) secret: Option<Secret<32>>,
    pub(crate) admission: Option<Admission>,
    /// Acts of owners that it needs to understand its admission.
    pub(crate) acts: Vec<Signed<Act>>,
    pub(crate) bootstrap: Vec<Bootstrap>,
    /// Acts of owners that it has to hear of.
    pub(crate) awaited: Vec<ActId>,
    /// The last promise, in a network that was left before.
    pub(crate) last_promise: Option<Vec<u8>>,
}

impl Mesh {
    fn new(
        ledger: Ledger,
        secret: Option<Secret<32>>,
        device: Device,
        ipv6: Ipv6Claim,
        acceptance: Acceptance,
        bootstrap: Vec<Bootstrap>,
        phase: Phase,
    ) -> Self {
        Self {
            roster: Roster::new(ledger),
            secret,
            bootstrap,
            phase,
            rival: Rival::default(),
            pending: None,
            heard: false,
            awaited: BTreeSet::new(),
            knows_own_acts: false,
            acceptance,
            applicants: Applicants::default(),
            codes: Codes::default(),
            own_invites: OwnInvites::default(),
            witness: Witness::default(),
            outbox: Outbox::default(),
            work: Work::default(),
            paths: Paths::default(),
            device,
            repeats: Budget::new(MAX_REPEATS, timers::ANTI_ENTROPY),
            ipv6,
            comparisons: Comparisons::default(),
            appeal: Appeal::default(),
            dirty: true,
            refreshed_at: None,
            saved_at: None,
        }
    }

    /// Restores a network from what is on disk.
    pub(crate) fn restore(
        record: NetworkRecord,
        private_key: WgSecretKey,
        local: &Local,
        now: Timestamp,
    ) -> Self {
        let mut ledger = Ledger::new(record.charter.clone());
        ledger.belong_to(local.id());
        let sealer = Sealer::new(local.key(), &record.charter);
        let kept = record.statements.iter();
        ledger.load_kept(kept.map(|kept| sealer.open(kept)), now);
        let admission = record
            .admission
            .and_then(|raw| Admission::decode(&raw, &record.charter, &local.id()).ok());
        let last = record.promise;
        let last = last.and_then(|bytes| Member::decode(&bytes, &record.charter).ok());
        let last = last.filter(|own| own.node() == local.id());
        let network = record.charter.network();
        let mut mesh = Self::new(
            ledger,
            record.secret,
            Device::new(private_key, record.listen_port, &network, &local.id()),
            ipv6(&record.charter, local, last.as_ref()),
            Acceptance::new(record.rules, record.judge),
            record.bootstrap,
            Phase::new(admission.clone()),
        );
        mesh.codes = Codes::new(record.expected);
        mesh.own_invites = OwnInvites::new(record.issued);
        mesh.awaited = mesh.roster.lacks(record.awaited);
        if let Some(own) = last {
            mesh.restore_promise(own, admission, now);
        }
        mesh
    }

    fn restore_promise(&mut self, own: Member, admission: Option<Admission>, now: Timestamp) {
        if own.promise().standing == Standing::Withdrawn {
            // Killed between withdrawing and leaving, or joining again: the next promise overtakes it.
            self.rival = Rival::after(own.promise().sequence);
            self.phase = Phase::Joining {
                admission: admission.unwrap_or_else(|| own.admission().clone()),
                receipts: own.receipts().to_vec(),
            };
            return;
        }
        let bytes = own.promise().bytes().to_vec();
        if self.roster.insert_own(own.clone(), now).is_ok() {
            self.outbox.push(bytes, None);
        }
        self.phase = Phase::Member(OwnPromise::restored(own, admission));
    }

    /// Begins with a network, and stores it.
    pub(crate) fn begin(
        beginning: Beginning,
        listen_port: u16,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Self {
        let Beginning {
            charter,
            secret,
            admission,
            acts,
            bootstrap,
            awaited,
            last_promise,
        } = beginning;
        let private_key = WgSecretKey::generate(step.entropy);
        let record = NetworkRecord {
            charter: charter.clone(),
            secret: secret.clone(),
            private_key: Some(private_key.clone()),
            listen_port,
            admission: admission.as_ref().map(Admission::raw),
            promise: last_promise.clone(),
            statements: acts.iter().map(|act| act.bytes().to_vec()).collect(),
            rules: Vec::new(),
            judge: None,
            expected: Vec::new(),
            issued: Vec::new(),
            bootstrap: bootstrap.clone(),
            awaited: awaited.clone(),
        };
        let network = charter.network();
        let last = last_promise.and_then(|bytes| Member::decode(&bytes, &charter).ok());
        let ipv6 = ipv6(&charter, local, last.as_ref());
        let mut ledger = Ledger::new(charter);
        ledger.belong_to(local.id());
        ledger.insert_acts(acts, step.time());
        let mut mesh = Self::new(
            ledger,
            secret,
            Device::new(private_key, listen_port, &network, &local.id()),
            ipv6,
            Acceptance::new(Vec::new(), None),
            bootstrap,
            Phase::new(admission),
        );
        mesh.awaited = mesh.roster.lacks(awaited);
        if let Some(last) = last {
            mesh.rival = Rival::after(last.promise().sequence);
        }
        mesh.roster
            .store(Change::Network(Box::new(record)), step.effects);
        mesh
    }

    pub(crate) fn set_timers(&self, step: &mut Step<'_>) {
        let (network, now) = (self.id(), step.now);
        let pause = jitter(timers::ANTI_ENTROPY, step.entropy);
        let timers = &mut step.timers;
        timers.set(NetworkTimer::AntiEntropy.of(network), now + pause);
        timers.set(
            NetworkTimer::Housekeeping.of(network),
            now + timers::HOUSEKEEPING,
        );
        match &self.phase {
            Phase::Member(_) => timers.set(NetworkTimer::Resign.of(network), now + timers::RESIGN),
            Phase::Joining { .. } => {
                timers.set(
                    NetworkTimer::ClaimAnyway.of(network),
                    now + timers::CLAIM_ANYWAY,
                );
            }
            Phase::Waiting => {
                timers.set(NetworkTimer::AskAgain.of(network), now + timers::ASK_AGAIN)
            }
            Phase::Expelled { .. } => {}
        }
    }
}

/// The IPv6 address of this node in a network: the one that it promised last, or that by its first modifier.
fn ipv6(charter: &Signed<Charter>, local: &Local, last: Option<&Member>) -> Ipv6Claim {
    let again = last.map(|own| own.promise().ipv6);
    let found = again.or_else(|| Ipv6Claim::first(charter, &local.id(), 0));
    // Of 2^32 modifiers some 65 536 are a node's own. By one that is not, it could promise nothing.
    found.unwrap_or(Ipv6Claim {
        address: charter.ipv6.network(),
        modifier: 0,
    })
}
