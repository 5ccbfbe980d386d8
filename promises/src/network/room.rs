//! Room in a ledger: for whom it is, where more nodes were admitted than a node keeps.
//!
//! Room belongs to admissions, and goes by their [rank](crate::network::rank). Within all of it there is less for
//! those who came by one member who is no owner, less again for those who came by one of its invites, and so on down
//! the chain: whoever admits thousands fills its own share. Each share lies within the one above it, and no rank depends
//! on who else is there, so that of any set of admissions the same ones are kept, in whatever order they come.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::{MAX_BY_THEMSELVES, MAX_MEMBERS, MAX_THROUGH, MAX_TRACES};
use crate::network::address;
use crate::network::admission::{Admission, Link};
use crate::network::authority::Authority;
use crate::network::rank::AdmissionRank;
use grid_keys::NodeId;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In all.
    pub all: usize,
    /// For those whom no owner let in, and who came by one of them: in an open network.
    pub by_themselves: usize,
    /// For those who came by one member who is no owner. One invite of it has half of that; a guest has as much as the
    /// invite that it came by, and so on.
    pub through: usize,
}

impl Size {
    /// That of the members of a network.
    pub const OF_MEMBERS: Self = Self {
        all: MAX_MEMBERS,
        by_themselves: MAX_BY_THEMSELVES,
        through: MAX_THROUGH,
    };
    /// That of the traces of members who are gone.
    pub(crate) const OF_TRACES: Self = Self {
        all: MAX_TRACES,
        by_themselves: MAX_TRACES / 2,
        through: MAX_TRACES / 8,
    };
}

/// Those who share a part of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    All,
    /// Those that do not count.
    Void,
    /// Those whom no owner let in, and who came by one of them.
    ByThemselves,
    /// Those whose admissions begin alike, by a hash of that.
    Through([u8; 32]),
    /// Those whose admissions are alike but for who used the last invite.
    UsersOf([u8; 32]),
}

/// What an admission asks for.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    rank: AdmissionRank,
    /// Its shares, each within the one before it, and how much each holds.
    shares: Vec<(Share, usize)>,
}

impl Claim {
    /// That of the node at the end of an admission which ranks like this. Of `users` of one invite, by the same way,
    /// so many are kept.
    pub(crate) fn new(
        size: Size,
        authority: &Authority,
        admission: &Admission,
        node: &NodeId,
        rank: AdmissionRank,
        users: Option<usize>,
    ) -> Self {
        let mut shares = vec![(Share::All, size.all)];
        if authority.line(admission, node).is_none() {
            shares.push((Share::ByThemselves, size.by_themselves));
        }
        let first = authority.first_that_counts(admission, node);
        let links = admission.links().get(first..).unwrap_or_default();
        let is_by_owner =
            |link: &Link| link.grant.office.is_some() || authority.is_owner(&link.issuer());
        let through = |way: &[u8]| Share::Through(address::hash("grid/1 share", &[way]));
        let mut left = size.through;
        let mut way = Vec::new();
        for link in links {
            let by_owner = is_by_owner(link);
            way.extend_from_slice(&link.issuer().0);
            let of_issuer = through(&way);
            way.extend_from_slice(&link.grant.id().to_bytes());
            if !by_owner {
                shares.push((of_issuer, left));
                left = (left / 2).max(1);
                shares.push((through(&way), left));
            }
        }
        if let Some(most) = users {
            let share = Share::UsersOf(address::hash("grid/1 users", &[&way]));
            shares.push((share, most));
        }
        Self { rank, shares }
    }

    /// That of an admission that does not count: of those, `most` are kept.
    pub(crate) fn void(size: Size, rank: AdmissionRank, most: usize) -> Self {
        Self {
            rank: rank.void(),
            shares: vec![(Share::All, size.all), (Share::Void, most)],
        }
    }
}

/// There is no room: what has it ranks before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Who has room.
#[derive(Clone, Debug)]
pub(crate) struct Room<K> {
    size: Size,
    claims: BTreeMap<K, Claim>,
    shares: BTreeMap<Share, BTreeSet<(AdmissionRank, K)>>,
}

impl<K: Ord + Copy> Room<K> {
    pub(crate) const fn new(size: Size) -> Self {
        Self {
            size,
            claims: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    /// Gives room to these, as far as there is any. Returns who has none.
    pub(crate) fn among(
        size: Size,
        claims: impl Iterator<Item = (K, Claim)>,
    ) -> (Self, BTreeSet<K>) {
        let mut room = Self::new(size);
        let mut out = BTreeSet::new();
        for (key, claim) in claims {
            match room.put(key, claim) {
                Err(NoRoom) => _ = out.insert(key),
                Ok(other) => out.extend(other),
            }
        }
        (room, out)
    }

    pub(crate) const fn size(&self) -> Size {
        self.size
    }

    /// Who would have to make room for this one, if anybody.
    ///
    /// Of the shares that are full, only those in the smallest one can: it lies in all others.
    pub(crate) fn in_the_way(&self, key: &K, claim: &Claim) -> Result<Option<K>, NoRoom> {
        let of_its_own = self.claims.get(key).map_or(&[][..], |own| &own.shares);
        for (share, most) in claim.shares.iter().rev() {
            let Some(holders) = self.shares.get(share) else {
                continue;
            };
            let is_in_it = of_its_own.iter().any(|(own, _)| own == share);
            if holders.len() < *most + usize::from(is_in_it) {
                continue;
            }
            let worst = holders.iter().rev().find(|(_, holder)| holder != key);
            return match worst {
                Some((rank, holder)) if (claim.rank, *key) < (*rank, *holder) => Ok(Some(*holder)),
                _ => Err(NoRoom),
            };
        }
        Ok(None)
    }

    /// Gives room to this one, in place of what it had before. Returns who had to make room.
    pub(crate) fn put(&mut self, key: K, claim: Claim) -> Result<Option<K>, NoRoom> {
        let in_the_way = self.in_the_way(&key, &claim)?;
        self.remove(&key);
        if let Some(other) = &in_the_way {
            self.remove(other);
        }
        for (share, _) in &claim.shares {
            let holders = self.shares.entry(*share).or_default();
            holders.insert((claim.rank, key));
        }
        self.claims.insert(key, claim);
        Ok(in_the_way)
    }

    pub(crate) fn remove(&mut self, key: &K) {
        let Some(claim) = self.claims.remove(key) else {
            return;
        };
        for (share, _) in &claim.shares {
            if let Some(holders) = self.shares.get_mut(share) {
                holders.remove(&(claim.rank, *key));
                if holders.is_empty() {
                    self.shares.remove(share);
                }
            }
        }
    }
}
