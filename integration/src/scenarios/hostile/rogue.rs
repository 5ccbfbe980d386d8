//! One node key of the attacker: what it can sign, and its connections.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use grid_keys::{NodeId, NodeKey, WgPublicKey, WgSecretKey};
use grid_net::{Config, Endpoint, Event, Limits};
use grid_promises::limits::PROMISE_LIFETIME;
use grid_promises::network::address;
use grid_promises::network::admission::{Admission, Grant, GrantUse, Link};
use grid_promises::network::charter::Charter;
use grid_promises::network::endpoint::{self as promised, EndpointKind};
use grid_promises::network::invite::Invite;
use grid_promises::network::member::{Claim, Ipv6Claim, MemberPromise, Standing, possession};
use grid_promises::network::name::Label;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;
use grid_promises::{Message, Timestamp, texts};
use ipnet::IpNet;
use minicbor::Decode;
use minicbor::bytes::ByteVec;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::asks;
use super::stranger::{self, key};
use super::target::Victim;
use crate::tap::QUIC_PORT;

/// How long it may take until the first victim compares.
const FIRST_COMPARISON: Duration = Duration::from_secs(120);

/// The answer to a push, as far as it matters here.
#[derive(Debug, Decode)]
pub(super) struct Pushed {
    #[n(0)]
    pub(super) refused: u32,
    #[n(2)]
    receipt: Option<ByteVec>,
}

impl Pushed {
    /// The receipt for the sender's promise.
    pub(super) fn receipt(&self) -> Result<Signed<Receipt>> {
        let receipt = self.receipt.as_ref().context("no receipt")?;
        Ok(Signed::decode(receipt)?)
    }
}

/// A node key with a valid admission.
pub(super) struct Rogue {
    pub(super) key: NodeKey,
    wireguard: WgSecretKey,
    pub(super) admission: Admission,
    pub(super) charter: Signed<Charter>,
    ipv6: Ipv6Claim,
    pub(super) endpoint: Endpoint,
    events: Receiver<Event>,
}

impl Rogue {
    /// With the node key that starts with the number `seed`.
    pub(super) fn admitted(invite: &Invite, seed: u64) -> Result<Self> {
        Self::limited(invite, seed, Limits::default())
    }

    /// As [`Rogue::admitted`], with other limits on its own endpoint.
    pub(super) fn limited(invite: &Invite, seed: u64, limits: Limits) -> Result<Self> {
        let mut rogue = Self::with(&invite.charter, seed, limits)?;
        // It claims to have joined as early as the invite allows.
        rogue.admission = invite.admit(rogue.id())?;
        Ok(rogue)
    }

    /// One that owners admit by name.
    pub(super) fn by_name(charter: &Signed<Charter>, seed: u64) -> Result<Self> {
        Self::with(charter, seed, Limits::default())
    }

    /// It shows from now on that it came by an invite of `host`, as early as that allows.
    pub(super) fn come_by(
        &mut self,
        host: &Self,
        grant: Signed<Grant>,
        invite: &NodeKey,
    ) -> Result<()> {
        let used = GrantUse {
            network: grant.network,
            invite: grant.invite,
            node: self.id(),
            joined: grant.issued,
        };
        self.admission = host.admission.extended(Link {
            grant,
            used: Signed::sign(used, invite)?,
            seen: None,
        });
        Ok(())
    }

    fn with(charter: &Signed<Charter>, seed: u64, limits: Limits) -> Result<Self> {
        let key = key(seed);
        let mut config = Config::new(key.clone());
        config.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        config.limits = limits;
        let (endpoint, events) = Endpoint::bind(config)?;
        Ok(Self {
            wireguard: WgSecretKey::from_bytes(&key.seed()),
            admission: Admission::default(),
            charter: charter.clone(),
            ipv6: Ipv6Claim::first(charter, &key.id(), 0).context("no modifier")?,
            key,
            endpoint,
            events,
        })
    }

    /// As [`Rogue::admitted`], with a key whose first candidate is `wanted`.
    pub(super) fn who_may_claim(invite: &Invite, wanted: Ipv4Addr, from: u64) -> Result<Self> {
        let (network, range) = (invite.charter.network(), invite.charter.ipv4);
        let seed = (from..from + 100_000)
            .find(|seed| address::candidate(&network, range, &key(*seed).id(), 0) == wanted)
            .context("no key of 100000 may have that address")?;
        Self::admitted(invite, seed)
    }

    /// As [`Rogue::admitted`], with a key whose first candidate is none of `taken`.
    pub(super) fn out_of_the_way(invite: &Invite, taken: &[Ipv4Addr], from: u64) -> Result<Self> {
        let (network, range) = (invite.charter.network(), invite.charter.ipv4);
        let free = |seed: &u64| {
            let candidate = address::candidate(&network, range, &key(*seed).id(), 0);
            !taken.contains(&candidate)
        };
        let seed = (from..from + 1000).find(free);
        Self::admitted(invite, seed.context("every address is taken")?)
    }

    pub(super) fn id(&self) -> NodeId {
        self.key.id()
    }

    /// An honest promise.
    pub(super) fn promise(&self) -> MemberPromise {
        let network = self.charter.network();
        let address = address::candidate(&network, self.charter.ipv4, &self.id(), 0);
        let issued = now();
        MemberPromise {
            network,
            node: self.id(),
            sequence: 1,
            issued,
            expires: issued.after(PROMISE_LIFETIME),
            standing: Standing::Promised,
            public_key: self.wireguard.public(),
            possession: self.wireguard.sign(&possession(&network, &self.id())),
            ipv6: self.ipv6,
            ipv4: Claim { address, number: 0 },
            wireguard: Vec::new(),
            quic: Vec::new(),
            prefixes: Vec::new(),
            label: Label::from_host_name("mallory"),
            admission: self.admission.raw(),
            receipts: Vec::new(),
        }
    }

    /// One that says where it can be dialled, at the address that a victim sees.
    pub(super) fn reachable(&self, victim: &Victim) -> Result<MemberPromise> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((victim.node.ipv4()?, QUIC_PORT))?;
        let addr = SocketAddr::from((socket.local_addr()?.ip(), self.endpoint.local_addr().port()));
        let kind = EndpointKind::Static;
        Ok(MemberPromise {
            quic: vec![promised::Endpoint { addr, kind }],
            ..self.promise()
        })
    }

    /// One that claims to be as old as the network.
    pub(super) fn antedated(&self) -> MemberPromise {
        let issued = self.charter.created;
        let invited = self.admission.links().last().map(|link| link.made());
        let issued = invited.map_or(issued, |invited| issued.max(invited));
        MemberPromise {
            issued,
            expires: issued.after(PROMISE_LIFETIME),
            ..self.promise()
        }
    }

    /// One with further prefixes.
    pub(super) fn routing(&self, prefixes: &[IpNet]) -> MemberPromise {
        let mut prefixes = prefixes.to_vec();
        prefixes.sort();
        prefixes.dedup();
        MemberPromise {
            prefixes,
            ..self.promise()
        }
    }

    /// One with the WireGuard key of another, which it cannot show to have.
    pub(super) fn with_key_of(&self, victim: &Victim) -> MemberPromise {
        MemberPromise {
            public_key: WgPublicKey(victim.public_key),
            ..self.antedated()
        }
    }

    pub(super) fn sign(&self, promise: MemberPromise) -> Result<Vec<u8>> {
        Ok(Signed::sign(promise, &self.key)?.bytes().to_vec())
    }

    /// Connects to a victim.
    pub(super) async fn connect(&self, victim: &Victim) -> Result<()> {
        let to = SocketAddr::from((victim.node.ipv4()?, QUIC_PORT));
        self.endpoint.connect(Some(victim.id), &[to]).await?;
        Ok(())
    }

    /// A receipt that dates another's claim back to the founding of the network.
    pub(super) fn vouch(&self, subject: &MemberPromise, admission: &Admission) -> Result<ByteVec> {
        let since = self.charter.created;
        let receipt = Receipt {
            network: subject.network,
            witness: self.id(),
            subject: subject.node,
            admission: admission.id(),
            member_since: since,
            address: subject.ipv4.address,
            address_since: since,
            issued: now(),
        };
        Ok(Signed::sign(receipt, &self.key)?.bytes().to_vec().into())
    }

    /// Pushes statements to one victim, which must accept the message.
    pub(super) async fn tell(&mut self, victim: &Victim, statements: &[Vec<u8>]) -> Result<Pushed> {
        self.connect(victim).await?;
        let answer = self.ask(victim, self.pushing(statements)).await?;
        let answer = Message::decode(&answer, &Message::BOUNDS)?;
        ensure!(answer.promise == texts::ANSWER.id(), "it was refused");
        Ok(minicbor::decode(&answer.payload)?)
    }

    /// Pushes statements to each victim. Returns which of them accepted the message.
    pub(super) async fn push(
        &mut self,
        victims: &[Victim],
        statements: &[Vec<u8>],
    ) -> Result<Vec<bool>> {
        let message = self.pushing(statements);
        let mut taken = Vec::new();
        for victim in victims {
            self.connect(victim).await?;
            let answer = self.ask(victim, message.clone()).await?;
            let answer = Message::decode(&answer, &Message::BOUNDS)?;
            taken.push(answer.promise == texts::ANSWER.id());
        }
        Ok(taken)
    }

    /// Becomes a member in good standing with all victims.
    pub(super) async fn join(&mut self, victims: &[Victim]) -> Result<()> {
        let promise = self.sign(self.promise())?;
        let taken = self.push(victims, &[promise]).await?;
        ensure!(
            taken.iter().all(|taken| *taken),
            "an honest promise is refused"
        );
        Ok(())
    }

    /// Asks a victim, and leaves the victim's own requests unanswered.
    pub(super) async fn ask(&mut self, victim: &Victim, message: Vec<u8>) -> Result<Vec<u8>> {
        stranger::ask(&self.endpoint, &mut self.events, victim.id, message).await
    }

    pub(super) fn pushing(&self, statements: &[Vec<u8>]) -> Vec<u8> {
        asks::push(&self.charter.network(), statements)
    }

    /// Answers every comparison of statements for a while from the first one on: `answer` makes the answer, of a number
    /// that grows. How many each victim asked for. Whom a member dials is left to chance, and it compares with a random
    /// one of those that are connected every minute or so.
    pub(super) async fn answer_comparisons(
        &mut self,
        mut answer: impl FnMut(u64) -> Result<Vec<u8>>,
        time: Duration,
    ) -> Result<BTreeMap<NodeId, u32>> {
        let (mut asked, mut number) = (BTreeMap::new(), 1);
        let mut count = |peer, message: &Message| {
            if !asks::is(message, "sync") {
                return Ok(None);
            }
            *asked.entry(peer).or_default() += 1;
            number += 1;
            answer(number).map(Some)
        };
        let until = Instant::now() + FIRST_COMPARISON;
        let first = self.serve_until(&mut count, until, true).await?;
        if first {
            self.serve(count, time).await?;
        }
        Ok(asked)
    }

    /// Takes the victims' requests for a while. Those stay unanswered of which `answer` makes nothing.
    pub(super) async fn serve(
        &mut self,
        mut answer: impl FnMut(NodeId, &Message) -> Result<Option<Vec<u8>>>,
        time: Duration,
    ) -> Result<()> {
        self.serve_until(&mut answer, Instant::now() + time, false)
            .await
            .map(drop)
    }

    /// Takes the victims' requests, `once` until one of them was answered. Says whether that ended it.
    async fn serve_until(
        &mut self,
        answer: &mut impl FnMut(NodeId, &Message) -> Result<Option<Vec<u8>>>,
        until: Instant,
        once: bool,
    ) -> Result<bool> {
        while let Ok(event) = timeout_at(until, self.events.recv()).await {
            let Event::Request {
                peer,
                message,
                respond,
                ..
            } = event.context("the endpoint ended")?
            else {
                continue;
            };
            let message = Message::decode(&message, &Message::BOUNDS)?;
            if let Some(answer) = answer(peer, &message)? {
                respond.send(answer);
                if once {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Drops the events that wait.
    pub(super) fn ignore_events(&mut self) {
        while self.events.try_recv().is_ok() {}
    }
}

/// A node key that did something, and what.
pub(super) struct Accused {
    pub(super) id: NodeId,
    pub(super) of: &'static str,
}

impl Accused {
    pub(super) fn new(rogue: &Rogue, of: &'static str) -> Self {
        Self { id: rogue.id(), of }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.unwrap_or(Duration::ZERO).as_secs())
}
