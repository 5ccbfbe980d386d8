//! Two ends whose first handshake fails.

use std::thread;

use anyhow::{Result, anyhow};

use super::super::seen::{self, PATIENCE};
use super::members::require_kernel;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions, node_name};
use crate::nft::load;
use crate::wait::wait_until;

/// The founder receives nothing for WireGuard, so the answers to its initiations are lost.
const DEAF: &str = "table inet deaf {
    chain in {
        type filter hook input priority 0; policy accept;
        udp dport 51820 drop
    }
}";

/// One of them starts again, without waiting for the kernel to do so.
pub(super) fn run(lab: &Lab) -> Result<()> {
    require_kernel()?;
    let (founder, node) = (lab.add_node(&node_name(0))?, lab.add_node(&node_name(1))?);
    load(&founder, DEAF)?;
    let options = MeshOptions {
        backend: Some("auto".to_owned()),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::found(&founder, "foo", options)?;
    // The join ends once a member answers.
    thread::scope(|scope| {
        let heals = scope.spawn(|| {
            wait_until("a handshake to be begun again", PATIENCE, || {
                let logs = founder.server_log()? + &node.server_log()?;
                Ok(logs.contains("restarting handshakes that have stalled: remove peer"))
            })?;
            load(&founder, "delete table inet deaf")
        });
        let joined = mesh.join(&node);
        let healed = heals
            .join()
            .map_err(|_| anyhow!("the watching thread panicked"))?;
        healed.and(joined)
    })?;
    mesh.wait_whole(PATIENCE)?;
    // The peer was added again with everything that it had.
    for (from, to) in [(&founder, &node), (&node, &founder)] {
        for address in seen::identity(to, "foo")?.addresses {
            let address: ipnet::IpNet = address.parse()?;
            seen::reaches(from, address.addr(), PATIENCE)?;
        }
    }
    Ok(())
}
