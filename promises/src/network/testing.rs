//! Statements out of fixed keys, for the unit tests of this crate.

use std::time::Duration;

use crate::content_id::ContentId;
use crate::network::act::OfficeId;
use crate::network::address;
use crate::network::admission::{Grant, GrantUse, Link};
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::member::{Claim, Ipv6Claim, MemberPromise, Standing, possession};
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::{NodeKey, Secret, WgSecretKey};

/// When everything was made.
pub(crate) const T0: Timestamp = Timestamp(1_800_000_000);

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Node key number `n`.
pub(crate) fn key(n: u8) -> NodeKey {
    NodeKey::from_seed(&Secret::new([n; 32]))
}

/// The network of node 1.
pub(crate) fn charter(admission: AdmissionRule) -> Signed<Charter> {
    let founder = key(1).id();
    let charter = Charter {
        name: "foo".parse().unwrap(),
        ipv4: "10.7.0.0/16".parse().unwrap(),
        ipv6: Charter::ipv6_prefix(&founder, &[7; 16]),
        founder,
        owners: vec![founder],
        admission,
        contract: ContentId::of(b"a contract"),
        created: T0,
        nonce: [7; 16],
        recovery: None,
    };
    Signed::sign(charter, &key(1)).unwrap()
}

/// How `issuer` lets `node` in by the invite key `invite`, from [`T0`] for ten days; as an owner, by its office.
pub(crate) fn link(charter: &Signed<Charter>, issuer: u8, invite: u8, node: u8) -> Link {
    let network = charter.network();
    let by = key(issuer).id();
    let is_owner = charter.is_owner(&by);
    let grant = Grant {
        network,
        invite: key(invite).id(),
        issuer: by,
        uses: 100,
        issued: T0,
        expires: T0.after(10 * DAY),
        office: is_owner.then(|| OfficeId::founding(&network, &by)),
    };
    let used = GrantUse {
        network,
        invite: key(invite).id(),
        node: key(node).id(),
        joined: T0,
    };
    Link {
        grant: Signed::sign(grant, &key(issuer)).unwrap(),
        used: Signed::sign(used, &key(invite)).unwrap(),
        seen: None,
    }
}

/// What a node promises that shows no admission.
pub(crate) fn promise(charter: &Signed<Charter>, node: u8, sequence: u64) -> MemberPromise {
    let id = key(node).id();
    let network = charter.network();
    let wireguard = WgSecretKey::from_bytes(&Secret::new([node; 32]));
    let (modifier, address) = address::first_ipv6(charter.ipv6, &network, &id, 0).unwrap();
    MemberPromise {
        network,
        node: id,
        sequence,
        issued: T0,
        expires: T0.after(Duration::from_secs(3600)),
        standing: Standing::Promised,
        public_key: wireguard.public(),
        possession: wireguard.sign(&possession(&network, &id)),
        ipv6: Ipv6Claim { address, modifier },
        ipv4: Claim {
            address: address::candidate(&network, charter.ipv4, &id, 0),
            number: 0,
        },
        wireguard: Vec::new(),
        quic: Vec::new(),
        prefixes: Vec::new(),
        label: "foo".parse().unwrap(),
        admission: Vec::new(),
        receipts: Vec::new(),
    }
}

/// A promise, signed by its node.
pub(crate) fn signed(promise: MemberPromise, node: u8) -> Vec<u8> {
    Signed::sign(promise, &key(node)).unwrap().bytes().to_vec()
}

/// The same statement with another signature.
pub(crate) fn forged(mut statement: Vec<u8>) -> Vec<u8> {
    if let Some(last) = statement.last_mut() {
        *last ^= 1;
    }
    statement
}
