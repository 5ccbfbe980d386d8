//! Networks, nodes and statements out of fixed keys, for tests and fuzz targets.
//!
//! Everything here is signed for real; nothing depends on a clock or on chance, so that the same
//! call gives the same bytes on every run. Uses the crate's public API alone.
// Each test program uses a part of it; helpers of tests may panic as the tests do.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod exchange;
pub mod seeds;
pub mod story;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use grid_keys::{NodeId, NodeKey, Secret, WgSecretKey};
use grid_promises::cbor;
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::admission::{Admission, AdmissionRequest, Grant, GrantUse, Link};
use grid_promises::network::invite::{Bootstrap, Invite};
use grid_promises::network::ledger::Ledger;
use grid_promises::network::member::{
    Claim, Ipv6Claim, Member, MemberPromise, Standing, possession,
};
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::{Kind, Signed, Statement};
use grid_promises::network::trace::Trace;
use grid_promises::network::{AdmissionRule, Charter, NetworkId, address};
use grid_promises::{ContentId, Timestamp};
use minicbor::bytes::ByteVec;
use minicbor::{Encode, Encoder};

/// When the networks of these tests were founded.
pub const T0: Timestamp = Timestamp(1_800_000_000);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// Numbers of invite keys begin here, so that they are no node's.
pub const INVITES: u16 = 1000;
/// Numbers of the keys of invites that are for one node begin here.
pub const ALONE: u16 = 20_000;

/// Node key number `n`.
pub fn key(n: u16) -> NodeKey {
    NodeKey::from_seed(&Secret::new(seed(b"node key", n)))
}

/// WireGuard key number `n`.
pub fn wg(n: u16) -> WgSecretKey {
    WgSecretKey::from_bytes(&Secret::new(seed(b"wireguard key", n)))
}

fn seed(what: &[u8], n: u16) -> [u8; 32] {
    let digest = ContentId::of(&[what, &n.to_be_bytes()[..]].concat());
    digest.digest().try_into().unwrap()
}

/// Signs whatever it is given, also what `Signed::sign` would refuse.
pub fn forge<T: Statement>(body: &T, key: &NodeKey) -> Vec<u8> {
    forge_raw(T::KIND as u8, T::KIND.name(), &cbor::encode(body), key)
}

/// The same for any bytes as the body, under any number and name of a kind.
pub fn forge_raw(kind: u8, name: &str, body: &[u8], key: &NodeKey) -> Vec<u8> {
    let signature = key.sign(&[b"grid/1 ", name.as_bytes(), &[0], body].concat());
    frame(kind, body, &signature)
}

/// A statement's frame around a body and a signature that may not belong together.
pub fn frame(kind: u8, body: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    let written = e.array(3).and_then(|e| e.u8(kind));
    let written = written
        .and_then(|e| e.bytes(body))
        .and_then(|e| e.bytes(signature));
    assert!(written.is_ok());
    bytes
}

/// Takes a frame apart: kind, body, signature.
pub fn unframe(bytes: &[u8]) -> (u8, Vec<u8>, Vec<u8>) {
    let mut d = minicbor::Decoder::new(bytes);
    assert_eq!(d.array().unwrap(), Some(3));
    let kind = d.u8().unwrap();
    (
        kind,
        d.bytes().unwrap().to_vec(),
        d.bytes().unwrap().to_vec(),
    )
}

/// The CBOR of a value, as bytes.
pub fn encoded<T: Encode<()>>(value: &T) -> Vec<u8> {
    cbor::encode(value)
}

/// A network with one founder, node 0.
#[derive(Clone)]
pub struct Net {
    pub charter: Signed<Charter>,
}

/// A node of a network with what it is about to promise.
#[derive(Clone)]
pub struct Node {
    pub key: NodeKey,
    pub admission: Admission,
    pub body: MemberPromise,
}

impl Net {
    /// A network of 10.7.0.0/16 that admits by `rule`; node 0 is its only owner.
    pub fn new(rule: AdmissionRule) -> Self {
        Self::with(|charter| charter.admission = rule)
    }

    /// The same with a few addresses only, so that candidates meet often.
    pub fn crowded() -> Self {
        Self::with(|charter| charter.ipv4 = "10.7.0.0/28".parse().unwrap())
    }

    /// The same with other things in its charter.
    pub fn with(change: impl FnOnce(&mut Charter)) -> Self {
        let mut body = charter();
        change(&mut body);
        let charter = Signed::sign(body, &key(0)).unwrap();
        Self { charter }
    }

    pub fn id(&self) -> NetworkId {
        self.charter.network()
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.charter.clone())
    }

    /// A ledger with these promises in it, merged at the latest of their times.
    pub fn ledger_of<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> Ledger {
        let mut ledger = self.ledger();
        for node in nodes {
            ledger
                .insert_bytes(&node.bytes(), node.body.issued)
                .unwrap();
        }
        ledger
    }

    /// Candidate `k` of a node.
    pub fn candidate(&self, node: &NodeId, k: u32) -> Ipv4Addr {
        address::candidate(&self.id(), self.charter.ipv4, node, k)
    }

    /// The number of a node's first candidate that is this address.
    pub fn number_of(&self, node: &NodeId, wanted: Ipv4Addr) -> u32 {
        (0..address::MAX_CANDIDATES)
            .find(|k| self.candidate(node, *k) == wanted)
            .unwrap()
    }

    /// The IPv6 address of a node by its first modifier, which is looked for once.
    pub fn ipv6(&self, node: &NodeId) -> Ipv6Claim {
        static FOUND: Mutex<BTreeMap<(NetworkId, NodeId), u32>> = Mutex::new(BTreeMap::new());
        let known = FOUND.lock().unwrap().get(&(self.id(), *node)).copied();
        let claim = Ipv6Claim::first(&self.charter, node, known.unwrap_or(0)).unwrap();
        let mut found = FOUND.lock().unwrap();
        found.insert((self.id(), *node), claim.modifier);
        claim
    }

    /// Node `n`, which came by an invite at the time when that was made.
    pub fn guest(&self, n: u16, invite: &Invite) -> Node {
        let link = Link {
            grant: invite.grant.clone(),
            used: self.used(&invite.key, &key(n).id(), invite.grant.issued),
            seen: None,
        };
        self.node(n, invite.issuer.extended(link))
    }

    /// Node `n` with an admission, claiming its first candidate at [`T0`].
    pub fn node(&self, n: u16, admission: Admission) -> Node {
        let key = key(n);
        let id = key.id();
        let body = MemberPromise {
            network: self.id(),
            node: id,
            sequence: 1,
            issued: T0,
            expires: T0.after(DAY),
            standing: Standing::Promised,
            public_key: wg(n).public(),
            possession: wg(n).sign(&possession(&self.id(), &id)),
            ipv6: self.ipv6(&id),
            ipv4: Claim {
                address: self.candidate(&id, 0),
                number: 0,
            },
            wireguard: vec![],
            quic: vec![],
            prefixes: vec![],
            label: format!("node-{n}").parse().unwrap(),
            admission: admission.raw(),
            receipts: vec![],
        };
        Node {
            key,
            admission,
            body,
        }
    }

    /// Node 0.
    pub fn founder(&self) -> Node {
        self.node(0, Admission::default())
    }

    /// A grant that `issuer` signs: invite key `invite`, from [`T0`] for a day.
    pub fn grant(&self, issuer: &NodeKey, invite: u16, uses: u32) -> Signed<Grant> {
        let body = self.grant_body(&issuer.id(), invite, uses);
        Signed::sign(body, issuer).unwrap()
    }

    pub fn grant_body(&self, issuer: &NodeId, invite: u16, uses: u32) -> Grant {
        Grant {
            network: self.id(),
            invite: key(invite).id(),
            issuer: *issuer,
            uses,
            issued: T0,
            expires: T0.after(DAY),
            office: self.charter.is_owner(issuer).then(|| self.office(issuer)),
        }
    }

    /// The office that the charter gives an owner.
    pub fn office(&self, owner: &NodeId) -> OfficeId {
        OfficeId::founding(&self.id(), owner)
    }

    /// How the holder of invite key `invite` admits a node.
    pub fn grant_use(&self, invite: u16, node: &NodeId, joined: Timestamp) -> Signed<GrantUse> {
        self.used(&key(invite), node, joined)
    }

    /// The same, by the key itself.
    fn used(&self, invite: &NodeKey, node: &NodeId, joined: Timestamp) -> Signed<GrantUse> {
        let body = GrantUse {
            network: self.id(),
            invite: invite.id(),
            node: *node,
            joined,
        };
        Signed::sign(body, invite).unwrap()
    }

    /// The link by which a grant admits a node.
    pub fn link(&self, grant: &Signed<Grant>, invite: u16, node: &NodeId) -> Link {
        Link {
            grant: grant.clone(),
            used: self.grant_use(invite, node, grant.issued),
            seen: None,
        }
    }

    /// Node `n`, admitted by an invite of `issuer` with key number `invite` and so many uses.
    pub fn joined(&self, issuer: &Node, invite: u16, uses: u32, n: u16) -> Node {
        let grant = self.grant(&issuer.key, invite, uses);
        let link = self.link(&grant, invite, &key(n).id());
        self.node(n, issuer.admission.extended(link))
    }

    /// Node `n`, admitted by an invite of the founder for it alone, which shows that the founder saw it used in time.
    pub fn admitted(&self, n: u16) -> Node {
        let founder = self.founder();
        let node = self.joined(&founder, ALONE + n, 1, n);
        let receipt = self.receipt(&founder.key, &node, T0, T0);
        let ledger = self.ledger();
        let admission = node
            .admission
            .seen(&receipt, &self.charter, ledger.authority());
        node.by(admission)
    }

    /// An invite of `issuer`.
    pub fn invite(&self, issuer: &Node, invite: u16, uses: u32) -> Invite {
        Invite {
            charter: self.charter.clone(),
            bootstrap: vec![Bootstrap {
                node: issuer.id(),
                quic: vec![
                    "192.0.2.1:51821".parse().unwrap(),
                    "[2001:db8::1]:51821".parse().unwrap(),
                ],
            }],
            grant: self.grant(&issuer.key, invite, uses),
            issuer: issuer.admission.clone(),
            acts: Vec::new(),
            heads: vec![ActId([7; 32])],
            key: key(invite),
            secret: Secret::new(seed(b"network secret", 0)),
        }
    }

    /// What `witness` says it saw of `subject` since `since`, signed at `issued`.
    pub fn receipt(
        &self,
        witness: &NodeKey,
        subject: &Node,
        since: Timestamp,
        issued: Timestamp,
    ) -> Signed<Receipt> {
        Signed::sign(self.receipt_body(witness, subject, since, issued), witness).unwrap()
    }

    pub fn receipt_body(
        &self,
        witness: &NodeKey,
        subject: &Node,
        since: Timestamp,
        issued: Timestamp,
    ) -> Receipt {
        Receipt {
            network: self.id(),
            witness: witness.id(),
            subject: subject.id(),
            admission: subject.admission.id(),
            member_since: since,
            address: subject.body.ipv4.address,
            address_since: since,
            issued,
        }
    }

    /// The founder does this, as the first act of its office. Several of them are branches of one chain, which all
    /// count.
    pub fn does(&self, action: Action) -> Signed<Act> {
        self.act(&key(0), |act| act.action = action)
    }

    /// The founder revokes a node.
    pub fn revoke(&self, node: &Node) -> Signed<Act> {
        self.does(Action::Revoke { node: node.id() })
    }

    /// The founder closes an invite for all but those that were seen to use it by then, and these nodes.
    pub fn close(&self, invite: u16, before: Timestamp, keep: &[&Node]) -> Signed<Act> {
        let keep: Vec<NodeId> = keep.iter().map(|node| node.id()).collect();
        self.does(Action::Close {
            invite: key(invite).id(),
            before,
            keep: sorted(&keep),
        })
    }

    /// An owner admits these nodes by name, over these acts.
    pub fn name(&self, owner: u16, nodes: &[&Node], over: &[&Signed<Act>]) -> Signed<Act> {
        let nodes: Vec<NodeId> = nodes.iter().map(|node| node.id()).collect();
        let mut over: Vec<ActId> = over.iter().map(|act| act.act_id()).collect();
        over.sort();
        self.act(&key(owner), |act| {
            act.action = Action::Admit {
                nodes: sorted(&nodes),
                over,
            };
        })
    }

    /// The first act of an owner's office: it admits nodes 3 and 4 over a revocation.
    pub fn act(&self, owner: &NodeKey, change: impl FnOnce(&mut Act)) -> Signed<Act> {
        let mut body = self.act_body(owner);
        change(&mut body);
        Signed::sign(body, owner).unwrap()
    }

    pub fn act_body(&self, owner: &NodeKey) -> Act {
        let office = self.office(&owner.id());
        Act {
            network: self.id(),
            owner: owner.id(),
            office,
            number: 1,
            previous: office.0,
            action: Action::Admit {
                nodes: sorted(&[key(3).id(), key(4).id()]),
                over: vec![ActId([7; 32])],
            },
            issued: T0,
        }
    }

    /// What remains of a node that the founder saw since then.
    pub fn trace(&self, node: &Node, since: Timestamp) -> Vec<u8> {
        let seen = node
            .carrying(&[self.receipt(&key(0), node, since, since)])
            .at(1, since);
        let member = Member::decode(&seen.bytes(), &self.charter).unwrap();
        let trace = Trace::of(&member, &self.charter, self.ledger().authority());
        trace.unwrap().bytes().to_vec()
    }

    pub fn request(&self, n: u16) -> Signed<AdmissionRequest> {
        let body = AdmissionRequest {
            network: self.id(),
            node: key(n).id(),
            label: format!("node-{n}").parse().unwrap(),
            issued: T0,
        };
        Signed::sign(body, &key(n)).unwrap()
    }
}

/// What [`Net::new`] signs.
pub fn charter() -> Charter {
    let founder = key(0).id();
    let nonce = [7; 16];
    Charter {
        name: "foo".parse().unwrap(),
        ipv4: "10.7.0.0/16".parse().unwrap(),
        ipv6: Charter::ipv6_prefix(&founder, &nonce),
        founder,
        owners: vec![founder],
        admission: AdmissionRule::Invite,
        contract: ContentId::of(b"a social contract\n"),
        created: T0,
        nonce,
        recovery: None,
    }
}

/// Node ids in the order of a set.
pub fn sorted(ids: &[NodeId]) -> Vec<NodeId> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.key.id()
    }

    /// The promise with something else in it.
    pub fn with(&self, change: impl FnOnce(&mut MemberPromise)) -> Self {
        let mut node = self.clone();
        change(&mut node.body);
        node
    }

    /// Promise number `sequence`, made at `issued` and good for a day.
    pub fn at(&self, sequence: u64, issued: Timestamp) -> Self {
        self.with(|body| {
            body.sequence = sequence;
            body.issued = issued;
            body.expires = issued.after(DAY);
        })
    }

    /// The promise of WireGuard key number `n`.
    pub fn keyed(&self, n: u16) -> Self {
        self.with(|body| {
            body.public_key = wg(n).public();
            body.possession = wg(n).sign(&possession(&body.network, &body.node));
        })
    }

    /// The promise withdrawn.
    pub fn withdrawn(&self) -> Self {
        self.with(|body| body.standing = Standing::Withdrawn)
    }

    /// The promise with a label, which makes it differ from another of the same number.
    pub fn called(&self, label: &str) -> Self {
        self.with(|body| body.label = label.parse().unwrap())
    }

    /// The promise with a claim of this address, by whatever number of candidate gives it.
    pub fn claiming(&self, net: &Net, address: Ipv4Addr) -> Self {
        let number = net.number_of(&self.id(), address);
        self.with(|body| body.ipv4 = Claim { address, number })
    }

    /// The promise with receipts.
    pub fn carrying(&self, receipts: &[Signed<Receipt>]) -> Self {
        self.with(|body| {
            body.receipts = receipts
                .iter()
                .map(|receipt| ByteVec::from(receipt.bytes().to_vec()))
                .collect();
        })
    }

    /// The promise with another admission.
    pub fn by(&self, admission: Admission) -> Self {
        let mut node = self.clone();
        node.body.admission = admission.raw();
        node.admission = admission;
        node
    }

    pub fn promise(&self) -> Signed<MemberPromise> {
        Signed::sign(self.body.clone(), &self.key).unwrap()
    }

    /// The signed bytes, also of a body that breaks its own rules.
    pub fn bytes(&self) -> Vec<u8> {
        forge(&self.body, &self.key)
    }
}

/// The lowest number that is no kind's.
pub fn first_unknown() -> u8 {
    (1..).find(|number| Kind::of(*number).is_none()).unwrap()
}

/// One statement of each kind, in the order of the kinds.
pub fn one_of_each() -> Vec<(Kind, Vec<u8>)> {
    let net = Net::new(AdmissionRule::Invite);
    let founder = net.founder();
    let member = net.joined(&founder, INVITES, 5, 1);
    let receipt = net.receipt(&founder.key, &member, T0, T0.after(MINUTE));
    // A guest of that member: its chain carries a receipt for the member's use of its invite.
    let seen = member
        .admission
        .seen(&receipt, &net.charter, net.ledger().authority());
    let guest = net.joined(&member.by(seen), INVITES + 1, 1, 6);
    let by_founder = net.receipt(&founder.key, &guest, T0, T0.after(MINUTE));
    let full = guest.with(|body| {
        body.wireguard = vec![
            endpoint(0, "192.0.2.7:51820"),
            endpoint(1, "10.0.0.7:51820"),
        ];
        body.quic = vec![endpoint(2, "[2001:db8::7]:51821")];
        body.prefixes = vec!["192.168.7.0/24".parse().unwrap(), "::/0".parse().unwrap()];
    });
    vec![
        (Kind::Charter, net.charter.bytes().to_vec()),
        (
            Kind::Grant,
            net.grant(&founder.key, INVITES, 5).bytes().to_vec(),
        ),
        (
            Kind::GrantUse,
            net.grant_use(INVITES, &member.id(), T0).bytes().to_vec(),
        ),
        (Kind::Act, net.act(&key(0), |_| {}).bytes().to_vec()),
        (Kind::Member, full.carrying(&[by_founder]).bytes()),
        (Kind::Receipt, receipt.bytes().to_vec()),
        (Kind::Request, net.request(4).bytes().to_vec()),
        (Kind::Trace, net.trace(&full, T0)),
    ]
}

/// An endpoint: 0 static, 1 local, 2 observed.
pub fn endpoint(kind: u8, addr: &str) -> grid_promises::network::endpoint::Endpoint {
    use grid_promises::network::endpoint::{Endpoint, EndpointKind};
    let kind = match kind {
        0 => EndpointKind::Static,
        1 => EndpointKind::Local,
        _ => EndpointKind::Observed,
    };
    Endpoint {
        kind,
        addr: addr.parse().unwrap(),
    }
}
