//! Somebody whom nobody admitted: it says where nodes are, sends what is signed by nobody, and comes with a crowd.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;
use grid_promises::network::invite::Invite;
use tokio::task::JoinSet;

use super::asks;
use super::five::{Five, on_machine};
use super::rogue::Rogue;
use super::stranger::Stranger;
use super::target::Victim;
use crate::lab::Lab;
use crate::link;
use crate::node::Node;
use crate::output::{millis, say};
use crate::scenarios::seen;
use crate::server;
use crate::tap::QUIC_PORT;
use crate::wait::wait_until;

/// How long what does not end by itself goes on.
const LONG: Duration = Duration::from_secs(4);
/// Where a crowd comes from: five networks, none of them that of the honest nodes.
const CROWD: [Ipv4Addr; 5] = [
    Ipv4Addr::new(198, 18, 0, 7),
    Ipv4Addr::new(198, 18, 1, 7),
    Ipv4Addr::new(198, 18, 2, 7),
    Ipv4Addr::new(198, 18, 3, 7),
    Ipv4Addr::new(198, 18, 4, 7),
];

/// Of the 128 places that a node has for strangers, those that one of them finds taken.
const FULL: usize = 120;
const PATIENCE: Duration = Duration::from_secs(30);
/// How often each of them asks.
const BETWEEN: Duration = Duration::from_millis(500);

/// Says hello with invented addresses, ten times a second, under sixteen keys; then sends statements that nobody signed,
/// under one key after the other.
pub(super) fn lies(lab: &Lab) -> Result<()> {
    let five = Five::meet(lab)?;
    let attacker = lab.add_node("mallory")?;
    let invite = five.invite()?;
    five.endure(&attacker, || async {
        say_hello(&five.victims).await?;
        forge(&five.victims, &invite).await
    })?;
    five.connected()
}

async fn say_hello(victims: &[Victim]) -> Result<()> {
    let mut strangers = Vec::new();
    for seed in 0..16 {
        strangers.push(Stranger::new(500 + seed)?);
    }
    let mut rounds = tokio::time::interval(Duration::from_millis(100));
    let until = Instant::now() + LONG;
    let mut number = 0_u16;
    while Instant::now() < until {
        rounds.tick().await;
        number += 1;
        let [high, low] = number.to_be_bytes();
        let invented = SocketAddr::from(([198, 51, high, low], 9));
        let which = usize::from(number) % strangers.len();
        let stranger = strangers.get_mut(which).context("no stranger")?;
        for victim in victims {
            stranger.connect(victim).await?;
            let answer = stranger.ask(victim.id, asks::hello(invented)).await?;
            ensure!(asks::answered(&answer)?.is_some(), "a hello is refused");
        }
    }
    Ok(())
}

/// Each key has a few tries before its connection is closed.
async fn forge(victims: &[Victim], invite: &Invite) -> Result<()> {
    let until = Instant::now() + LONG;
    let (mut keys, mut sent) = (0_u64, 0_u64);
    while Instant::now() < until {
        // Whoever holds the invite; its promise is signed by nobody.
        let mut rogue = Rogue::admitted(invite, 5000 + keys)?;
        let mut forged = rogue.sign(rogue.promise())?;
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        keys += 1;
        for victim in victims {
            rogue.connect(victim).await?;
            let message = rogue.pushing(std::slice::from_ref(&forged));
            while rogue.ask(victim, message.clone()).await.is_ok() {
                sent += 1;
            }
        }
    }
    say(&format!("{keys} keys sent {sent} forged statements"));
    ensure!(sent > 20, "only {sent} were heard");
    Ok(())
}

/// 256 strangers from five networks, each of which keeps asking, on one node. It keeps its connections, a member that was
/// restarted finds it and is found, and a newcomer that knows nobody else joins by it.
pub(super) fn crowd(lab: &Lab) -> Result<()> {
    let five = Five::meet_with(lab, knows_the_way)?;
    let (attacker, newcomer) = (lab.add_node("mallory")?, lab.add_node("newcomer")?);
    attacker.namespaces().in_net(|| -> Result<()> {
        let mut netlink = Netlink::route()?;
        let plug = link::index_of("eth0")?;
        for address in CROWD {
            link::add_address(&mut netlink, plug, address.into(), 24)?;
        }
        Ok(())
    })??;
    let victim = five.founder()?;
    let size = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    five.endure(&attacker, || {
        let until = Instant::now() + LONG;
        let is_full = || size.load(Ordering::Relaxed) >= FULL;
        let is_over = move || {
            let now = Instant::now();
            now >= until && is_full() || now >= until + PATIENCE
        };
        press(victim, &size, is_over)
    })?;
    thread::scope(|scope| {
        let pressing = scope.spawn(|| {
            let attack = || press(victim, &size, || is_over.load(Ordering::Relaxed));
            on_machine(&attacker, attack)
        });
        let done = come_and_go(&five, &newcomer, &size);
        is_over.store(true, Ordering::Relaxed);
        let pressed = pressing.join().ok().context("the crowd panicked")?;
        done.and(pressed)
    })
}

/// While the crowd has taken all places.
fn come_and_go(five: &Five, newcomer: &Node, size: &AtomicUsize) -> Result<()> {
    wait_until("a crowd", PATIENCE, || {
        Ok(size.load(Ordering::Relaxed) >= FULL)
    })?;
    let victim = five.founder()?;
    let restarted = &five.victims.last().context("nobody else")?.node;
    server::kill_9(restarted)?;
    seen::start(restarted)?;
    five.connected()?;
    let invite = victim.node.grid_ok(&["invite", "foo"], "")?;
    let mut invite = Invite::from_text(invite.trim())?;
    invite
        .bootstrap
        .retain(|bootstrap| bootstrap.node == victim.id);
    let started = Instant::now();
    newcomer.grid_ok(&["join-wireguard-net", "foo", "-"], &invite.to_text())?;
    let took = started.elapsed();
    say(&format!("a newcomer joined in {}", millis(took)));
    ensure!(took < Duration::from_secs(20), "it took {took:?} to join");
    Ok(())
}

fn knows_the_way(node: &Node) -> Result<()> {
    node.namespaces().in_net(|| -> Result<()> {
        let mut netlink = Netlink::route()?;
        let plug = link::index_of("eth0")?;
        link::add_route(&mut netlink, plug, "198.18.0.0/15".parse()?)?;
        Ok(())
    })?
}

/// Takes all places that a node has for strangers and keeps asking, so that nobody is idle. Who is sent away comes again.
async fn press(victim: &Victim, size: &AtomicUsize, is_over: impl Fn() -> bool) -> Result<()> {
    let hello = asks::hello(SocketAddr::from(([198, 51, 100, 1], 9)));
    let (id, to) = (
        victim.id,
        SocketAddr::from((victim.node.ipv4()?, QUIC_PORT)),
    );
    let (mut crowd, mut tasks) = (Vec::new(), JoinSet::new());
    for number in 0..256_u64 {
        let from = CROWD[usize::try_from(number)? % CROWD.len()];
        let stranger = Stranger::at(from, 700 + number)?;
        let (endpoint, hello) = (stranger.endpoint.clone(), hello.clone());
        tasks.spawn(async move {
            loop {
                let is_in = endpoint.connect(Some(id), &[to]).await.is_ok();
                let pause = match is_in && endpoint.request(id, hello.clone()).await.is_ok() {
                    true => BETWEEN,
                    false => BETWEEN * 4,
                };
                tokio::time::sleep(pause).await;
            }
        });
        crowd.push(stranger);
    }
    let mut most = 0;
    while !is_over() {
        tokio::time::sleep(BETWEEN / 5).await;
        let is_in = |one: &&Stranger| !one.endpoint.connections().is_empty();
        let now = crowd.iter().filter(is_in).count();
        size.store(now, Ordering::Relaxed);
        most = most.max(now);
    }
    tasks.shutdown().await;
    size.store(0, Ordering::Relaxed);
    say(&format!("{most} strangers were connected at once"));
    ensure!(most >= FULL, "only {most} strangers were connected at once");
    Ok(())
}
