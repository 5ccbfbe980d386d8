//! What two nodes do with their ledgers, and what holds for every ledger.

use std::collections::BTreeSet;

use grid_promises::Timestamp;
use grid_promises::network::ledger::Ledger;
use grid_promises::network::view::{Presence, View};

/// One exchange as two nodes do it: `a` asks with its index, `b` answers with what `a` lacks and
/// with the ids of what it lacks itself, and `a` sends those.
pub fn exchange(a: &mut Ledger, b: &mut Ledger, now: Timestamp) {
    let index = a.index();
    let (for_a, wanted) = {
        let difference = b.compare(&index);
        let for_a: Vec<Vec<u8>> = difference.they_lack.iter().map(|s| s.to_vec()).collect();
        (
            for_a,
            difference.i_lack.iter().copied().collect::<BTreeSet<_>>(),
        )
    };
    let for_b: Vec<Vec<u8>> = a.statements_of(&wanted).map(<[u8]>::to_vec).collect();
    for bytes in for_a {
        let _ = a.insert_bytes(&bytes, now);
    }
    for bytes in for_b {
        let _ = b.insert_bytes(&bytes, now);
    }
}

/// Exchanges until both hold the same; says how often it took.
pub fn settle(a: &mut Ledger, b: &mut Ledger, now: Timestamp) -> usize {
    for round in 0..8 {
        if a.root() == b.root() {
            assert!(a.compare(&b.index()).they_lack.is_empty());
            assert!(a.compare(&b.index()).i_lack.is_empty());
            return round;
        }
        exchange(a, b, now);
    }
    panic!("no end of exchanging");
}

/// What holds for every view.
pub fn assert_sound(ledger: &Ledger, now: Timestamp) {
    let index = ledger.index();
    let keys: BTreeSet<_> = index.iter().map(|entry| entry.key).collect();
    assert_eq!(
        keys.len(),
        index.len(),
        "two statements have one key in the index"
    );
    let view = View::of(ledger, now);
    for (address, holder) in &view.addresses {
        let member = view.members.get(holder).unwrap();
        assert_eq!(member.ipv4, Some(*address));
    }
    let mut addresses = BTreeSet::new();
    for (node, member) in &view.members {
        assert!(!view.refused.contains_key(node));
        assert!(!ledger.authority().is_out(node));
        let promise = ledger.members().get(node).unwrap().promise();
        if let Some(address) = member.ipv4 {
            assert_eq!(view.addresses.get(&address), Some(node));
            assert_eq!(promise.ipv4.address, address);
            assert!(addresses.insert(address), "{address} is held twice");
        }
        assert_eq!(member.lost_to.is_none(), member.ipv4.is_some());
        assert_eq!(view.is_live(node), member.presence == Presence::Live);
    }
}
