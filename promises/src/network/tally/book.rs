//! The uses of one grant, in the orders in which they win and lose.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::SPARE_USES;
use crate::network::admission::{Grant, Link};
use crate::network::authority::Authority;
use crate::network::held;
use crate::network::member::Member;
use crate::network::statement::Signed;
use crate::network::trace::{Trace, TraceId};
use crate::network::uses::{UseRank, deadline, in_link, seen_since, use_hash, witnessed_by};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What shows that grants were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Promise(held::Place),
    Trace(TraceId),
}

/// What one promise or trace says of one grant on its admission.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) grant: ContentId,
    allowed: usize,
    deadline: Timestamp,
    /// Who used it.
    user: NodeId,
    hash: [u8; 32],
    /// Since when the user has been seen to, as far as this shows.
    since: Option<Timestamp>,
    role: Role,
}

/// What the node of a promise has to do with a grant on its admission.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// No place depends on it.
    Aside,
    /// It used it itself. Those who vouched for it saw it then, if anybody did.
    User(Option<Timestamp>),
    /// It came by way of the user. Whether those above saw it.
    Guest { witnessed: bool },
}

impl Mark {
    /// One for each grant on a member's admission.
    pub(super) fn all_of(authority: &Authority, member: &Member) -> Vec<Self> {
        let node = member.node();
        let links = member.admission().links();
        let first = authority.first_that_counts(member.admission(), &node);
        let marks = links.iter().enumerate().map(|(position, link)| {
            let user = link.node();
            let up_to = links.get(..=position).unwrap_or_default();
            let witnessed = || witnessed_by(authority, member, up_to);
            let role = if position < first {
                Role::Aside
            } else if user == node {
                Role::User(witnessed())
            } else {
                Role::Guest {
                    witnessed: witnessed().is_some(),
                }
            };
            Self::new(link, seen_since(authority, member, position), role)
        });
        marks.collect()
    }

    /// One for each grant on a trace's admission.
    pub(super) fn all_of_trace(authority: &Authority, trace: &Trace) -> Vec<Self> {
        let links = trace.admission().links().iter();
        let mark = |link| Self::new(link, in_link(authority, link), Role::Aside);
        links.map(mark).collect()
    }

    fn new(link: &Link, since: Option<Timestamp>, role: Role) -> Self {
        let grant: &Signed<Grant> = &link.grant;
        let user = link.node();
        Self {
            grant: grant.id(),
            allowed: grant.uses as usize,
            deadline: deadline(grant),
            user,
            hash: use_hash(grant, &user),
            since,
            role,
        }
    }
}

/// A user's place among the others.
type Place = (UseRank, NodeId);

/// One who used the grant, by what all promises together show.
#[derive(Clone, Debug)]
struct User {
    hash: [u8; 32],
    /// How many promises and traces have that use on their admissions.
    shown: usize,
    /// Since when it has been seen, by what shows that.
    since: BTreeSet<(Timestamp, Source)>,
    /// Its places by that use, and since when it was seen by any of those who vouched for it, as far as these show it.
    own: BTreeMap<held::Place, Option<Timestamp>>,
    /// The places of those who came by way of it, and whether those above it saw them.
    guests: BTreeMap<held::Place, bool>,
    unwitnessed: usize,
}

impl User {
    fn seen(&self) -> Option<Timestamp> {
        self.since.first().map(|(since, _)| *since)
    }

    fn place(&self, node: &NodeId) -> Place {
        let since = self.seen().unwrap_or(Timestamp(u64::MAX));
        ((since, self.hash), *node)
    }
}

/// The users whose guests have one fate.
#[derive(Clone, Debug, Default)]
struct Hosts {
    users: BTreeSet<NodeId>,
    guests: usize,
    unwitnessed: usize,
}

/// The uses of one grant.
#[derive(Clone, Debug)]
pub(super) struct Book {
    allowed: usize,
    /// Until when a first use is believed without having been seen.
    deadline: Timestamp,
    users: BTreeMap<NodeId, User>,
    /// Those who have been seen: as many as the grant allows, the best, and the others.
    won: BTreeSet<Place>,
    lost: BTreeSet<Place>,
    /// Those who have places by it: seen in time, and not.
    timely: BTreeSet<Place>,
    late: BTreeSet<Place>,
    /// By whether they are among those who won, and whether they were seen in time.
    hosts: BTreeMap<(bool, bool), Hosts>,
}

impl Book {
    pub(super) fn new(mark: &Mark) -> Self {
        Self {
            allowed: mark.allowed,
            deadline: mark.deadline,
            users: BTreeMap::new(),
            won: BTreeSet::new(),
            lost: BTreeSet::new(),
            timely: BTreeSet::new(),
            late: BTreeSet::new(),
            hosts: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Those who have been seen to use it.
    pub(super) fn seen(&self) -> impl Iterator<Item = &NodeId> {
        self.won.iter().chain(&self.lost).map(|(_, node)| node)
    }

    /// Takes in what a promise or trace says.
    pub(super) fn write(&mut self, source: &Source, mark: &Mark) {
        let user = self.take_out(&mark.user);
        let mut user = user.unwrap_or_else(|| User {
            hash: mark.hash,
            shown: 0,
            since: BTreeSet::new(),
            own: BTreeMap::new(),
            guests: BTreeMap::new(),
            unwitnessed: 0,
        });
        user.shown += 1;
        user.since.extend(mark.since.map(|since| (since, *source)));
        match (mark.role, source) {
            (Role::Aside, _) | (_, Source::Trace(_)) => {}
            (Role::User(witnessed), Source::Promise(place)) => {
                user.own.insert(*place, witnessed);
            }
            (Role::Guest { witnessed }, Source::Promise(place)) => {
                user.unwitnessed += usize::from(!witnessed);
                user.guests.insert(*place, witnessed);
            }
        }
        self.put_in(mark.user, user);
    }

    /// Takes that back.
    pub(super) fn strike(&mut self, source: &Source, mark: &Mark) {
        let Some(mut user) = self.take_out(&mark.user) else {
            return;
        };
        user.shown = user.shown.saturating_sub(1);
        if let Some(since) = mark.since {
            user.since.remove(&(since, *source));
        }
        match (mark.role, source) {
            (Role::Aside, _) | (_, Source::Trace(_)) => {}
            (Role::User(_), Source::Promise(place)) => {
                user.own.remove(place);
            }
            (Role::Guest { witnessed }, Source::Promise(place)) => {
                user.unwitnessed -= usize::from(!witnessed);
                user.guests.remove(place);
            }
        }
        if user.shown > 0 {
            self.put_in(mark.user, user);
        }
    }

    fn is_in_time(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| since <= self.deadline)
    }

    fn take_out(&mut self, node: &NodeId) -> Option<User> {
        let user = self.users.remove(node)?;
        let place = user.place(node);
        let has_won = self.won.remove(&place);
        self.lost.remove(&place);
        self.timely.remove(&place);
        self.late.remove(&place);
        self.let_go(node, &user, has_won);
        if has_won && let Some(next) = self.lost.pop_first() {
            self.won.insert(next);
            self.change_sides(&next.1, true);
        }
        Some(user)
    }

    fn put_in(&mut self, node: NodeId, user: User) {
        let place = user.place(&node);
        let mut has_won = false;
        if user.seen().is_some() {
            self.won.insert(place);
            has_won = true;
            if self.won.len() > self.allowed
                && let Some(last) = self.won.pop_last()
            {
                self.lost.insert(last);
                has_won = last != place;
                if has_won {
                    self.change_sides(&last.1, false);
                }
            }
        }
        let mut witnessed = user.own.values();
        if user.own.is_empty() {
            // No place hangs on it.
        } else if self.is_in_time(user.seen()) || witnessed.any(|seen| self.is_in_time(*seen)) {
            self.timely.insert(place);
        } else {
            self.late.insert(place);
        }
        self.host(&node, &user, has_won);
        self.users.insert(node, user);
    }

    /// A user is among those who won now, or no longer.
    fn change_sides(&mut self, node: &NodeId, has_won: bool) {
        if let Some(user) = self.users.remove(node) {
            self.let_go(node, &user, !has_won);
            self.host(node, &user, has_won);
            self.users.insert(*node, user);
        }
    }

    fn host(&mut self, node: &NodeId, user: &User, has_won: bool) {
        if user.guests.is_empty() {
            return;
        }
        let fate = (has_won, self.is_in_time(user.seen()));
        let hosts = self.hosts.entry(fate).or_default();
        hosts.users.insert(*node);
        hosts.guests += user.guests.len();
        hosts.unwitnessed += user.unwitnessed;
    }

    fn let_go(&mut self, node: &NodeId, user: &User, has_won: bool) {
        let fate = (has_won, self.is_in_time(user.seen()));
        if let Some(hosts) = self.hosts.get_mut(&fate)
            && hosts.users.remove(node)
        {
            hosts.guests -= user.guests.len();
            hosts.unwitnessed -= user.unwitnessed;
        }
    }

    /// The places that are void because of this grant, and not kept.
    pub(super) fn beyond(&self, now: Timestamp) -> Vec<held::Place> {
        let mut beyond = self.users_beyond(now);
        beyond.extend(self.guests_beyond(now));
        beyond
    }

    fn users_beyond(&self, now: Timestamp) -> Vec<held::Place> {
        let is_open = now <= self.deadline;
        let all = self.timely.len() + self.late.len();
        let in_time = if is_open { all } else { self.timely.len() };
        let too_many = all.saturating_sub(in_time.min(self.allowed) + SPARE_USES);
        let worst_of = |places: &BTreeSet<Place>| {
            let worst = places.iter().rev().take(too_many);
            worst.copied().collect::<Vec<Place>>()
        };
        let mut worst = worst_of(&self.late);
        worst.extend(worst_of(&self.timely));
        if is_open {
            worst.sort_unstable_by(|a, b| b.cmp(a));
        }
        let worst = worst.into_iter().take(too_many);
        let users = worst.filter_map(|(_, node)| self.users.get(&node));
        users.flat_map(|user| user.own.keys()).copied().collect()
    }

    fn guests_beyond(&self, now: Timestamp) -> Vec<held::Place> {
        let is_settled = self.won.len() >= self.allowed;
        let is_open = now <= self.deadline;
        // Of each kind of hosts: whether their guests are void, all or those whom nobody above saw.
        let all_void = |(has_won, _): (bool, bool)| is_settled && !has_won;
        let some_void = |(_, in_time): (bool, bool)| !is_open && !in_time;
        let count = |(fate, hosts): (&(bool, bool), &Hosts)| match () {
            () if all_void(*fate) => hosts.guests,
            () if some_void(*fate) => hosts.unwitnessed,
            () => 0,
        };
        if self.hosts.iter().map(count).sum::<usize>() <= SPARE_USES {
            return Vec::new();
        }
        let mut void = BTreeSet::new();
        for (fate, hosts) in &self.hosts {
            let (all, some) = (all_void(*fate), some_void(*fate));
            if !all && !some {
                continue;
            }
            let users = hosts.users.iter().filter_map(|node| self.users.get(node));
            let guests = users.flat_map(|user| &user.guests);
            let guests = guests.filter(|(_, witnessed)| all || !**witnessed);
            void.extend(guests.map(|(place, _)| *place));
        }
        void.into_iter().skip(SPARE_USES).collect()
    }
}
