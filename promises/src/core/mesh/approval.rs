//! Admission by an owner: what a node is answered that asks, and whom an owner means.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::{answer, refusal};
use crate::core::effect::{Notice, Reply};
use crate::core::error::CommandError;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::acting::{Deed, admissions};
use crate::core::mesh::applicants::{Heard, Way};
use crate::core::mesh::phase::Phase;
use crate::core::mesh::roster::{BEGINNING, begins, quoted};
use crate::core::mesh::wishes::bootstrap_at;
use crate::core::peers::Peers;
use crate::core::protocol::{AdmitAnswer, AdmitRequest, NetworkAbout, NetworkAsk};
use crate::core::record::Change;
use crate::core::step::Step;
use crate::network::admission::AdmissionRequest;
use crate::network::carried::Carried;
use crate::network::charter::AdmissionRule;
use crate::network::code::Code;
use crate::network::invite::Bootstrap;
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// The shortest beginning of a node id that names a node that only asks: it has made its key itself, and made as many as
/// it wanted.
const BEGINNING_OF_A_STRANGER: usize = 12;
/// Codes in one error.
const SHOWN: usize = 8;

/// Whom an owner means.
enum Meant {
    Node(NodeId),
    /// A node that nobody here has heard of.
    Unknown(Code),
}

/// An owner decides.
impl Mesh {
    /// Admits a node, as an owner: one that asked, that this node knows by its key, or, once it asks, one with a code;
    /// or one that owners put out, whatever way the network admits. Only says who would be back with it, if that is all
    /// that is wanted.
    pub(crate) fn approve(
        &mut self,
        node: &str,
        only_say: bool,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        self.own_office(local)?;
        let by_name = self.roster.charter().admission == AdmissionRule::Approve;
        let meant = match self.meant(node)? {
            Meant::Node(node) => Some(node),
            Meant::Unknown(code) if by_name && only_say => return Ok(Reply::Expected(code)),
            Meant::Unknown(code) if by_name => return self.expect(code, step),
            Meant::Unknown(_) => None,
        };
        let no_such = || CommandError::NoSuchNode {
            name: self.name().clone(),
            node: quoted(node),
        };
        let node = meant.ok_or_else(no_such)?;
        let is_rooted = self.roster.ledger().authority().is_rooted(&node);
        if is_rooted || (!by_name && self.roster.is_member(&node)) {
            return Ok(Reply::Unchanged);
        }
        if !by_name && !self.roster.is_out(&node) {
            return Err(self.was_not_put_out(node));
        }
        let deed = self.admission_of(node, local, step)?;
        let affected = deed.affected(Some(&node), BTreeSet::new());
        if !only_say {
            self.carry_out(deed, local, step);
        }
        Ok(Reply::Raised { node, affected })
    }

    /// Admits a node, and gives the text of that, for a person to carry to it. It leads to this node and to `others`.
    pub(crate) fn print_admission(
        &mut self,
        node: &str,
        others: Vec<Bootstrap>,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        self.own_office(local)?;
        let rule = self.roster.charter().admission;
        if rule != AdmissionRule::Approve {
            let name = self.name().clone();
            return Err(CommandError::NoApproval { name, rule });
        }
        let Phase::Member(own) = &self.phase else {
            return Err(CommandError::NotAMember(self.name().clone()));
        };
        let bootstrap = bootstrap_at(own, local.id(), Vec::new(), others)?;
        let node = match self.meant(node)? {
            Meant::Node(node) => node,
            Meant::Unknown(code) => return Err(CommandError::NeedsKey(code)),
        };
        if !self.roster.ledger().authority().is_rooted(&node) {
            self.admit(node, local, step)?;
        }
        let acts = self.roster.ledger().acts().rooting(&node);
        let admission = Carried {
            charter: self.roster.charter().clone(),
            bootstrap,
            node,
            acts: acts.into_iter().cloned().collect(),
        };
        Ok(Reply::Admission(admission.to_text()))
    }

    /// Admits a node by name.
    fn admit(
        &mut self,
        node: NodeId,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<(), CommandError> {
        let deed = self.admission_of(node, local, step)?;
        self.carry_out(deed, local, step);
        Ok(())
    }

    fn admission_of(
        &self,
        node: NodeId,
        local: &Local,
        step: &Step<'_>,
    ) -> Result<Deed, CommandError> {
        let admissions = admissions(&BTreeSet::from([node]), &self.roster);
        self.consider(admissions, local, step)
    }

    /// Keeps a code, for the node that will ask with it.
    fn expect(&mut self, code: Code, step: &mut Step<'_>) -> Result<Reply, CommandError> {
        if !self.codes.keep(code, step.time()) {
            return Err(CommandError::TooManyCodes(self.name().clone()));
        }
        self.store_codes(step);
        Ok(Reply::Expected(code))
    }

    /// Forgets a code that was accepted before its node asked.
    pub(crate) fn forget_code(&mut self, code: Code, step: &mut Step<'_>) -> Reply {
        if !self.codes.take(code, step.time()) {
            return Reply::Unchanged;
        }
        self.store_codes(step);
        Reply::Changed
    }

    fn store_codes(&self, step: &mut Step<'_>) {
        let codes = self.codes.all().to_vec();
        self.roster.store(Change::Expected(codes), step.effects);
    }

    fn was_not_put_out(&self, node: NodeId) -> CommandError {
        CommandError::WasNotPutOut {
            name: self.name().clone(),
            node,
            rule: self.roster.charter().admission,
        }
    }

    /// The node that an owner means: by its id, its code, its label or the beginning of its id; among those that asked,
    /// and those that are in or were. What reads as a code is nothing else: a label is what its node says.
    fn meant(&self, text: &str) -> Result<Meant, CommandError> {
        if let Ok(node) = text.parse() {
            return Ok(Meant::Node(node));
        }
        let mut known: BTreeMap<NodeId, (String, usize)> = BTreeMap::new();
        let asking = self.applicants.labels();
        known.extend(asking.map(|(node, label)| (node, (label, BEGINNING_OF_A_STRANGER))));
        let promised = self.roster.labels();
        known.extend(promised.map(|(node, label)| (node, (label, BEGINNING))));
        let network = self.id();
        if let Ok(code) = text.parse() {
            // So do twelve characters of an id, which is as hard to come by.
            let is_meant = |node: &&NodeId| {
                Code::of(&network, node) == code || begins(*node, text, BEGINNING_OF_A_STRANGER)
            };
            let node = known.keys().find(is_meant);
            return Ok(node.map_or(Meant::Unknown(code), |node| Meant::Node(*node)));
        }
        let is_meant = |(node, (label, least)): &(&NodeId, &(String, usize))| {
            label == text || begins(node, text, *least)
        };
        let found: Vec<NodeId> = known
            .iter()
            .filter(is_meant)
            .map(|(node, _)| *node)
            .collect();
        match found.as_slice() {
            [one] => Ok(Meant::Node(*one)),
            [] => Err(CommandError::NoSuchNode {
                name: self.name().clone(),
                node: quoted(text),
            }),
            many => {
                let codes = many.iter().take(SHOWN);
                Err(CommandError::AmbiguousApplicant {
                    label: quoted(text),
                    count: many.len(),
                    codes: codes.map(|node| Code::of(&network, node)).collect(),
                })
            }
        }
    }
}

/// A node asks.
impl Mesh {
    /// A node asks to be admitted, directly or through a member.
    pub(super) fn answer_admit(
        &mut self,
        peer: NodeId,
        request: &AdmitRequest,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        let Some(signed) = request.open() else {
            let why = "an admission request that does not hold".to_owned();
            peers.misbehaved(peer, why, step);
            return refusal("the request does not hold");
        };
        let charter = self.roster.charter();
        if signed.network != self.id()
            || !self.phase.is_member()
            || charter.admission != AdmissionRule::Approve
        {
            return refusal("this network does not admit in that way");
        }
        if peer != signed.node && !self.roster.is_member(&peer) {
            return refusal("only members pass requests of others on");
        }
        if self.roster.is_out(&signed.node) {
            return refusal("an owner put the node out");
        }
        self.admit_if_expected(&signed.node, local, step);
        let acts = self.roster.ledger().acts().rooting(&signed.node);
        if !acts.is_empty() {
            let acts = acts.iter().map(|act| act.bytes().to_vec().into());
            return answer(&AdmitAnswer {
                acts: acts.collect(),
                recovery: None,
            });
        }
        self.hear(peer, &signed, request, local, peers, step);
        let recovery = self.roster.last_of_recovery_key();
        answer(&AdmitAnswer {
            acts: Vec::new(),
            recovery: recovery.map(|act| act.bytes().to_vec().into()),
        })
    }

    /// Admits a node whose code was accepted before it asked, if this node is an owner still, knows what it did before, and
    /// can write it down: the act first, then that the code has served.
    fn admit_if_expected(&mut self, node: &NodeId, local: &Local, step: &mut Step<'_>) {
        let may_act = local.remembers() && !self.awaits_own_acts(local);
        if self.codes.all().is_empty() || !may_act {
            return;
        }
        let (code, now) = (Code::of(&self.id(), node), step.time());
        let mut codes = self.codes.clone();
        if !codes.take(code, now) {
            return;
        }
        let is_rooted = self.roster.ledger().authority().is_rooted(node);
        if is_rooted || self.admit(*node, local, step).is_ok() {
            self.codes = codes;
            self.store_codes(step);
        }
    }

    /// Puts a node on the list of those that ask, and passes the request on to the owners that this node is connected to,
    /// if it is none.
    fn hear(
        &mut self,
        peer: NodeId,
        signed: &Signed<AdmissionRequest>,
        request: &AdmitRequest,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let is_owner = self.roster.is_owner(&local.id());
        let way = Way {
            through: peer,
            from: peers.links().remote(&peer).map(|addr| addr.ip()),
        };
        let authority = self.roster.ledger().authority();
        let is_admitted = |node: &NodeId| authority.is_rooted(node);
        let heard = self.applicants.hear(signed, way, step.now, is_admitted);
        match heard {
            Heard::NoRoom | Heard::Soon => return,
            Heard::New if is_owner => {
                let (name, node) = (self.name().clone(), signed.node);
                step.effects.notice(Notice::AdmissionAsked {
                    name,
                    node,
                    label: signed.label.clone(),
                    code: Code::of(&self.id(), &node),
                });
            }
            Heard::New | Heard::Again => {}
        }
        let owners = authority
            .owners()
            .filter(|owner| !is_owner && **owner != peer && peers.is_up(owner));
        for owner in owners.copied().collect::<Vec<_>>() {
            let ask = NetworkAsk::Admit(request.clone());
            self.request(owner, ask, NetworkAbout::Admit, peers, step);
        }
    }
}
