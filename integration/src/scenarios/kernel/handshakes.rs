//! Two ends whose first handshake comes to nothing.

use std::thread;

use anyhow::{Result, anyhow};

use super::{PATIENCE, require_kernel, seen, server, wait_until};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions, node_name};
use crate::nft::load;

/// The founder hears nothing from WireGuard, so that its own initiation is answered in vain.
const DEAF: &str = "table inet deaf {
    chain in {
        type filter hook input priority 0; policy accept;
        udp dport 51820 drop
    }
}";

/// One of them begins again, without waiting for the kernel to do so.
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
                let logs = server::log(&founder)? + &server::log(&node)?;
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
    // Put in again with all that it had.
    for (from, to) in [(&founder, &node), (&node, &founder)] {
        for address in seen::identity(to, "foo")?.addresses {
            let address: ipnet::IpNet = address.parse()?;
            seen::reaches(from, address.addr(), PATIENCE)?;
        }
    }
    Ok(())
}
