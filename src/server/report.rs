//! The answer to `status`: what the core knows, together with what WireGuard measured.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::core::{ClockStatus, NetworkStatus, OwnStanding, Owners, PeerStatus};
use grid_promises::network::address::on_interface;
use grid_promises::network::code::Code;
use ipnet::{IpNet, Ipv4Net};

use crate::advice;
use crate::node::status::{
    AskingReport, ClockReport, ElsewhereReport, ExpectedReport, KeptReport, MoveReport,
    NetworkReport, OwnerReport, PeerReport, RefusedReport,
};
use crate::store::InterfaceOptions;
use crate::tunnels::InterfaceStatus;
use crate::values::moment;

/// How recent a handshake must be to show that the member answers: a session in use is renewed every
/// 120 seconds, and expires after 180 (WireGuard paper, section 6.1).
const FRESH: Duration = Duration::from_secs(190);

/// Reports on one network. `wished` answers what WireGuard has not told yet; `lack` is why statements may be missing.
#[must_use]
pub(super) fn network(
    own: &NodeId,
    status: &NetworkStatus,
    about: &InterfaceStatus,
    wished: &InterfaceOptions,
    lack: Option<&str>,
) -> NetworkReport {
    let (standing, why) = match &status.standing {
        OwnStanding::Joining => ("joining", None),
        OwnStanding::Waiting => ("waiting", None),
        OwnStanding::Member => ("member", None),
        OwnStanding::Expelled(why) => (
            "expelled",
            Some(advice::on_expulsion(&status.name, own, *why)),
        ),
        OwnStanding::Left => ("left", None),
    };
    let wanted = addresses(status);
    let is_member = matches!(status.standing, OwnStanding::Member);
    let up = is_member && are_up(&wanted, about);
    let is_there = |address: &IpNet| about.addresses.contains(address);
    let addresses: Vec<IpNet> = wanted.into_iter().filter(is_there).collect();
    NetworkReport {
        name: status.name.to_string(),
        id: status.network.to_string(),
        interface: status.name.to_string(),
        backend: about
            .backend
            .clone()
            .unwrap_or_else(|| wished.backend.as_str().to_owned()),
        backend_reason: about.reason.clone(),
        netns: wished.netns.as_ref().map(ToString::to_string),
        listen_port: status.listen_port,
        addresses: strings(&addresses),
        up,
        public_key: status.public_key.map(|key| key.to_string()),
        standing: standing.to_owned(),
        why,
        admission: status.admission.to_string(),
        owner: status.owner,
        promised: strings(&status.promised),
        rules: status.rules.iter().map(ToString::to_string).collect(),
        judge: status.judge.map(|judge| judge.to_string()),
        judge_name: None,
        judge_failure: status.judge_failure.as_ref().map(ToString::to_string),
        moves: status
            .moves
            .iter()
            .map(|moved| MoveReport {
                at: moved.at.0,
                from: moved.from.to_string(),
                to: moved.to.to_string(),
                holder: moved.holder.to_string(),
            })
            .collect(),
        recovery_key: status.owners.recovery.is_some(),
        owners: owners(&status.owners),
        code: status.code.map(|code| code.to_string()),
        asking: status
            .asking
            .iter()
            .map(|(node, label)| AskingReport {
                node: node.to_string(),
                name: label.to_string(),
                code: Code::of(&status.network, node).to_string(),
            })
            .collect(),
        expected: status
            .expected
            .iter()
            .map(|kept| ExpectedReport {
                code: kept.code.to_string(),
                until: kept.until.0,
            })
            .collect(),
        awaited: status.awaited,
        elsewhere: status.elsewhere.as_ref().map(|elsewhere| ElsewhereReport {
            at: elsewhere.at.0,
            endpoints: elsewhere
                .endpoints
                .iter()
                .map(ToString::to_string)
                .collect(),
            why: advice::on_elsewhere(elsewhere),
        }),
        lack: lack.map(|why| advice::on_lack(&status.name, status.owner, why)),
        forked: forked(&status.owners),
        problem: about.problem.clone().or_else(|| {
            let others = status.peers.iter().filter_map(|peer| peer.ipv4);
            without_ipv4(
                status.ipv4.filter(|_| is_member)?,
                status.ipv4_range,
                others,
            )
        }),
        hint: about.hint.clone(),
        peers: status
            .peers
            .iter()
            .map(|peer| self::peer(peer, about))
            .collect(),
        labels: status
            .labels
            .iter()
            .map(|(node, label)| (node.to_string(), label.clone()))
            .collect(),
    }
}

/// The owners whose acts have branches, each once.
fn forked(owners: &Owners) -> Vec<String> {
    let forked = owners.offices.iter();
    let forked = forked.filter(|office| office.is_live && office.heads.len() > 1);
    let holders: BTreeSet<String> = forked.map(|office| office.holder.to_string()).collect();
    holders.into_iter().collect()
}

/// Says so if another member holds the address that this node claims. If another were free, this node would have moved.
fn without_ipv4(
    claimed: Ipv4Addr,
    range: Ipv4Net,
    mut others: impl Iterator<Item = Ipv4Addr>,
) -> Option<String> {
    others.any(|held| held == claimed).then(|| {
        format!(
            "this node has no IPv4 address: another member has the older claim to {claimed}, and no other address of \
             {range} was free; the network needs a wider range or fewer members"
        )
    })
}

/// The addresses that the interface is to have.
fn addresses(status: &NetworkStatus) -> Vec<IpNet> {
    let Some(ipv4) = status.ipv4 else {
        return Vec::new();
    };
    // The claim is still on disk, but nobody accepts it any more.
    if matches!(status.standing, OwnStanding::Expelled(_)) {
        return Vec::new();
    }
    vec![
        on_interface(ipv4.into(), status.ipv4_range),
        on_interface(status.ipv6.into(), status.ipv6_prefix),
    ]
}

/// Whether the interface has these addresses, but for those that this host does not allow.
fn are_up(wanted: &[IpNet], about: &InterfaceStatus) -> bool {
    let (there, missing): (Vec<&IpNet>, Vec<&IpNet>) = wanted
        .iter()
        .partition(|address| about.addresses.contains(*address));
    let is_refused = |address: &&IpNet| about.refused.contains(*address);
    about.problem.is_none() && !there.is_empty() && missing.iter().all(is_refused)
}

fn peer(peer: &PeerStatus, about: &InterfaceStatus) -> PeerReport {
    let seen = about.peers.get(&peer.public_key);
    let accepted: Vec<IpNet> = peer
        .verdicts
        .iter()
        .filter(|verdict| verdict.verdict.is_ok())
        .map(|verdict| verdict.prefix)
        .collect();
    let refused = peer.verdicts.iter().filter_map(|verdict| {
        let objection = verdict.verdict.as_ref().err();
        objection.map(|objection| RefusedReport {
            prefix: verdict.prefix.to_string(),
            why: objection.to_string(),
        })
    });
    let handshake = peer.observed.and_then(|observed| observed.latest_handshake);
    let latest_handshake = handshake.map(|at| at.0);
    PeerReport {
        node: peer.node.to_string(),
        name: peer.label.to_string(),
        addresses: peer
            .ipv4
            .map(|address| address.to_string())
            .into_iter()
            .chain([peer.ipv6.to_string()])
            .collect(),
        public_key: peer.public_key.to_string(),
        endpoint: seen
            .and_then(|seen| seen.endpoint)
            .or(peer.endpoint)
            .map(|endpoint| endpoint.to_string()),
        path: peer.path.to_owned(),
        allowed_ips: match seen {
            Some(seen) => seen.allowed_ips.iter().map(ToString::to_string).collect(),
            None => strings(&accepted),
        },
        latest_handshake,
        rx_bytes: peer.observed.map_or(0, |observed| observed.rx_bytes),
        tx_bytes: peer.observed.map_or(0, |observed| observed.tx_bytes),
        promised: peer
            .verdicts
            .iter()
            .map(|verdict| verdict.prefix.to_string())
            .collect(),
        accepted: strings(&accepted),
        refused: refused.collect(),
        kept: KeptReport {
            // By the wall clock, because that is what WireGuard dates handshakes with.
            reachable: reachable(handshake, peer.observed.map(|o| o.tx_bytes), moment::now()),
            latest_handshake,
            connected: peer.connected,
        },
        expires: peer.expires.0,
    }
}

/// Whether a member's WireGuard answers. `None` if unknown: silence means nothing until something was
/// sent.
fn reachable(handshake: Option<Timestamp>, sent: Option<u64>, now: Timestamp) -> Option<bool> {
    match (handshake, sent) {
        (Some(at), _) if now.since(at) < FRESH => Some(true),
        (None, Some(sent)) if sent > 0 => Some(false),
        _ => None,
    }
}

fn strings(prefixes: &[IpNet]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

/// What time it is.
pub(super) fn clock(clock: ClockStatus) -> ClockReport {
    let seconds = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
    let ahead_of = |time| seconds(clock.shown).saturating_sub(seconds(time));
    ClockReport {
        believed: clock.believed.0,
        ahead: ahead_of(clock.believed),
        confirmed: clock.is_confirmed,
        ahead_of_members: clock.said.map(ahead_of),
    }
}

fn owners(owners: &Owners) -> Vec<OwnerReport> {
    let mut offices: Vec<_> = owners.offices.iter().collect();
    offices.sort_by_key(|office| (office.depth, office.since, office.office));
    let reports = offices.into_iter().map(|office| OwnerReport {
        node: office.holder.to_string(),
        name: office.label.clone().unwrap_or_default(),
        office: office.office.0.to_string(),
        depth: office.depth,
        above: office.above.map(|above| above.0.to_string()),
        since: office.since.map(|since| since.0),
        live: office.is_live,
        acts: office.acts,
        heads: office.heads.iter().map(ToString::to_string).collect(),
    });
    reports.collect()
}

#[cfg(test)]
mod tests {
    use grid_promises::core::OfficeStatus;
    use grid_promises::network::act::OfficeId;

    use super::*;

    #[test]
    fn a_member_is_not_called_reachable_because_it_promised_to_be() {
        let now = Timestamp(10_000);
        let at = |age: u64| Some(Timestamp(10_000 - age));
        assert_eq!(reachable(None, None, now), None);
        assert_eq!(reachable(None, Some(0), now), None);
        assert_eq!(reachable(None, Some(148), now), Some(false));
        assert_eq!(reachable(at(5), Some(148), now), Some(true));
        assert_eq!(reachable(at(500), Some(148), now), None);
    }

    #[test]
    fn an_address_that_is_only_claimed_is_not_up() {
        let nets =
            |nets: &[&str]| -> Vec<IpNet> { nets.iter().map(|net| net.parse().unwrap()).collect() };
        let wanted = nets(&["10.9.0.1/16", "fd00::1/64"]);
        let about = |there: &[&str], refused: &[&str]| InterfaceStatus {
            addresses: nets(there).into_iter().collect(),
            refused: nets(refused).into_iter().collect(),
            ..InterfaceStatus::default()
        };
        assert!(are_up(&wanted, &about(&["10.9.0.1/16", "fd00::1/64"], &[])));
        assert!(!are_up(&wanted, &about(&["fd00::1/64"], &[])));
        assert!(!are_up(
            &wanted,
            &about(&["10.9.0.7/16", "fd00::1/64"], &[])
        ));
        assert!(!are_up(
            &wanted,
            &about(&[], &["10.9.0.1/16", "fd00::1/64"])
        ));
        assert!(!are_up(&[], &about(&["10.9.0.1/16"], &[])));
        // IPv6 is switched off here.
        assert!(are_up(&wanted, &about(&["10.9.0.1/16"], &["fd00::1/64"])));
    }

    #[test]
    fn who_lost_its_address_and_found_no_other_says_so() {
        let range = "10.9.0.0/30".parse().unwrap();
        let (own, other) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        let why = without_ipv4(own, range, [other, own].into_iter()).unwrap();
        assert!(
            why.contains("10.9.0.1") && why.contains("10.9.0.0/30"),
            "{why}"
        );
        assert_eq!(without_ipv4(own, range, [other].into_iter()), None);
    }

    #[test]
    fn an_owner_with_two_branches_is_named_once_and_a_dismissed_one_not() {
        let id = |text: &str| {
            grid_promises::network::act::ActId([u8::try_from(text.len()).unwrap(); 32])
        };
        let office = |holder, is_live, heads: &[&str]| OfficeStatus {
            office: OfficeId(id("office")),
            holder: NodeId([holder; 32]),
            label: None,
            depth: 1,
            above: None,
            since: None,
            is_live,
            acts: 2,
            heads: heads.iter().map(|head| id(head)).collect(),
        };
        let owners = Owners {
            recovery: None,
            offices: vec![
                office(1, true, &["a"]),
                office(2, true, &["a", "bb"]),
                office(2, true, &["c", "dd"]),
                office(3, false, &["a", "bb"]),
            ],
        };
        assert_eq!(forked(&owners), [NodeId([2; 32]).to_string()]);
    }
}
