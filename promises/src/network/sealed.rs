//! What this node verified, sealed for its own disk: at its next start it need not verify that again.
//!
//! A seal is a keyed hash of the statement under a key that follows from the node's key, the network and the promise of
//! its members: under another text, other rules may hold, and everything is verified anew. A statement whose seal does
//! not match, or that has none, is one like any other.

use zeroize::Zeroizing;

use crate::network::charter::Charter;
use crate::network::statement::{Signed, Trust};
use grid_keys::NodeKey;

/// What a sealed statement begins with; none that is not sealed begins so.
const MARK: u8 = 1;
/// Bytes of a seal.
const LENGTH: usize = 16;
/// By how much a seal makes a statement longer.
pub const SEAL: usize = 1 + LENGTH;
/// What the key is derived for.
const CONTEXT: &str = "grid 2026-11 statements that a node verified";

/// What this node seals the statements of one network with.
pub(crate) struct Sealer(Zeroizing<[u8; 32]>);

impl Sealer {
    pub(crate) fn new(key: &NodeKey, charter: &Signed<Charter>) -> Self {
        let seed = key.seed();
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(seed.expose());
        hasher.update(&charter.network().0.to_bytes());
        hasher.update(&charter.contract.to_bytes());
        Self(Zeroizing::new(hasher.finalize().into()))
    }

    /// The form for the disk of a statement of which every signature was verified.
    pub(crate) fn seal(&self, statement: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(SEAL + statement.len());
        sealed.push(MARK);
        sealed.extend_from_slice(&self.of(statement));
        sealed.extend_from_slice(statement);
        sealed
    }

    /// A statement from disk, and whether this node verified it.
    pub(crate) fn open<'a>(&self, kept: &'a [u8]) -> (&'a [u8], Trust) {
        let Some((&MARK, sealed)) = kept.split_first() else {
            return (kept, Trust::Nobody);
        };
        match sealed.split_first_chunk::<LENGTH>() {
            // Whoever can write to the disk learns nothing by how long this takes: it holds the key.
            Some((seal, statement)) if self.of(statement) == *seal => (statement, Trust::Verified),
            Some((_, statement)) => (statement, Trust::Nobody),
            None => (kept, Trust::Nobody),
        }
    }

    fn of(&self, statement: &[u8]) -> [u8; LENGTH] {
        let hash = blake3::keyed_hash(&self.0, statement);
        let mut seal = [0; LENGTH];
        for (to, from) in seal.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        seal
    }
}

#[cfg(test)]
mod tests {
    use minicbor::bytes::ByteVec;

    use super::*;
    use crate::network::charter::AdmissionRule;
    use crate::network::ledger::Ledger;
    use crate::network::testing::{T0, charter, forged, key, promise, signed};

    fn loaded(charter: &Signed<Charter>, sealer: &Sealer, kept: &[Vec<u8>]) -> Ledger {
        let mut ledger = Ledger::new(charter.clone());
        ledger.load_kept(kept.iter().map(|kept| sealer.open(kept)), T0);
        ledger
    }

    #[test]
    fn what_is_sealed_is_not_verified_again_and_a_changed_byte_is_noticed() {
        let charter = charter(AdmissionRule::Open);
        let sealer = Sealer::new(&key(1), &charter);
        // Its signature is wrong, which shows whether anybody looks.
        let statement = forged(signed(promise(&charter, 2, 1), 2));
        let sealed = sealer.seal(&statement);
        assert_eq!(sealer.open(&sealed), (&statement[..], Trust::Verified));
        let is_taken = |kept: &[u8]| !loaded(&charter, &sealer, &[kept.to_vec()]).is_empty();
        assert!(is_taken(&sealed));
        assert!(!is_taken(&statement));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 2;
            assert_eq!(sealer.open(&changed).1, Trust::Nobody, "byte {at}");
            assert!(!is_taken(&changed), "byte {at}");
        }
        for cut in 0..sealed.len() {
            assert!(!is_taken(&sealed[..cut]), "cut at {cut}");
        }
        // Nor is the proof that the WireGuard key is its own, which is the dearest.
        let mut unproved = promise(&charter, 2, 1);
        unproved.possession[5] ^= 1;
        let unproved = signed(unproved, 2);
        assert!(is_taken(&sealer.seal(&unproved)));
        assert!(!is_taken(&unproved));
        // Of another node, or under another text.
        let others = Sealer::new(&key(3), &charter);
        assert_eq!(others.open(&sealed).1, Trust::Nobody);
        let mut body = charter.body().clone();
        body.contract = crate::ContentId::of(b"another contract");
        let amended = Signed::sign(body, &key(1)).unwrap();
        let later = Sealer::new(&key(1), &amended);
        assert_eq!(later.open(&sealed).1, Trust::Nobody);
    }

    #[test]
    fn what_was_kept_without_a_seal_or_with_a_wrong_one_is_verified() {
        let charter = charter(AdmissionRule::Open);
        let sealer = Sealer::new(&key(1), &charter);
        let statement = signed(promise(&charter, 2, 1), 2);
        let mut spoilt = sealer.seal(&statement);
        spoilt[3] ^= 1;
        for kept in [statement.clone(), spoilt] {
            let ledger = loaded(&charter, &sealer, &[kept]);
            assert!(ledger.knows(&statement));
            // And sealed the next time.
            let kept = ledger.kept(&key(1).id(), &sealer);
            assert_eq!(kept, [sealer.seal(&statement)]);
        }
    }

    /// A node may show a receipt that nobody gave it. It is left out, and must not come back as a good one.
    #[test]
    fn a_promise_that_holds_in_part_is_not_sealed() {
        let charter = charter(AdmissionRule::Open);
        let sealer = Sealer::new(&key(1), &charter);
        let mut shows = promise(&charter, 2, 1);
        shows.receipts = vec![ByteVec::from(b"nobody's word".to_vec())];
        let statement = signed(shows, 2);
        let ledger = loaded(&charter, &sealer, std::slice::from_ref(&statement));
        assert!(ledger.knows(&statement));
        assert_eq!(ledger.kept(&key(1).id(), &sealer), [statement]);
    }
}
