//! What is the case when the adversary has done all that it wanted, and the founder put things right.

use std::collections::BTreeMap;
use std::time::Duration;

use grid_keys::WgPublicKey;
use grid_promises::core::{Command, Cut, Dismissal, Keep, TunnelPeer};

use super::play::Play;
use super::stage::{FOUNDER, HONEST, OWNER, foo, key};

/// How long it may take until all agree: a few comparisons, one of which may be lost.
const LONGEST: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_secs(20);

/// The stolen office ends, copies go, the network is whole; then all honest nodes are each other's peers as before, and agree
/// on all others.
pub fn settle(play: &mut Play) -> Result<(), String> {
    play.world.partition(|_| 0);
    if let Some((machine, _)) = play.copy {
        play.world.kill(machine);
    }
    play.wait(Duration::from_secs(5));
    if play.truth.owner_acted || play.dice.one_in(2) {
        dismiss(play)?;
    }
    let end = play.now() + LONGEST;
    loop {
        play.wait(LOOK);
        let Err(why) = agree(play) else {
            return play.check();
        };
        if play.now() > end {
            return Err(why);
        }
    }
}

fn dismiss(play: &mut Play) -> Result<(), String> {
    let dismissal = Dismissal {
        node: key(OWNER).id().to_string(),
        cut: Cut::Nothing,
        heir: None,
        recovery: None,
        stays: false,
        keep: Keep::Nobody,
        restate: false,
        only_say: false,
    };
    let command = Command::Dismiss {
        name: foo(),
        dismissal,
    };
    let done = play.world.run_command(FOUNDER, command);
    let _ = done.map_err(|error| format!("the founder could not dismiss the owner: {error}"))?;
    play.truth.owner_is_dismissed = true;
    Ok(())
}

fn agree(play: &Play) -> Result<(), String> {
    let network = play.net.id();
    let mut first: Option<BTreeMap<WgPublicKey, _>> = None;
    for node in HONEST {
        let tunnel = play.world.nodes[node].tunnels.get(&network);
        let tunnel = tunnel.ok_or_else(|| {
            let core = play.world.nodes[node].core.as_ref();
            let standing = core.map(|core| core.status()[0].standing.clone());
            format!("{node} has no interface: {standing:?}")
        })?;
        let mut all: BTreeMap<_, _> = tunnel
            .peers
            .iter()
            .map(|(key, peer)| (*key, taken(peer)))
            .collect();
        for other in HONEST.filter(|other| *other != node) {
            if !all.contains_key(&play.stage.wireguard_key(other)) {
                return Err(format!("{node} is without {other}"));
            }
        }
        // What they take from one another was looked at; here it is all others.
        for honest in HONEST {
            all.remove(&play.stage.wireguard_key(honest));
        }
        match &first {
            Some(first) if *first != all => {
                return Err(format!("{node} has {all:?}, not {first:?}"));
            }
            Some(_) => {}
            None => first = Some(all),
        }
    }
    let out = play.watch.peers_that_are_out(&play.world, &play.truth);
    out.map_or(Ok(()), Err)
}

fn taken(peer: &TunnelPeer) -> Vec<ipnet::IpNet> {
    peer.allowed_ips.iter().copied().collect()
}
