//! Cutting the network: pulled cables, silent losses of connectivity, partitions.

use anyhow::{Context as _, Result};

use crate::lab::Lab;
use crate::link::{self, LinkIndex};
use crate::node::Node;

impl Lab {
    /// Pulls all cables of a node: its interfaces lose their carrier, which it can see.
    ///
    /// # Errors
    /// When the kernel refuses, or the node is gone.
    pub fn unplug(&self, node: &Node) -> Result<()> {
        for port in node.ports() {
            link::set_up(&mut self.netlink(), port.lab_side, false)
                .with_context(|| format!("cannot unplug {}", node.name()))?;
        }
        Ok(())
    }

    /// Cuts a node off without its noticing: its interfaces stay up, and every packet is lost.
    ///
    /// # Errors
    /// As [`Lab::unplug`].
    pub fn silence(&self, node: &Node) -> Result<()> {
        for port in node.ports() {
            let island = self.new_island()?;
            link::set_bridge(&mut self.netlink(), port.lab_side, island)
                .with_context(|| format!("cannot cut {} off", node.name()))?;
        }
        Ok(())
    }

    /// Undoes [`Lab::unplug`], [`Lab::silence`] and [`Lab::partition`] for one node.
    ///
    /// # Errors
    /// As [`Lab::unplug`].
    pub fn heal(&self, node: &Node) -> Result<()> {
        for port in node.ports() {
            let mut netlink = self.netlink();
            link::set_bridge(&mut netlink, port.lab_side, port.bridge)
                .and_then(|()| link::set_up(&mut netlink, port.lab_side, true))
                .with_context(|| format!("cannot connect {} again", node.name()))?;
        }
        Ok(())
    }

    /// Splits the internet: each group can reach only itself. Nodes in no group stay connected to one
    /// another. No interface loses its carrier. Only plugs into the internet move.
    ///
    /// # Errors
    /// As [`Lab::unplug`]; some groups may have moved then, and [`Lab::heal_all`] puts them back.
    pub fn partition(&self, groups: &[&[&Node]]) -> Result<()> {
        for group in groups {
            let island = self.new_island()?;
            for node in *group {
                for port in node.ports() {
                    if port.bridge == self.internet().bridge() {
                        link::set_bridge(&mut self.netlink(), port.lab_side, island)
                            .with_context(|| format!("cannot move {}", node.name()))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Undoes every cut and partition.
    ///
    /// # Errors
    /// As [`Lab::unplug`].
    pub fn heal_all(&self) -> Result<()> {
        for node in self.nodes() {
            self.heal(&node)?;
        }
        for island in self.with_islands(std::mem::take) {
            link::delete(&mut self.netlink(), island)?;
        }
        Ok(())
    }

    /// A bridge without addresses, so that not even the lab itself answers on it.
    fn new_island(&self) -> Result<LinkIndex> {
        let number = self.with_islands(|islands| islands.len());
        let island = link::create_bridge(&mut self.netlink(), &format!("island{number}"))
            .context("cannot make a bridge for what is cut off")?;
        self.with_islands(|islands| islands.push(island));
        link::set_up(&mut self.netlink(), island, true)?;
        Ok(island)
    }
}
