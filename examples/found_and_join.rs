//! Two nodes found a network and join it, without a machine: the core of both runs in virtual time.
//!
//! Run it with `cargo run --example found_and_join`. One seed decides everything: every run prints
//! the same.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use grid_promises::core::{Command, JoinWith, Ranges, Reply};
use grid_promises::network::invite::Invite;
use grid_promises::network::{AdmissionRule, NetworkName};
use grid_promises::sim::{Faults, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

fn main() -> Result<()> {
    let name: NetworkName = "foo".parse()?;
    let mut world = World::new(ChaCha8Rng::seed_from_u64(7), Faults::NONE);
    let (a, b) = (world.add(), world.add());

    let create = Command::Create {
        name: name.clone(),
        ipv4: Some("10.77.0.0/16".parse()?),
        ranges: Ranges::Private,
        admission: AdmissionRule::Invite,
        recovery: None,
        listen_port: 51820,
    };
    let Reply::Joined { network, ipv4, .. } = world.run_command(a, create)? else {
        bail!("founding did not make the founder a member");
    };
    println!("a founded {} and claimed {}", network.0.short(), ipv4.1);

    // An invite is text that a person carries; it is a secret, so it is not printed here.
    let invite = Command::Invite {
        name: name.clone(),
        life: Duration::from_secs(3600),
        uses: 1,
        endpoints: Vec::new(),
    };
    let Reply::Invite(text) = world.run_command(a, invite)? else {
        bail!("no invite");
    };
    println!("a made an invite of {} characters", text.len());

    let started = world.now;
    let join = Command::Join {
        name,
        with: JoinWith::Invite(Box::new(Invite::from_text(&text)?)),
        ranges: Ranges::Private,
        listen_port: 51820,
        wait: Duration::from_secs(30),
    };
    let Reply::Joined { ipv4, members, .. } = world.run_command(b, join)? else {
        bail!("joining did not make the joiner a member");
    };
    let took = world.now - started;
    println!(
        "b claimed {} after {took:?}, and sees {members} other",
        ipv4.1
    );

    // What each would configure WireGuard with. Keys print as [redacted].
    world.run(Duration::from_secs(1));
    for (name, node) in [("a", a), ("b", b)] {
        let tunnels = &world.nodes[node].tunnels;
        let tunnel = tunnels.get(&network).context("no tunnel")?;
        for peer in tunnel.peers.values() {
            println!("{name} sends {:?} into the tunnel", peer.allowed_ips);
        }
    }
    Ok(())
}
