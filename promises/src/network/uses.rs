//! Who used an invite, since when, and who wins where more did than it allows.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::{INVITE_GRACE, SPARE_USES};
use crate::network::address;
use crate::network::admission::{Grant, Link, heard_since};
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
fn witnessed_by(authority: &Authority, member: &Member, links: &[Link]) -> Option<Timestamp> {
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
type UseRank = (Timestamp, [u8; 32]);

impl<'a> Uses<'a> {
    /// The uses of every grant on the admissions of `members`, by the content ids of the grants.
    ///
    /// What a member shows by another way is no evidence for this one: receipts name the admission.
    pub(crate) fn of_all(
        authority: &Authority,
        members: impl Iterator<Item = &'a Member>,
    ) -> BTreeMap<ContentId, Self> {
        let mut all = BTreeMap::new();
        for member in members {
            for (position, link) in member.admission().links().iter().enumerate() {
                let grant = &link.grant;
                let uses = all.entry(grant.id()).or_insert_with(|| Self::new(grant));
                uses.add(authority, member, position, link);
            }
        }
        all
    }

    /// Those of one grant.
    pub(crate) fn of(
        grant: &'a Signed<Grant>,
        authority: &Authority,
        members: impl Iterator<Item = &'a Member>,
    ) -> Self {
        let mut uses = Self::new(grant);
        for member in members {
            for (position, link) in member.admission().links().iter().enumerate() {
                if uses.is_link(link) {
                    uses.add(authority, member, position, link);
                }
            }
        }
        uses
    }

    const fn new(grant: &'a Signed<Grant>) -> Self {
        Self {
            grant,
            nodes: BTreeMap::new(),
        }
    }

    fn add(&mut self, authority: &Authority, member: &Member, position: usize, link: &Link) {
        let since = seen_since(authority, member, position);
        let known = self.nodes.entry(link.node()).or_default();
        *known = earlier(*known, since);
    }

    /// Since when a node has been seen to use it.
    pub(crate) fn since(&self, node: &NodeId) -> Option<Timestamp> {
        self.nodes.get(node).copied().flatten()
    }

    /// Those who have been seen to use it.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes
            .iter()
            .filter(|(_, since)| since.is_some())
            .map(|(node, _)| node)
    }

    /// How a node's use ranks among the others.
    pub(crate) fn rank(&self, node: &NodeId) -> UseRank {
        let since = self.since(node).unwrap_or(Timestamp(u64::MAX));
        let hash = address::hash("grid/1 invite use", &[&self.grant.invite.0, &node.0]);
        (since, hash)
    }

    /// As many as the grant allows, the best first: those who win it when more used it than that.
    /// `None` if there is no contest.
    pub(crate) fn winners(&self) -> Option<BTreeSet<NodeId>> {
        let allowed = self.grant.uses as usize;
        (self.nodes.len() > allowed).then(|| self.best(self.nodes.keys(), allowed))
    }

    /// Those who win it whatever is heard of the others: all of its uses were seen. `None` as long as
    /// some were not.
    fn settled(&self) -> Option<BTreeSet<NodeId>> {
        let allowed = self.grant.uses as usize;
        (self.seen().count() >= allowed).then(|| self.best(self.seen(), allowed))
    }

    fn best<'n>(&self, nodes: impl Iterator<Item = &'n NodeId>, count: usize) -> BTreeSet<NodeId> {
        let mut ranked: Vec<_> = nodes.map(|node| (self.rank(node), *node)).collect();
        ranked.sort();
        ranked.truncate(count);
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    /// Until when a first use is believed without having been seen.
    fn deadline(&self) -> Timestamp {
        self.grant.expires.after(INVITE_GRACE)
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
        let deadline = self.deadline();
        let in_time = |since: Option<Timestamp>| since.is_some_and(|since| since <= deadline);
        let witnessed = || witnessed_by(authority, member, links);
        now <= deadline
            || in_time(self.since(&user))
            || in_time(witnessed())
            || (user != member.node() && witnessed().is_some())
    }

    /// Of `members`, who all have this grant on their admissions, those that are void because of it and
    /// beyond what is kept to tell losers why: at most [`SPARE_USES`] of those who used it themselves,
    /// and as many of those whom the losers let in.
    ///
    /// Without this, whoever holds the key of an invite that others used up, or that expired, could fill
    /// every node's memory.
    pub(crate) fn beyond(
        &self,
        authority: &Authority,
        members: &[&Member],
        now: Timestamp,
    ) -> Vec<NodeId> {
        let settled = self.settled();
        let (mut users, mut guests) = (Vec::new(), Vec::new());
        for member in members {
            let links = member.admission().links();
            let first = authority.first_that_counts(member.admission(), &member.node());
            let counting = links.iter().enumerate().skip(first);
            let Some((position, link)) = counting.into_iter().find(|(_, link)| self.is_link(link))
            else {
                continue;
            };
            let user = link.node();
            let in_time = self.is_in_time(authority, member, position, now);
            if user == member.node() {
                users.push((!in_time, user));
            } else if !in_time || settled.as_ref().is_some_and(|won| !won.contains(&user)) {
                guests.push(member.node());
            }
        }
        let in_time = users.iter().filter(|(late, _)| !late).count();
        let kept = in_time.min(self.grant.uses as usize);
        let mut beyond = Vec::new();
        if users.len() > kept + SPARE_USES {
            users.sort_by_cached_key(|(late, user)| (*late, self.rank(user)));
            let worst = users.drain(kept + SPARE_USES..);
            beyond.extend(worst.map(|(_, user)| user));
        }
        guests.sort();
        beyond.extend(guests.into_iter().skip(SPARE_USES));
        beyond
    }

    fn is_link(&self, link: &Link) -> bool {
        link.grant.id() == self.grant.id()
    }
}

/// Whether a use that a node shows without a promise was seen before its invite expired, or the invite can still be
/// used.
pub(crate) fn is_timely(authority: &Authority, link: &Link, now: Timestamp) -> bool {
    let deadline = link.grant.expires.after(INVITE_GRACE);
    now <= deadline || in_link(authority, link).is_some_and(|since| since <= deadline)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}
