//! The scene of these scenarios, and what they see of it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use grid_wg::ownership::PROTOCOL;

use super::super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::nft::{Nat, Router};
use crate::node::Node;
use crate::snapshot::{self, Snapshot};
use crate::wait::{wait_for, wait_until};

/// How long a connection may take.
const ARRIVAL: Duration = Duration::from_secs(2);

/// A traveller behind a router, whose only route is a default route; an exit; and a host of the
/// internet that is in no network.
pub(super) struct Scene {
    pub(super) mesh: Mesh,
    pub(super) router: Router,
    pub(super) traveller: Arc<Node>,
    pub(super) neighbour: Arc<Node>,
    pub(super) exit: Arc<Node>,
    pub(super) web: Arc<Node>,
    /// The traveller's configuration before it joined.
    pub(super) before: Snapshot,
}

impl Scene {
    pub(super) fn new(lab: &Lab, backend: &str) -> Result<Self> {
        let inside = "192.168.7.0/24".parse()?;
        let router = lab.add_router("router", lab.internet(), inside, Nat::KeepsPorts)?;
        let [exit, web] = ["exit", "web"].map(|name| lab.add_node(name));
        let (exit, web) = (exit?, web?);
        let [traveller, neighbour] =
            ["traveller", "neighbour"].map(|name| lab.add_node_on(name, &router.inside));
        let (traveller, neighbour) = (traveller?, neighbour?);
        let options = MeshOptions {
            backend: Some(backend.to_owned()),
            ..MeshOptions::default()
        };
        let mut mesh = Mesh::found(&exit, "foo", options)?;
        // The lab's own namespace must not answer for it.
        set(&traveller, "net/ipv4/conf/all/rp_filter", "0")?;
        set(&traveller, "net/ipv4/conf/eth0/rp_filter", "1")?;
        let before = snapshot::at_rest(&traveller)?;
        mesh.join(&traveller)?;
        mesh.wait_whole(PATIENCE)?;
        Ok(Self {
            mesh,
            router,
            traveller,
            neighbour,
            exit,
            web,
            before,
        })
    }

    /// The address from which a host of the internet sees the traveller, over both families.
    pub(super) fn seen(&self) -> Result<[Option<IpAddr>; 2]> {
        let to: [IpAddr; 2] = [self.web.ipv4()?.into(), self.web.ipv6()?.into()];
        let [v4, v6] = to.map(|to| seen_by(&self.web, &self.traveller, to));
        Ok([v4?, v6?])
    }

    /// Waits until the traveller is seen as `v4` and `v6`.
    pub(super) fn wait_seen(&self, v4: IpAddr, v6: Option<IpAddr>) -> Result<()> {
        let what = format!("the traveller to be seen as {v4} and {v6:?}");
        wait_until(&what, PATIENCE, || {
            let seen = self.seen()?;
            ensure!(seen == [Some(v4), v6], "it is seen as {seen:?}");
            Ok(true)
        })
        .with_context(|| self.traveller.server_log_tail(20))
    }

    pub(super) fn seen_directly(&self) -> Result<()> {
        // Behind the router there is no IPv6.
        self.wait_seen(self.router.node.ipv4()?.into(), None)
    }

    pub(super) fn seen_as_exit(&self) -> Result<()> {
        self.wait_seen(self.exit.ipv4()?.into(), Some(self.exit.ipv6()?.into()))
    }

    /// Makes the exit forward, as somebody does who promises to be one.
    pub(super) fn make_forwarding(&self) -> Result<()> {
        set(&self.exit, "net/ipv4/ip_forward", "1")?;
        set(&self.exit, "net/ipv6/conf/all/forwarding", "1")?;
        // A machine that forwards ignores router advertisements, and loses the default route learnt
        // from one.
        crate::nft::load(
            &self.exit,
            "table inet exit {
                chain out {
                    type nat hook postrouting priority 100; policy accept;
                    iifname \"foo\" oifname \"eth0\" masquerade
                }
            }",
        )
    }
}

/// Fails unless these nodes get the traveller's packets from its router.
pub(super) fn met_outside(scene: &Scene, nodes: &[&Arc<Node>]) -> Result<()> {
    let outside: IpAddr = scene.router.node.ipv4()?.into();
    for node in nodes {
        let what = format!("{} to see the tunnel come from the router", node.name());
        wait_until(&what, PATIENCE, || {
            let network = seen::network(node, "foo")?;
            let peer = network
                .peers
                .iter()
                .find(|peer| peer.name.as_deref() == Some("traveller"))
                .context("it does not know the traveller")?;
            let endpoint = peer.endpoint.as_deref().context("it has no endpoint")?;
            let endpoint: SocketAddr = endpoint.parse()?;
            ensure!(endpoint.ip() == outside, "the tunnel comes from {endpoint}");
            Ok(true)
        })?;
    }
    Ok(())
}

/// The machine is configured as it was.
pub(super) fn same(node: &Node, before: &Snapshot) -> Result<()> {
    let after = snapshot::of(node)?;
    let differing: Vec<&String> = after.symmetric_difference(before).collect();
    ensure!(
        differing.is_empty(),
        "what is left on {} is not what was there: {differing:#?}",
        node.name()
    );
    Ok(())
}

pub(super) fn is_our_rule(line: &str) -> bool {
    line.starts_with("rule") && line.contains(&format!("Protocol({:?})", route_protocol()))
}

fn route_protocol() -> netlink_packet_route::route::RouteProtocol {
    netlink_packet_route::route::RouteProtocol::from(PROTOCOL)
}

/// The address from which `to` sees a connection by `from` to its address `at`; `None` if there is
/// no route.
pub(super) fn seen_by(to: &Node, from: &Node, at: IpAddr) -> Result<Option<IpAddr>> {
    let listener = to
        .namespaces()
        .in_net(|| TcpListener::bind(SocketAddr::new(at, 0)))??;
    let place = listener.local_addr()?;
    let connected = from
        .namespaces()
        .in_net(|| TcpStream::connect_timeout(&place, ARRIVAL))?;
    let Ok(_connection) = connected else {
        return Ok(None);
    };
    // The last packet of the handshake is lost when routes change beneath it, and nobody then arrives here.
    listener.set_nonblocking(true)?;
    let arrived = wait_for("the connection to arrive", ARRIVAL, || {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            accepted => Ok(Some(accepted?)),
        }
    });
    Ok(arrived.ok().map(|(_, seen)| seen.ip()))
}

/// Writes a sysctl, named by its path below `/proc/sys`.
pub(super) fn set(node: &Node, path: &str, value: &str) -> Result<()> {
    node.namespaces()
        .in_net(|| fs::write(format!("/proc/sys/{path}"), value))?
        .with_context(|| format!("cannot set {path} of {}", node.name()))
}
