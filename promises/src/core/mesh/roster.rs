//! Who is in a network, as far as this node knows: the statements, and the view that follows from
//! them.
//!
//! The view is as of the last [`review`](Roster::review); statements that came in since are in the
//! ledger only.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::bytes::ByteVec;

use crate::core::batches::first_batch;
use crate::core::effect::{Departure, Effect, Notice};
use crate::core::error::CommandError;
use crate::core::neighbours::Neighbours;
use crate::core::record::Change;
use crate::core::step::Queue;
use crate::limits::MAX_LABEL;
use crate::network::act::{Act, ActId, Action, OfficeId};
use crate::network::acts;
use crate::network::admission::{Admission, Link};
use crate::network::charter::Charter;
use crate::network::evidence::Evidence;
use crate::network::ids::NetworkId;
use crate::network::ledger::{Item, Ledger, Merged, Refusal};
use crate::network::member::{Member, MemberPromise};
use crate::network::name::NetworkName;
use crate::network::sealed::Sealer;
use crate::network::statement::Signed;
use crate::network::view::{Presence, View};
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::{NodeId, NodeKey, WgPublicKey};

/// The statements of a network, and who is in it by them.
pub(crate) struct Roster {
    ledger: Ledger,
    view: View,
    neighbours: Neighbours,
}

impl Roster {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            view: View::default(),
            neighbours: Neighbours::default(),
        }
    }

    pub(crate) const fn id(&self) -> NetworkId {
        self.ledger.network()
    }

    pub(crate) fn name(&self) -> &NetworkName {
        &self.ledger.charter().name
    }

    pub(crate) const fn charter(&self) -> &Signed<Charter> {
        self.ledger.charter()
    }

    pub(crate) fn ranges(&self) -> (Ipv4Net, Ipv6Net) {
        (self.ledger.charter().ipv4, self.ledger.charter().ipv6)
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) const fn view(&self) -> &View {
        &self.view
    }

    /// What receipts are worth, as of the last review.
    pub(crate) const fn evidence(&self, now: Timestamp) -> Evidence<'_> {
        Evidence::with(&self.ledger, &self.view.standings, now)
    }

    /// The other members, in this node's orders of preference as neighbours.
    pub(crate) const fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The last promise of a node, whether it is a member or not.
    pub(crate) fn promise_of(&self, node: &NodeId) -> Option<&Signed<MemberPromise>> {
        self.ledger.promise_of(node).map(Member::promise)
    }

    /// Whether these bytes are the last promise of a node.
    pub(crate) fn is_promise_of(&self, node: &NodeId, bytes: &[u8]) -> bool {
        self.promise_of(node)
            .is_some_and(|promise| promise.bytes() == bytes)
    }

    pub(crate) fn is_member(&self, node: &NodeId) -> bool {
        self.view.members.contains_key(node)
    }

    /// Whether owners put a node out: by its key, or by the admission that it showed last.
    pub(crate) fn is_out(&self, node: &NodeId) -> bool {
        let authority = self.ledger.authority();
        let shown = self.ledger.promise_of(node);
        let ruling = shown.map_or(Ok(()), |member| authority.rule(self.charter(), member));
        authority.is_out(node) || !matches!(ruling, Ok(()) | Err(Void::NotAdmitted))
    }

    /// Whether nobody that this node knows admitted the node of a promise.
    pub(crate) fn is_strange(&self, member: &Member) -> bool {
        let ruling = self.ledger.authority().rule(self.charter(), member);
        ruling == Err(Void::NotAdmitted)
    }

    /// Whether nobody let a member in, nor whoever it came by: in an open network, as many can come as have keys.
    pub(crate) fn came_by_itself(&self, member: &Member) -> bool {
        let authority = self.ledger.authority();
        let line = authority.line(member.admission(), &member.node());
        line.is_none()
    }

    /// Whether a node is an owner now.
    pub(crate) fn is_owner(&self, node: &NodeId) -> bool {
        self.ledger.authority().is_owner(node)
    }

    /// The acts that show a node why it is out, if it is, and the last one of the recovery key: by the admission that it
    /// `showed`, or the one in its last promise. Where an owner was dismissed, those up to the last one that counts are among them: of an
    /// office whose acts are not all known up to there, nothing counts, and the node would take itself for a member.
    pub(crate) fn acts_about<'a>(
        &'a self,
        node: &NodeId,
        showed: Option<&'a Admission>,
    ) -> impl Iterator<Item = &'a Signed<Act>> {
        let promised = || self.ledger.promise_of(node).map(Member::admission);
        let links = showed.or_else(promised).map_or(&[][..], Admission::links);
        let is_on_it = move |node: &NodeId| {
            let on = |link: &Link| link.issuer() == *node || link.node() == *node;
            links.iter().any(on)
        };
        let node = *node;
        let concerns = move |action: &Action| match action {
            Action::Appoint { .. } | Action::Dismiss { .. } => true,
            Action::Revoke { node: revoked } => *revoked == node || is_on_it(revoked),
            Action::Close { invite, .. } => links.iter().any(|link| link.grant.invite == *invite),
            Action::Admit { .. } => false,
        };
        let authority = self.ledger.authority();
        let last = self.last_of_recovery_key().map(|act| act.act_id());
        let is_about = move |id: &ActId, act: &Act| {
            concerns(&act.action) || authority.leads_to_a_cut(id) || last == Some(*id)
        };
        let acts = self.ledger.acts().in_order();
        acts.filter(move |(id, act)| is_about(id, act))
            .map(|(_, act)| act)
    }

    /// The last act of the recovery key. Whoever has that key may be no member, and would begin a second branch without
    /// it.
    pub(crate) fn last_of_recovery_key(&self) -> Option<&Signed<Act>> {
        let office = OfficeId::founding(&self.id(), &self.charter().recovery?);
        let acts = self.ledger.acts();
        acts.held().get(&acts.head(&office).1)
    }

    /// The acts that show that a node is a member, where its admission alone does not: those by which it is rooted; and
    /// those that made void what put it out, which whoever takes it for out does not know. As many as a message holds.
    pub(crate) fn acts_for(&self, node: &NodeId, admission: Option<&Admission>) -> Vec<ByteVec> {
        let acts = self.ledger.acts();
        let counts = |act: &Act| acts.authority().counts(&act.act_id());
        let is_restored = self.acts_about(node, admission).any(|act| !counts(act));
        let about = is_restored.then(|| self.acts_about(node, admission));
        let about = about.into_iter().flatten().filter(|act| counts(act));
        let shown = acts.rooting(node).into_iter().chain(about);
        first_batch(shown.map(Signed::bytes)).0
    }

    /// Keeps an act of the recovery key in mind, without what it follows on.
    pub(crate) fn go_on_from(&mut self, act: Signed<Act>) {
        self.ledger.go_on_from(act);
    }

    /// Puts a ledger in place of this one, which has all that this one had.
    pub(crate) fn replace_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// Merges acts of owners.
    pub(crate) fn insert_acts(&mut self, acts: Vec<Signed<Act>>, now: Timestamp) -> acts::Merged {
        self.ledger.insert_acts(acts, now)
    }

    /// Members that are there, without this node.
    pub(crate) fn others<'a>(&'a self, own: &'a NodeId) -> impl Iterator<Item = &'a NodeId> {
        self.view
            .live()
            .map(|(node, _)| node)
            .filter(move |node| *node != own)
    }

    /// The WireGuard keys of everybody who ever promised one and is not forgotten.
    pub(crate) fn public_keys(&self) -> BTreeSet<WgPublicKey> {
        self.ledger
            .members()
            .values()
            .map(|member| member.promise().public_key)
            .collect()
    }

    pub(crate) fn insert(&mut self, item: Item, now: Timestamp) -> Result<Merged, Refusal> {
        self.ledger.insert(item, now)
    }

    /// Those of some acts that are not held.
    pub(crate) fn lacks(&self, acts: impl IntoIterator<Item = ActId>) -> BTreeSet<ActId> {
        let held = self.ledger.acts().held();
        acts.into_iter()
            .filter(|id| !held.contains_key(id))
            .collect()
    }

    /// Merges a promise of this node, whose time it is to know.
    pub(crate) fn insert_own(&mut self, own: Member, now: Timestamp) -> Result<Merged, Refusal> {
        self.ledger.insert_kept(own, now)
    }

    /// Forgets what lapsed. Returns whether anything did.
    pub(crate) fn prune(&mut self, now: Timestamp) -> bool {
        !self.ledger.prune(now).is_empty()
    }

    /// Recomputes the view from the statements.
    pub(crate) fn review(&mut self, now: Timestamp) {
        self.view = View::of(&self.ledger, now);
    }

    /// Reorders the neighbours if the members changed.
    pub(crate) fn update_neighbours(&mut self, own: &NodeId) {
        let members: BTreeSet<NodeId> = self.others(own).copied().collect();
        if !self.neighbours.are(&members) {
            self.neighbours = Neighbours::of(&self.id(), own, &members);
        }
    }

    /// Stores a change of this network.
    pub(crate) fn store(&self, change: Change, effects: &mut Queue) {
        effects.push(Effect::Store {
            network: self.id(),
            name: self.name().clone(),
            change,
        });
    }

    /// Stores the statements, without this node's own promise, which is stored by itself.
    pub(crate) fn store_statements(&self, key: &NodeKey, effects: &mut Queue) {
        let sealer = Sealer::new(key, self.charter());
        let statements = self.ledger.kept(&key.id(), &sealer);
        self.store(Change::Statements(statements), effects);
    }

    /// The presence of every member, to compare with after a review.
    pub(crate) fn presences(&self) -> BTreeMap<NodeId, Presence> {
        self.view
            .members
            .iter()
            .map(|(node, member)| (*node, member.presence))
            .collect()
    }

    /// Reports who came and went since `before`.
    pub(crate) fn report_changes(
        &self,
        before: &BTreeMap<NodeId, Presence>,
        own: &NodeId,
        effects: &mut Queue,
    ) {
        let live = |presence: Option<&Presence>| presence == Some(&Presence::Live);
        for (node, member) in &self.view.members {
            if node == own || live(before.get(node)) || member.presence != Presence::Live {
                continue;
            }
            if let Some(promise) = self.promise_of(node) {
                effects.notice(Notice::MemberJoined {
                    name: self.name().clone(),
                    node: *node,
                    label: promise.label.clone(),
                    address: promise.ipv4.address,
                });
            }
        }
        for (node, _) in before.iter().filter(|(_, presence)| live(Some(presence))) {
            let why = match self.view.members.get(node).map(|member| member.presence) {
                Some(Presence::Live) => continue,
                Some(Presence::Lapsed) => Departure::Lapsed,
                Some(Presence::Left) => Departure::Left,
                None if self.is_out(node) => Departure::Revoked,
                None => Departure::NotAdmitted,
            };
            if node != own {
                effects.notice(Notice::MemberGone {
                    name: self.name().clone(),
                    node: *node,
                    why,
                });
            }
        }
    }

    /// The node that a person means by a name, among those that promised something: of several, one that is
    /// there.
    pub(crate) fn resolve(&self, name: &str) -> Result<NodeId, CommandError> {
        let there = self.labels().filter(|(node, _)| self.view.is_live(node));
        match pick(self.name(), name, there.collect()) {
            Err(CommandError::NoSuchNode { .. } | CommandError::TooShort { .. }) => {
                pick(self.name(), name, self.labels().collect())
            }
            found => found,
        }
    }

    /// What the nodes call themselves that promised something.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (NodeId, String)> {
        self.ledger
            .promises()
            .map(|member| (member.node(), member.promise().label.as_str().to_owned()))
    }
}

/// A node by its id, or by its label or the beginning of its id (4 characters or more). Whoever is called like the
/// beginning of another's id makes that ambiguous, and no more: a label is what its node says.
pub(crate) fn pick(
    network: &NetworkName,
    name: &str,
    known: Vec<(NodeId, String)>,
) -> Result<NodeId, CommandError> {
    if let Ok(id) = name.parse::<NodeId>() {
        return Ok(id);
    }
    let is_meant = |(id, label): &&(NodeId, String)| label == name || begins(id, name, BEGINNING);
    let found: Vec<NodeId> = known.iter().filter(is_meant).map(|(id, _)| *id).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] if known.iter().any(|(id, _)| begins(id, name, 1)) => Err(CommandError::TooShort {
            node: quoted(name),
            least: BEGINNING,
        }),
        [] => Err(CommandError::NoSuchNode {
            name: network.clone(),
            node: quoted(name),
        }),
        many => Err(CommandError::AmbiguousNode {
            node: quoted(name),
            count: many.len(),
        }),
    }
}

/// Letters of an id from which on a beginning of it names it.
pub(crate) const BEGINNING: usize = 4;

/// Whether a text of `least` letters or more is the beginning of an id.
pub(crate) fn begins(id: &impl ToString, text: &str, least: usize) -> bool {
    text.len() >= least && id.to_string().starts_with(&text.to_ascii_lowercase())
}

/// As much of a name as a label can have: what no node is called may be of any length.
pub(crate) fn quoted(name: &str) -> String {
    name.chars().take(MAX_LABEL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_called_like_another_s_id_is_not_taken_for_it() {
        let foo: NetworkName = "foo".parse().unwrap();
        let (one, other) = (NodeId([1; 32]), NodeId([0xee; 32]));
        let short: String = one.to_string().chars().take(10).collect();
        let known = |label: &str| vec![(one, "web1".to_owned()), (other, label.to_owned())];
        assert_eq!(pick(&foo, &short, known("web2")), Ok(one));
        assert_eq!(pick(&foo, "web2", known("web2")), Ok(other));
        for (beginning, error) in [(3, true), (4, false)] {
            let found = pick(&foo, &short[..beginning], known("web2"));
            let too_short = matches!(found, Err(CommandError::TooShort { .. }));
            assert_eq!(too_short, error, "{found:?}");
        }
        assert!(matches!(
            pick(&foo, &short, known(&short)),
            Err(CommandError::AmbiguousNode { count: 2, .. })
        ));
        assert_eq!(pick(&foo, &one.to_string(), known(&short)), Ok(one));
    }
}
