//! What an attacker knows about a network, and about each node that it attacks.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use grid_keys::{NodeId, Secret, WgSecretKey};
use grid_promises::network::invite::Invite;

use crate::mesh::Mesh;
use crate::node::Node;
use crate::scenarios::seen;

/// What an attacker knows.
pub(super) struct Target {
    pub(super) invite: Invite,
    /// The single-use invite by which the last victim joined. The attacker has found it.
    pub(super) spent: Invite,
    pub(super) victims: Vec<Victim>,
    /// A promise that a victim made in another network.
    pub(super) elsewhere: Vec<u8>,
    /// A promise that the second victim has since replaced.
    pub(super) old: Vec<u8>,
}

pub(super) struct Victim {
    pub(super) node: Arc<Node>,
    pub(super) id: NodeId,
    pub(super) public_key: [u8; 32],
    pub(super) ipv4: Ipv4Addr,
    pub(super) ipv6: Ipv6Addr,
}

impl Target {
    pub(super) fn of(mesh: &Mesh, spent: &str) -> Result<Self> {
        let [a, b, ..] = mesh.members() else {
            bail!("not two members")
        };
        a.grid_ok(&["create-wireguard-net", "bar"], "")?;
        let promise =
            |node: &Node, net| fs::read(node.home().join("nets").join(net).join("promise"));
        let old = promise(b, "foo")?;
        // Nobody accepts it, so that only the promise changes.
        b.grid_ok(&["promise", "foo", "192.168.66.0/24"], "")?;
        let mut victims = Vec::new();
        for node in mesh.members() {
            victims.push(Victim::of(node)?);
        }
        Ok(Self {
            invite: Invite::from_text(mesh.invite())?,
            spent: Invite::from_text(spent)?,
            victims,
            elsewhere: promise(a, "bar")?,
            old,
        })
    }

    pub(super) fn first(&self) -> Result<&Victim> {
        self.victims.first().context("no victims")
    }

    pub(super) fn last(&self) -> Result<&Victim> {
        self.victims.last().context("no victims")
    }

    pub(super) fn second(&self) -> Result<&Victim> {
        self.victims.get(1).context("no second victim")
    }
}

impl Victim {
    /// What is known of a member of the network "foo".
    pub(super) fn of(node: &Arc<Node>) -> Result<Self> {
        let own = seen::network(node, "foo")?;
        let id = node.grid_ok(&["generate-keys"], "")?;
        let key = fs::read_to_string(node.home().join("nets/foo/wireguard.key"))?;
        let key = data_encoding::BASE64.decode(key.trim().as_bytes())?;
        let key: [u8; 32] = key.try_into().ok().context("not a WireGuard key")?;
        let key = WgSecretKey::from_bytes(&Secret::new(key));
        Ok(Self {
            node: Arc::clone(node),
            id: id.trim().parse().ok().context("not a node id")?,
            public_key: key.public().0,
            ipv4: own.ipv4()?,
            ipv6: own.ipv6()?,
        })
    }
}
