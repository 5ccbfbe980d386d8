//! Members that use WireGuard in the kernel: requiring it, building a mesh of it, reading it.

use anyhow::{Context as _, Result, ensure};
use grid_keys::WgPublicKey;
use grid_wg::{BackendChoice, Error, IfName, ObservedInterface, Place};

use super::super::seen;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::requirements::Missing;

/// Fails where this kernel has no WireGuard.
pub(super) fn require_kernel() -> Result<()> {
    match grid_wg::preflight(BackendChoice::Kernel, &Place::default()) {
        Ok(_) => Ok(()),
        Err(error @ Error::KernelLacksWireGuard) => Err(Missing(format!(
            "{error}; or run this on one that has it: `cargo lab --kernel scenario NAME`"
        ))
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// A mesh of `size` nodes that have chosen the kernel by themselves.
pub(super) fn mesh(lab: &Lab, size: usize) -> Result<Mesh> {
    require_kernel()?;
    let options = MeshOptions {
        backend: Some("auto".to_owned()),
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", size, options)?;
    for node in mesh.members() {
        let backend = mesh.status(node)?.backend;
        ensure!(backend == "kernel", "{} chose {backend}", node.name());
    }
    Ok(mesh)
}

/// What the program's own back end reads of `node`'s interface.
pub(super) fn observed(node: &Node, net: &str) -> Result<ObservedInterface> {
    let own: WgPublicKey = seen::identity(node, net)?.public_key.parse()?;
    let name: IfName = net.parse()?;
    let observed = node.namespaces().in_net(|| {
        grid_wg::open(BackendChoice::Kernel, &Place::default())
            .and_then(|mut backend| backend.observe(&name, &own))
    })??;
    let interface = observed.interface;
    interface.with_context(|| format!("{} has no interface {net}", node.name()))
}
