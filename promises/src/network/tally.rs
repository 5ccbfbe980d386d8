//! Who used each grant, kept up as promises come and go: which of them are void because of it and beyond what is kept.
//!
//! The rule is that of [`uses`](crate::network::uses). Counted out for all users at each merge, it would make a merge
//! as dear as the invite is popular; here a promise that comes or goes costs the logarithm of that. What a promise says
//! of a grant depends on what owners did, so a tally is made anew when that changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::network::authority::Authority;
use crate::network::held::{Place, place_of};
use crate::network::member::Member;
use crate::network::trace::{Trace, TraceId};
use crate::network::uses::count_until;
use crate::time::Timestamp;
use grid_keys::NodeId;

mod book;

use book::{Book, Mark, Source};

/// The uses of every grant on the admissions of some promises and traces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    books: BTreeMap<ContentId, Book>,
    counted: BTreeMap<Source, Entry>,
    /// Until when each counts: those that do at `as_of`, and those that do no longer.
    live: BTreeSet<(Timestamp, Source)>,
    lapsed: BTreeSet<(Timestamp, Source)>,
    as_of: Timestamp,
}

/// What one promise or trace says of the grants on its admission.
#[derive(Clone, Debug)]
struct Entry {
    until: Timestamp,
    marks: Vec<Mark>,
}

impl Tally {
    /// That of these promises.
    pub(crate) fn of<'a>(
        authority: &Authority,
        promises: impl Iterator<Item = &'a Member>,
        traces: impl Iterator<Item = &'a Trace>,
        now: Timestamp,
    ) -> Self {
        let mut tally = Self {
            as_of: now,
            ..Self::default()
        };
        for member in promises {
            tally.put(authority, member);
        }
        for trace in traces {
            tally.put_trace(authority, trace);
        }
        tally
    }

    /// Counts a promise, in place of the one of the same node that shows the same admission. Whether its node is a member
    /// by it or by another does not matter: it has a place in either case.
    pub(crate) fn put(&mut self, authority: &Authority, member: &Member) {
        let entry = Entry {
            until: count_until(authority, member),
            marks: Mark::all_of(authority, member),
        };
        self.insert(Source::Promise(place_of(member)), entry);
    }

    /// Counts a trace, in place of the one with the same key.
    pub(crate) fn put_trace(&mut self, authority: &Authority, trace: &Trace) {
        let entry = Entry {
            until: trace.until(),
            marks: Mark::all_of_trace(authority, trace),
        };
        self.insert(Source::Trace(trace.key()), entry);
    }

    fn insert(&mut self, source: Source, entry: Entry) {
        self.strike_out(&source);
        let place = (entry.until, source);
        if entry.until < self.as_of {
            self.lapsed.insert(place);
        } else {
            self.live.insert(place);
            self.write(&source, &entry);
        }
        self.counted.insert(source, entry);
    }

    /// Counts the promise of a node that shows an admission no longer.
    pub(crate) fn remove(&mut self, place: &Place) {
        self.strike_out(&Source::Promise(*place));
    }

    /// Counts a trace no longer.
    pub(crate) fn remove_trace(&mut self, key: &TraceId) {
        self.strike_out(&Source::Trace(*key));
    }

    fn strike_out(&mut self, source: &Source) {
        let Some(entry) = self.counted.remove(source) else {
            return;
        };
        let place = (entry.until, *source);
        if !self.lapsed.remove(&place) {
            self.live.remove(&place);
            self.strike(source, &entry);
        }
    }

    /// Goes to a moment: what matters no longer by then does not count.
    pub(crate) fn go_to(&mut self, now: Timestamp) {
        self.as_of = now;
        while let Some(place) = self.live.first().copied().filter(|(until, _)| *until < now) {
            self.live.remove(&place);
            self.lapsed.insert(place);
            if let Some(entry) = self.counted.remove(&place.1) {
                self.strike(&place.1, &entry);
                self.counted.insert(place.1, entry);
            }
        }
        while let Some(place) = self
            .lapsed
            .last()
            .copied()
            .filter(|(until, _)| *until >= now)
        {
            self.lapsed.remove(&place);
            self.live.insert(place);
            if let Some(entry) = self.counted.remove(&place.1) {
                self.write(&place.1, &entry);
                self.counted.insert(place.1, entry);
            }
        }
    }

    /// Those who are void because of a grant and beyond what is kept to tell losers why: at most
    /// [`SPARE_USES`](crate::limits::SPARE_USES) of those who used it themselves, and as many of those whom the losers
    /// let in.
    ///
    /// Without this, whoever holds the key of an invite that others used up, or that expired, could fill every node's
    /// memory.
    pub(crate) fn beyond(&self, grant: &ContentId) -> Vec<Place> {
        let book = self.books.get(grant);
        book.map_or_else(Vec::new, |book| book.beyond(self.as_of))
    }

    /// The same of every grant.
    pub(crate) fn all_beyond(&self) -> impl Iterator<Item = Place> {
        self.books.values().flat_map(|book| book.beyond(self.as_of))
    }

    /// The nodes that have been seen to use a grant.
    pub(crate) fn seen_users(&self, grant: &ContentId) -> impl Iterator<Item = &NodeId> {
        self.books.get(grant).into_iter().flat_map(Book::seen)
    }

    fn write(&mut self, source: &Source, entry: &Entry) {
        for mark in &entry.marks {
            let new = || Book::new(mark);
            let book = self.books.entry(mark.grant).or_insert_with(new);
            book.write(source, mark);
        }
    }

    fn strike(&mut self, source: &Source, entry: &Entry) {
        for mark in &entry.marks {
            if let Some(book) = self.books.get_mut(&mark.grant) {
                book.strike(source, mark);
                if book.is_empty() {
                    self.books.remove(&mark.grant);
                }
            }
        }
    }
}
