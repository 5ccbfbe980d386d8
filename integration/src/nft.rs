//! What the lab does with the `nft` program, where there is one: lose packets, and translate
//! addresses. Where there is none, each of these is [`crate::Missing`].

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ipnet::Ipv4Net;

use crate::Missing;
use crate::lab::Lab;
use crate::node::Node;
use crate::segment::Segment;

/// How a router chooses the outer port of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// It keeps the inner port where it is free, for all destinations: what most homes have
    /// (endpoint-independent mapping, RFC 4787, as far as Linux gives it).
    KeepsPorts,
    /// A new random port for every destination ("symmetric").
    RandomPorts,
}

/// A router that hides a segment of its own behind one address.
pub struct Router {
    /// The router itself: `wan` on the outer segment, `lan` on the inner one.
    pub node: Arc<Node>,
    /// Where to plug in what is behind it.
    pub inside: Segment,
}

impl Lab {
    /// Adds a router that masquerades IPv4 from a new segment `inside` to the segment `outside`.
    /// From the outside it lets in only replies. The inner segment has no
    /// IPv6. For two levels, let the second router's outside be the first one's inside.
    ///
    /// # Errors
    /// [`Missing`] without `nft` or without NAT in this kernel; else what the kernel refused.
    pub fn add_router(
        &self,
        name: &str,
        outside: &Segment,
        inside: Ipv4Net,
        nat: Nat,
    ) -> Result<Router> {
        let node = self.add_unplugged(name)?;
        let made = self.set_up_router(&node, outside, inside, nat);
        if made.is_err() {
            self.remove_node(&node);
        }
        Ok(Router {
            node,
            inside: made?,
        })
    }

    fn set_up_router(
        &self,
        node: &Arc<Node>,
        outside: &Segment,
        inside: Ipv4Net,
        nat: Nat,
    ) -> Result<Segment> {
        let random = match nat {
            Nat::KeepsPorts => "",
            Nat::RandomPorts => "fully-random",
        };
        self.plug(node, outside, "wan", None)?;
        outside.route_default(node)?;
        let inside = self.add_segment(inside)?;
        self.plug(node, &inside, "lan", Some(1))?;
        node.namespaces()
            .in_net(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .context("cannot make the router forward")?;
        load(
            node,
            &format!(
                "table ip lab_nat {{
                    chain out {{
                        type nat hook postrouting priority 100; policy accept;
                        oifname \"wan\" masquerade {random}
                    }}
                    chain in {{
                        type filter hook forward priority 0; policy accept;
                        iifname \"wan\" ct state != {{ established, related }} drop
                    }}
                }}"
            ),
        )?;
        Ok(inside)
    }

    /// Drops `permille` of every thousand packets that reach the node's plugs, at random; 0 ends it.
    /// Packets that leave the node, or come out of its tunnels, are untouched.
    ///
    /// # Errors
    /// [`Missing`] without `nft` or without nftables in this kernel.
    pub fn lose(&self, node: &Node, permille: u16) -> Result<()> {
        if permille > 1000 {
            bail!("{permille} thousandths cannot be lost");
        }
        // Adding first makes the deletion succeed whether or not there was a table.
        let mut rules = String::from("add table inet lab_loss\ndelete table inet lab_loss\n");
        if permille > 0 {
            let names: Vec<String> = node
                .ports()
                .iter()
                .map(|port| format!("{:?}", port.interface))
                .collect();
            rules.push_str(&format!(
                "table inet lab_loss {{
                    chain in {{
                        type filter hook prerouting priority -400; policy accept;
                        iifname {{ {} }} numgen random mod 1000 <= {} drop
                    }}
                }}",
                names.join(", "),
                permille - 1
            ));
        }
        load(node, &rules)
    }
}

pub(crate) fn load(node: &Node, rules: &str) -> Result<()> {
    let output = node.tool(&["nft", "-f", "-"], rules, Duration::from_secs(20))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("not supported") || said.contains("No such file or directory") {
        let said = said.lines().next().unwrap_or_default();
        return Err(Missing(format!(
            "this kernel's nftables lacks what is needed: {said}"
        ))
        .into());
    }
    bail!("nft on {} refused its rules: {said}", node.name())
}
