//! The lab: an internet made of one bridge, and the machines plugged into it.
//!
//! It is built inside its own namespaces (see [`crate::supervise`]); making one anywhere else
//! would put bridges on the host, so [`Lab::new`] refuses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use grid_netlink::Netlink;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::link::LinkIndex;
use crate::node::Node;
use crate::segment::Segment;
use crate::supervise::{GRID, LAB_DIR};

/// Where a lab that stays up lists its nodes, inside its mount namespace.
pub const DIRECTORY: &str = "/run/grid-lab/nodes.json";

/// One line of [`DIRECTORY`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    /// Its holder's process id in the lab's PID namespace.
    pub holder: u32,
}

/// A running lab. Dropping it ends all its nodes.
pub struct Lab {
    netlink: Mutex<Netlink>,
    internet: Segment,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Arc<Node>>,
    cables: u32,
    /// Bridges made to keep groups of nodes apart.
    islands: Vec<LinkIndex>,
    segments: u32,
}

impl Lab {
    /// Makes the internet: a bridge with the documentation prefixes 192.0.2.0/24 (RFC 5737) and
    /// 2001:db8:1::/64 (RFC 3849). The lab's own namespace is the gateway, and forwards nothing.
    ///
    /// # Errors
    /// When this process is not inside a lab's namespaces, or the kernel refuses the bridge.
    pub fn new() -> Result<Self> {
        if !Path::new(GRID).exists() {
            bail!("a lab can be built only inside its own namespaces (see supervise::run)");
        }
        let mut netlink = Netlink::route().context("cannot open a netlink socket")?;
        crate::link::index_of("lo")
            .and_then(|lo| crate::link::set_up(&mut netlink, lo, true))
            .context("cannot set up the lab's loopback interface")?;
        let ipv4 = Ipv4Net::new(Ipv4Addr::new(192, 0, 2, 0), 24)?;
        let ipv6 = Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0), 64)?;
        let internet = Segment::create(&mut netlink, "internet", ipv4, Some(ipv6))?;
        internet.answer_as_gateway(&mut netlink)?;
        Ok(Self {
            netlink: Mutex::new(netlink),
            internet,
            state: Mutex::default(),
        })
    }

    /// The segment that stands for the internet.
    #[must_use]
    pub fn internet(&self) -> &Segment {
        &self.internet
    }

    /// The nodes, routers included, in the order in which they were made.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.state().nodes.clone()
    }

    /// Adds a node with one plug, `eth0`, into the internet, and default routes.
    ///
    /// # Errors
    /// When the name is taken or unfit, the prefix is used up (240 nodes), or the kernel refuses.
    pub fn add_node(&self, name: &str) -> Result<Arc<Node>> {
        self.add_node_on(name, &self.internet)
    }

    /// As [`Lab::add_node`], on another segment, as behind a router.
    ///
    /// # Errors
    /// As [`Lab::add_node`].
    pub fn add_node_on(&self, name: &str, segment: &Segment) -> Result<Arc<Node>> {
        let node = self.add_unplugged(name)?;
        let plugged = self
            .plug(&node, segment, "eth0", None)
            .and_then(|()| segment.route_default(&node));
        if let Err(error) = plugged {
            self.remove_node(&node);
            return Err(error);
        }
        Ok(node)
    }

    /// Ends a node and everything on it. Its addresses on the internet become free.
    pub fn remove_node(&self, node: &Arc<Node>) {
        let mut state = self.state();
        state.nodes.retain(|other| !Arc::ptr_eq(other, node));
        drop(state);
        // The interfaces vanish with the network namespace, which the caller's handle may still hold.
        for port in node.ports() {
            let _ = crate::link::delete(&mut self.netlink(), port.lab_side);
            self.internet.give_back(&port);
        }
        let _ = node.kill_all();
    }

    /// Leaves all nodes running when this process ends, and lists them in [`DIRECTORY`].
    ///
    /// # Errors
    /// When the list cannot be written; the nodes then end with the lab.
    pub fn keep(self) -> Result<()> {
        let nodes = self.nodes();
        let list: Vec<Listed> = nodes
            .iter()
            .map(|node| Listed {
                name: node.name().to_owned(),
                holder: node.holder(),
            })
            .collect();
        fs::write(DIRECTORY, serde_json::to_vec(&list)?)
            .with_context(|| format!("cannot write to {LAB_DIR}"))?;
        nodes.iter().for_each(|node| node.keep());
        Ok(())
    }

    pub(crate) fn add_unplugged(&self, name: &str) -> Result<Arc<Node>> {
        if self.state().nodes.iter().any(|node| node.name() == name) {
            bail!("the lab already has a node {name}");
        }
        let node = Arc::new(Node::start(name)?);
        self.state().nodes.push(node.clone());
        Ok(node)
    }

    pub(crate) fn plug(
        &self,
        node: &Node,
        segment: &Segment,
        interface: &str,
        number: Option<u32>,
    ) -> Result<()> {
        let mut state = self.state();
        state.cables += 1;
        let lab_side = format!("cable{}", state.cables);
        drop(state);
        segment.plug(&mut self.netlink(), node, interface, &lab_side, number)?;
        Ok(())
    }

    pub(crate) fn add_segment(&self, ipv4: Ipv4Net) -> Result<Segment> {
        let mut state = self.state();
        state.segments += 1;
        let name = format!("lan{}", state.segments);
        drop(state);
        Segment::create(&mut self.netlink(), &name, ipv4, None)
    }

    pub(crate) fn with_islands<T>(&self, change: impl FnOnce(&mut Vec<LinkIndex>) -> T) -> T {
        change(&mut self.state().islands)
    }

    pub(crate) fn netlink(&self) -> MutexGuard<'_, Netlink> {
        self.netlink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
