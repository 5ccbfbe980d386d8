//! What a person can ask about a network.

use crate::core::links::Links;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::paths::Path;
use crate::core::mesh::phase::Phase;
use crate::core::status::{NetworkStatus, OwnStanding, PeerStatus};
use crate::network::code::Code;
use crate::time::Timestamp;
use grid_keys::NodeId;

impl Mesh {
    pub(crate) fn status(&self, local: &Local, links: &Links, time: Timestamp) -> NetworkStatus {
        let (ipv4_range, ipv6_prefix) = self.ranges();
        let charter = self.roster.charter();
        let own = self.phase.own();
        NetworkStatus {
            name: self.name().clone(),
            network: self.id(),
            admission: charter.admission,
            owner: self.roster.is_owner(&local.id()),
            standing: match &self.phase {
                Phase::Joining { .. } => OwnStanding::Joining,
                Phase::Waiting => OwnStanding::Waiting,
                Phase::Member(_) => OwnStanding::Member,
                Phase::Expelled { why, .. } => OwnStanding::Expelled(*why),
            },
            listen_port: self.device.listen_port(),
            public_key: Some(self.device.public_key()),
            ipv4_range,
            ipv6_prefix,
            ipv4: own.map(|own| own.claim().address),
            ipv6: self.ipv6.address,
            moves: own.map_or_else(Vec::new, |own| own.moves().to_vec()),
            promised: own.map_or_else(Vec::new, |own| own.prefixes().iter().copied().collect()),
            rules: self.acceptance.rules().to_vec(),
            judge: self.acceptance.judge(),
            judge_failure: self.acceptance.failure().cloned(),
            // An expelled node lists nobody: the others are no longer its business.
            peers: self
                .roster
                .others(&local.id())
                .filter(|_| !self.phase.is_expelled())
                .filter_map(|node| self.peer_status(node, links))
                .collect(),
            owners: self.owners(),
            code: matches!(self.phase, Phase::Waiting).then(|| Code::of(&self.id(), &local.id())),
            asking: self.applicants.asking(&self.roster),
            expected: self.codes.standing(time).collect(),
            elsewhere: self.rival.elsewhere().cloned(),
            awaited: self.awaited.len(),
            labels: self.roster.labels().collect(),
        }
    }

    fn peer_status(&self, node: &NodeId, links: &Links) -> Option<PeerStatus> {
        let promise = self.roster.promise_of(node)?;
        let view = self.roster.view().members.get(node)?;
        let (endpoint, path) = self
            .paths
            .get(node)
            .map_or((None, "unknown"), Path::describe);
        Some(PeerStatus {
            node: *node,
            label: promise.label.clone(),
            public_key: promise.public_key,
            ipv4: view.ipv4,
            ipv6: promise.ipv6.address,
            expires: promise.expires,
            connected: links.is_up(node),
            endpoint,
            path,
            verdicts: self.acceptance.verdicts_of(node).to_vec(),
            observed: self.paths.observed(&promise.public_key),
        })
    }
}
