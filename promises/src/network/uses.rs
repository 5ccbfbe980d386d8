//! Who used an invite, since when, and who wins where more did than it allows.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::INVITE_GRACE;
use crate::network::address;
use crate::network::admission::{Admission, Grant, Link, heard_since};
use crate::network::authority::Authority;
use crate::network::member::Member;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// Since when a member has been seen to use the invite that it came by: on the word of the one who made
/// the invite, or of an owner.
///
/// Those further up do not count here. Anybody can admit the maker of an invite once more, by an invite
/// of its own, without being asked; its word would then decide who was first with the other's invite.
#[must_use]
pub fn evidence_of_use(authority: &Authority, member: &Member) -> Option<Timestamp> {
    let last = member.admission().links().last()?;
    let seen = witnessed_by(authority, member, std::slice::from_ref(last));
    earlier(seen, in_link(authority, last))
}

/// Since when the node of one link of a member's admission has been seen to use its invite, as far as that member's
/// promise shows.
pub(crate) fn seen_since(
    authority: &Authority,
    member: &Member,
    position: usize,
) -> Option<Timestamp> {
    let links = member.admission().links();
    if position + 1 == links.len() {
        evidence_of_use(authority, member)
    } else {
        in_link(authority, links.get(position)?)
    }
}

/// What a link itself shows.
pub(crate) fn in_link(authority: &Authority, link: &Link) -> Option<Timestamp> {
    let seen = link.seen.as_ref()?;
    heard_since(seen, std::slice::from_ref(link), authority)
}

/// Since when the signers of any of `links`, or an owner, have seen the node at the end of the chain as a
/// member.
pub(crate) fn witnessed_by(
    authority: &Authority,
    member: &Member,
    links: &[Link],
) -> Option<Timestamp> {
    member
        .membership_receipts()
        .filter_map(|receipt| heard_since(receipt, links, authority))
        .min()
}

/// Who used one grant, and since when each has been seen to.
#[derive(Debug)]
pub(crate) struct Uses<'a> {
    grant: &'a Signed<Grant>,
    nodes: BTreeMap<NodeId, Option<Timestamp>>,
}

/// How a use of an invite ranks among others: the older evidence first, then the lower hash.
pub(crate) type UseRank = (Timestamp, [u8; 32]);

/// What decides between uses that are as old.
pub(crate) fn use_hash(grant: &Grant, node: &NodeId) -> [u8; 32] {
    address::hash("grid/1 invite use", &[&grant.invite.0, &node.0])
}

/// Until when a first use is believed without having been seen.
pub(crate) fn deadline(grant: &Grant) -> Timestamp {
    grant.expires.after(INVITE_GRACE)
}

/// Until when the use of the invite that a member came by counts: while its promise is retained, and where it was seen,
/// for as long as somebody else could use the invite.
pub(crate) fn count_until(authority: &Authority, member: &Member) -> Timestamp {
    let retained = member.retained_until();
    let last = member.admission().links().last();
    let left = last.map(|link| deadline(&link.grant));
    let left = left.filter(|until| *until > retained);
    let left = left.filter(|_| evidence_of_use(authority, member).is_some());
    left.unwrap_or(retained)
}

impl<'a> Uses<'a> {
    /// The uses of every grant on these admissions, by the content ids of the grants.
    ///
    /// What a member shows by another way is no evidence for this one: receipts name the admission.
    pub(crate) fn of_all(
        authority: &Authority,
        members: impl Iterator<Item = &'a Member>,
        traces: impl Iterator<Item = &'a Admission>,
    ) -> BTreeMap<ContentId, Self> {
        let mut all = BTreeMap::new();
        for member in members {
            for (position, link) in member.admission().links().iter().enumerate() {
                let since = seen_since(authority, member, position);
                Self::add(&mut all, link, since);
            }
        }
        for trace in traces {
            for link in trace.links() {
                Self::add(&mut all, link, in_link(authority, link));
            }
        }
        all
    }

    fn add(all: &mut BTreeMap<ContentId, Self>, link: &'a Link, since: Option<Timestamp>) {
        let grant = &link.grant;
        let uses = all.entry(grant.id()).or_insert_with(|| Self::new(grant));
        let known = uses.nodes.entry(link.node()).or_default();
        *known = earlier(*known, since);
    }

    const fn new(grant: &'a Signed<Grant>) -> Self {
        Self {
            grant,
            nodes: BTreeMap::new(),
        }
    }

    /// Since when a node has been seen to use it.
    pub(crate) fn since(&self, node: &NodeId) -> Option<Timestamp> {
        self.nodes.get(node).copied().flatten()
    }

    /// How a node's use ranks among the others.
    fn rank(&self, node: &NodeId) -> UseRank {
        let since = self.since(node).unwrap_or(Timestamp(u64::MAX));
        (since, use_hash(self.grant, node))
    }

    /// As many as the grant allows, the best first: those who win it when more used it than that.
    /// `None` if there is no contest.
    pub(crate) fn winners(&self) -> Option<BTreeSet<NodeId>> {
        let allowed = self.grant.uses as usize;
        (self.nodes.len() > allowed).then(|| {
            let mut ranked: Vec<_> = self
                .nodes
                .keys()
                .map(|node| (self.rank(node), *node))
                .collect();
            ranked.sort_unstable();
            ranked.truncate(allowed);
            ranked.into_iter().map(|(_, node)| node).collect()
        })
    }

    /// Whether the use by the node of the link at `position` of a member's admission was seen in time, or
    /// may still be. Without this, whoever finds an old invite could date a use of it back.
    ///
    /// Where nothing shows since when that node was there, those above it may have seen the node at the
    /// end of the chain as a member: then they knew those on the way to it.
    pub(crate) fn is_in_time(
        &self,
        authority: &Authority,
        member: &Member,
        position: usize,
        now: Timestamp,
    ) -> bool {
        let links = member
            .admission()
            .links()
            .get(..=position)
            .unwrap_or_default();
        let Some(user) = links.last().map(Link::node) else {
            return true;
        };
        let deadline = deadline(self.grant);
        let in_time = |since: Option<Timestamp>| since.is_some_and(|since| since <= deadline);
        let witnessed = || witnessed_by(authority, member, links);
        now <= deadline
            || in_time(self.since(&user))
            || in_time(witnessed())
            || (user != member.node() && witnessed().is_some())
    }
}

/// Whether a use that a node shows without a promise was seen before its invite expired, or the invite can still be
/// used.
pub(crate) fn is_timely(authority: &Authority, link: &Link, now: Timestamp) -> bool {
    let deadline = deadline(&link.grant);
    now <= deadline || in_link(authority, link).is_some_and(|since| since <= deadline)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}
