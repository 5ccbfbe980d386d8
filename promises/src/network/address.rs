//! Which addresses a node may have: an IPv6 address that nobody else comes by, and a series of IPv4 candidates.
//!
//! Both follow from hashes alone. Who holds an address when two want it is decided in
//! [`view`](crate::network::view).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use crate::network::ids::NetworkId;
use grid_keys::NodeId;

/// How many candidates a node tries before it calls a range full.
pub const MAX_CANDIDATES: u32 = 1 << 20;

/// How many zero bits the hash of a modifier begins with. They cost every node some 20 ms, once, and whoever wants the
/// address of another 2^16 times as many hashes: 2^67 to hit one of 8192 members.
pub const WORK_BITS: usize = 16;

/// SHA-256 over a domain, a zero byte, and parts of fixed length.
pub(crate) fn hash(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    hasher(domain, parts).finalize().into()
}

/// The same before its end.
fn hasher(domain: &str, parts: &[&[u8]]) -> Sha256 {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    hasher.update([0]);
    for part in parts {
        hasher.update(part);
    }
    hasher
}

/// Whether a network may use this IPv4 range.
///
/// # Errors
/// The rule that it breaks: /8 to /30, unicast, and neither loopback, link-local nor "this network".
pub fn check_range(range: Ipv4Net) -> Result<(), &'static str> {
    if !(8..=30).contains(&range.prefix_len()) {
        return Err("the prefix length of an IPv4 range must be 8 to 30");
    }
    if range.addr() != range.network() {
        return Err("the IPv4 range has host bits set");
    }
    let first = range.network();
    if first.is_loopback()
        || first.is_multicast()
        || first.is_link_local()
        || first.octets()[0] == 0
        || first.octets()[0] >= 224
    {
        return Err("the IPv4 range is not one that hosts can have");
    }
    Ok(())
}

/// Whether nobody can have this IPv4 range on the internet: RFC 1918, RFC 6598.
#[must_use]
pub fn is_private(range: Ipv4Net) -> bool {
    const PRIVATE: [([u8; 4], u8); 4] = [
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
    ];
    PRIVATE
        .iter()
        .filter_map(|(octets, length)| Ipv4Net::new((*octets).into(), *length).ok())
        .any(|private| private.contains(&range))
}

/// A node's address as its interface has it: with the length of the range that it lies in, which is of the same
/// family.
#[must_use]
pub fn on_interface(address: IpAddr, range: impl Into<IpNet>) -> IpNet {
    IpNet::new(address, range.into().prefix_len()).unwrap_or_else(|_| IpNet::from(address))
}

/// How many addresses of a range hosts can have: all but the network's and the broadcast address.
#[must_use]
pub const fn usable(range: Ipv4Net) -> u32 {
    let bits = 32 - range.prefix_len() as u32;
    if bits < 2 {
        0
    } else {
        (u32::MAX >> (32 - bits)) - 1
    }
}

/// Whether a host of the range can have this address.
#[must_use]
pub fn is_usable(range: Ipv4Net, address: Ipv4Addr) -> bool {
    range.contains(&address) && address != range.network() && address != range.broadcast()
}

/// A node's candidate number `k`: `SHA-256("grid/1 ipv4 candidate", network, node, k)`, its first
/// eight bytes modulo the number of usable addresses.
#[must_use]
pub fn candidate(network: &NetworkId, range: Ipv4Net, node: &NodeId, k: u32) -> Ipv4Addr {
    let hash = hash(
        "grid/1 ipv4 candidate",
        &[&network.0.to_bytes(), &node.0, &k.to_be_bytes()],
    );
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    let usable = u64::from(usable(range).max(1));
    let index = u32::try_from(u64::from_be_bytes(first) % usable).unwrap_or(0);
    Ipv4Addr::from(
        u32::from(range.network())
            .wrapping_add(1)
            .wrapping_add(index),
    )
}

/// The first of a node's candidates from number `from` on that nobody holds.
///
/// Returns the number and the address; `None` when the range is full.
#[must_use]
pub fn first_free(
    network: &NetworkId,
    range: Ipv4Net,
    node: &NodeId,
    from: u32,
    held: &BTreeSet<Ipv4Addr>,
) -> Option<(u32, Ipv4Addr)> {
    let taken = held
        .iter()
        .filter(|address| is_usable(range, **address))
        .count();
    if taken as u64 >= u64::from(usable(range)) {
        return None;
    }
    // Draws needed to meet the last free address grow with the range; small ranges stop early.
    let limit = usable(range).saturating_mul(64).clamp(1024, MAX_CANDIDATES);
    // A node that has moved on does not come back to what it lost, unless nothing else is left.
    (from..limit)
        .chain(0..from.min(limit))
        .map(|k| (k, candidate(network, range, node, k)))
        .find(|(_, address)| !held.contains(address))
}

/// A node's IPv6 address by a modifier: the network's /64, and the first eight bytes of
/// `SHA-256("grid/1 ipv6 host", network, node, modifier)`. `None` if the modifier is none of the node's: of a second
/// hash of the same, the first [`WORK_BITS`] bits have to be zero, and the host must not.
///
/// So whoever wants the address of another has to find both hashes at once. A node that takes what comes has to find
/// only one of them, once (RFC 3972 calls that the hash extension).
#[must_use]
pub fn ipv6(
    prefix: Ipv6Net,
    network: &NetworkId,
    node: &NodeId,
    modifier: u32,
) -> Option<Ipv6Addr> {
    let work = hasher("grid/1 ipv6 work", &[&network.0.to_bytes(), &node.0]);
    let is_own = has_work(work, modifier);
    is_own.then(|| host(prefix, network, node, modifier))?
}

/// The first of a node's modifiers from number `from` on, and the address by it. Takes some 65 536 hashes.
#[must_use]
pub fn first_ipv6(
    prefix: Ipv6Net,
    network: &NetworkId,
    node: &NodeId,
    from: u32,
) -> Option<(u32, Ipv6Addr)> {
    let work = hasher("grid/1 ipv6 work", &[&network.0.to_bytes(), &node.0]);
    (from..=u32::MAX)
        .filter(|modifier| has_work(work.clone(), *modifier))
        .find_map(|modifier| Some((modifier, host(prefix, network, node, modifier)?)))
}

fn has_work(work: Sha256, modifier: u32) -> bool {
    let hash = work.chain_update(modifier.to_be_bytes()).finalize();
    hash.iter().take(WORK_BITS / 8).all(|byte| *byte == 0)
}

/// `None` for the host zero, the subnet routers' anycast address (RFC 4291 section 2.6.1).
fn host(prefix: Ipv6Net, network: &NetworkId, node: &NodeId, modifier: u32) -> Option<Ipv6Addr> {
    let parts: [&[u8]; 3] = [&network.0.to_bytes(), &node.0, &modifier.to_be_bytes()];
    let hash = hash("grid/1 ipv6 host", &parts);
    let mut octets = prefix.network().octets();
    octets[8..].copy_from_slice(&hash[..8]);
    (octets[8..] != [0; 8]).then(|| Ipv6Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use proptest::prelude::*;

    fn network() -> NetworkId {
        NetworkId(ContentId::of(b"a charter"))
    }

    #[test]
    fn ranges_that_hosts_cannot_have_are_refused() {
        for good in [
            "10.7.0.0/16",
            "192.168.0.0/24",
            "100.64.0.0/10",
            "172.16.0.0/30",
        ] {
            assert_eq!(check_range(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "10.0.0.0/7",
            "10.0.0.0/31",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "169.254.0.0/16",
            "10.1.0.1/16",
        ] {
            assert!(check_range(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_range_has_no_candidate() {
        let range: Ipv4Net = "10.0.0.0/30".parse().unwrap();
        let node = NodeId([1; 32]);
        let mut held = BTreeSet::new();
        for _ in 0..2 {
            let (_, address) = first_free(&network(), range, &node, 0, &held).unwrap();
            assert!(held.insert(address));
        }
        assert_eq!(first_free(&network(), range, &node, 0, &held), None);
    }

    #[test]
    fn the_last_free_address_is_found_in_a_crowded_range() {
        let range: Ipv4Net = "10.0.0.0/22".parse().unwrap();
        let last: Ipv4Addr = "10.0.2.77".parse().unwrap();
        let held: BTreeSet<_> = range.hosts().filter(|address| *address != last).collect();
        let (_, found) = first_free(&network(), range, &NodeId([9; 32]), 0, &held).unwrap();
        assert_eq!(found, last);
    }

    #[test]
    fn ipv6_addresses_are_permanent_and_inside_the_prefix() {
        let prefix: Ipv6Net = "fd00:1:2:3::/64".parse().unwrap();
        let (node, other) = (NodeId([7; 32]), NodeId([8; 32]));
        let first = first_ipv6(prefix, &network(), &node, 0).unwrap();
        let (modifier, address) = first;
        assert!(prefix.contains(&address));
        assert_eq!(first_ipv6(prefix, &network(), &node, 0), Some(first));
        assert_eq!(ipv6(prefix, &network(), &node, modifier), Some(address));
        // Every other modifier before it is none, and the next one gives another address.
        assert!((0..modifier).all(|k| ipv6(prefix, &network(), &node, k).is_none()));
        let (next, elsewhere) = first_ipv6(prefix, &network(), &node, modifier + 1).unwrap();
        assert!(next > modifier && elsewhere != address);
        // It is a modifier of one node in one network.
        let foo = NetworkId(ContentId::of(b"another charter"));
        assert_eq!(ipv6(prefix, &network(), &other, modifier), None);
        assert_eq!(ipv6(prefix, &foo, &node, modifier), None);
        // Nor are its 64 bits those of the node in another network, where the modifier is its own there too.
        assert_eq!(host(prefix, &network(), &node, modifier), Some(address));
        assert_ne!(host(prefix, &foo, &node, modifier), Some(address));
        assert_ne!(host(prefix, &network(), &other, modifier), Some(address));
    }

    #[test]
    fn what_somebody_has_on_the_internet_is_not_private() {
        for private in [
            "10.0.0.0/8",
            "10.9.0.0/16",
            "172.31.0.0/16",
            "192.168.7.0/24",
            "100.127.0.0/16",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "8.0.0.0/8",
            "172.32.0.0/16",
            "192.168.0.0/15",
            "100.128.0.0/16",
            "11.0.0.0/16",
            "192.0.0.0/8",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    proptest! {
        #[test]
        fn candidates_are_usable(bytes: [u8; 32], k: u32, len in 8u8..=30) {
            let range = Ipv4Net::new("10.0.0.0".parse().unwrap(), len).unwrap().trunc();
            prop_assert!(is_usable(range, candidate(&network(), range, &NodeId(bytes), k)));
        }
    }
}
