//! A member that lies about where others are, repeats itself, and comes and goes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use grid_keys::NodeId;
use grid_net::{CloseCode, Endpoint};
use grid_promises::Message;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::{MemberPromise, Standing};
use ipnet::IpNet;

use super::asks;
use super::five::Five;
use super::rogue::Rogue;
use super::target::Victim;
use crate::lab::Lab;
use crate::output::say;

/// How long what does not end by itself goes on.
const LONG: Duration = Duration::from_secs(4);
/// How many messages of 1 MB each victim gets.
const MESSAGES: usize = 20;
pub(super) fn attack(lab: &Lab) -> Result<()> {
    let five = Five::meet(lab)?;
    let invite = five.invite()?;
    let attacker = lab.add_node("mallory")?;
    five.endure(&attacker, || async {
        misplace(&five.victims, &invite).await?;
        repeat(&five.victims, &invite).await?;
        come_and_go(&five.victims, &invite).await
    })?;
    five.connected()
}

/// Two members say the same wrong address to everybody that dials them, another one each time.
async fn misplace(victims: &[Victim], invite: &Invite) -> Result<()> {
    let mut told = BTreeSet::new();
    let mut pair = Vec::new();
    for (seed, victim) in (600..).zip(victims.iter().take(2)) {
        let mut rogue = Rogue::admitted(invite, seed)?;
        let promise = rogue.sign(rogue.reachable(victim)?)?;
        // The others hear of it, and dial it.
        rogue.tell(victim, &[promise]).await?;
        pair.push(rogue);
    }
    let until = Instant::now() + LONG;
    let mut number = 0_u16;
    while Instant::now() < until {
        number += 1;
        let [high, low] = number.to_be_bytes();
        let invented = SocketAddr::from(([198, 51, high, low], 9));
        for rogue in &mut pair {
            let endpoint = rogue.endpoint.clone();
            let lie = |peer: NodeId, message: &Message| {
                if !asks::is(message, "hello") {
                    return Ok(None);
                }
                told.insert(peer);
                part_soon(&endpoint, peer);
                asks::seen_at(invented).map(Some)
            };
            rogue.serve(lie, Duration::from_millis(50)).await?;
        }
    }
    say(&format!("{} members heard false addresses", told.len()));
    ensure!(!told.is_empty(), "nobody asks");
    Ok(())
}

/// Who is sent away dials again, and asks again.
fn part_soon(endpoint: &Endpoint, peer: NodeId) {
    let endpoint = endpoint.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        endpoint.disconnect(peer, CloseCode::DONE, "");
    });
}

/// One statement that a later one has replaced, a thousand times in each message.
async fn repeat(victims: &[Victim], invite: &Invite) -> Result<()> {
    let mut rogue = Rogue::admitted(invite, 610)?;
    let stale = rogue.sign(rogue.promise())?;
    let next = MemberPromise {
        sequence: 2,
        ..rogue.promise()
    };
    let next = rogue.sign(next)?;
    let message = rogue.pushing(&vec![stale.clone(); 1_000_000 / (stale.len() + 4)]);
    ensure!(message.len() > 950_000, "only {} bytes", message.len());
    for victim in victims {
        rogue.tell(victim, std::slice::from_ref(&next)).await?;
        for _ in 0..MESSAGES {
            let answer = rogue.ask(victim, message.clone()).await?;
            ensure!(asks::answered(&answer)?.is_some(), "it is refused");
        }
    }
    Ok(())
}

/// One promise after the other, each of which takes back the one before or promises 32 other prefixes.
async fn come_and_go(victims: &[Victim], invite: &Invite) -> Result<()> {
    let mut rogue = Rogue::admitted(invite, 620)?;
    rogue.join(victims).await?;
    let until = Instant::now() + LONG;
    let mut number = 1;
    while Instant::now() < until {
        let mut batch = Vec::new();
        for _ in 0..2 {
            number += 1;
            let prefixes = (0..32).map(|n| {
                let [a, b] = u16::try_from(number % 1000 * 32 + n)
                    .unwrap_or(0)
                    .to_be_bytes();
                IpNet::new([172, 16 + a / 16, a % 16 * 16 + b / 16, 0].into(), 24)
            });
            let prefixes: Vec<IpNet> = prefixes.collect::<Result<_, _>>()?;
            let standing = match number % 4 {
                0 => Standing::Withdrawn,
                _ => Standing::Promised,
            };
            batch.push(rogue.sign(MemberPromise {
                sequence: number,
                standing,
                ..rogue.routing(&prefixes)
            })?);
        }
        for victim in victims {
            rogue.tell(victim, &batch).await?;
        }
    }
    say(&format!("{number} promises of one member"));
    ensure!(number > 40, "only {number} promises");
    Ok(())
}
