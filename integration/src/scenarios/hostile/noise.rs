//! Messages that are malformed, too many, too long, or never end.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use grid_net::Limits;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use grid_promises::{Message, cbor, texts};
use tokio::task::JoinSet;

use super::asks::Compared;
use super::rogue::{Accused, Rogue};
use super::target::Target;
use crate::tap::{QUIC_PORT, WIREGUARD_PORT};

/// How long each kind of noise lasts that does not end by itself.
const LONG: Duration = Duration::from_secs(6);

/// Makes every kind of noise.
pub(super) async fn make(target: &Target) -> Result<Vec<Accused>> {
    Ok(vec![
        garbage(target).await?,
        flood(target).await?,
        too_long(target).await?,
        endless(target).await?,
        never_done(target).await?,
        datagrams(target)?,
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// Complete but meaningless messages, until every victim drops the connection.
async fn garbage(target: &Target) -> Result<Option<Accused>> {
    let mut rogue = Rogue::admitted(&target.invite, 30)?;
    rogue.join(&target.victims).await?;
    for victim in &target.victims {
        let mut refusals = 0;
        for number in 0..200_usize {
            let message = match number % 4 {
                0 => noise(number, 1 << (number % 17)),
                1 => Vec::new(),
                // Arrays in arrays in arrays.
                2 => vec![0x9f; 4096],
                // A string that claims to be 2^63 bytes long.
                _ => vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            };
            match rogue.ask(victim, message).await {
                Ok(_) => refusals += 1,
                Err(_) => break,
            }
        }
        ensure!(refusals > 0, "not even the first message was refused");
        ensure!(refusals < 200, "a victim listens to garbage for ever");
    }
    Ok(Some(Accused::new(&rogue, "garbage")))
}

/// Valid requests, as fast as possible.
async fn flood(target: &Target) -> Result<Option<Accused>> {
    let mut rogue = Rogue::admitted(&target.invite, 31)?;
    rogue.join(&target.victims).await?;
    let promise = rogue.sign(rogue.promise())?;
    let message = rogue.pushing(&vec![promise; 20]);
    let mut sent = JoinSet::new();
    let mut answered = 0_u32;
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        for victim in &target.victims {
            let (endpoint, id, message) = (rogue.endpoint.clone(), victim.id, message.clone());
            sent.spawn(async move { endpoint.request(id, message).await });
        }
        while sent.len() > 600 {
            if let Some(Ok(Ok(_))) = sent.join_next().await {
                answered += 1;
            }
        }
        rogue.ignore_events();
        tokio::task::yield_now().await;
    }
    sent.shutdown().await;
    ensure!(answered > 100, "only {answered} requests were answered");
    Ok(None)
}

/// Messages larger than a node accepts: 32 MiB, on all available streams.
async fn too_long(target: &Target) -> Result<Option<Accused>> {
    let mut rogue = Rogue::limited(&target.invite, 32, wide())?;
    rogue.join(&target.victims).await?;
    let message = noise(1, 32 << 20);
    let mut sent = JoinSet::new();
    for victim in &target.victims {
        for _ in 0..16 {
            let (endpoint, id, message) = (rogue.endpoint.clone(), victim.id, message.clone());
            sent.spawn(async move { endpoint.request(id, message).await });
        }
    }
    while let Some(answer) = sent.join_next().await {
        ensure!(answer?.is_err(), "a message of 32 MiB was answered");
    }
    Ok(Some(Accused::new(&rogue, "messages that are too long")))
}

/// Messages that trickle in on all streams: this runtime sleeps most of the time.
async fn endless(target: &Target) -> Result<Option<Accused>> {
    let mut rogue = Rogue::limited(&target.invite, 33, wide())?;
    rogue.join(&target.victims).await?;
    let message = noise(2, 1 << 20);
    let mut sent = JoinSet::new();
    for victim in &target.victims {
        for _ in 0..64 {
            let (endpoint, id, message) = (rogue.endpoint.clone(), victim.id, message.clone());
            sent.spawn(async move { endpoint.request(id, message).await });
        }
    }
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
        // Not the runtime's sleep: while this thread sleeps, nothing is sent.
        std::thread::sleep(Duration::from_millis(200));
    }
    sent.shutdown().await;
    Ok(None)
}

/// A comparison that is never done: there is always more, be it the same or new.
async fn never_done(target: &Target) -> Result<Option<Accused>> {
    let mut rogue = Rogue::admitted(&target.invite, 34)?;
    // Members compare with those whom they dial.
    let promise = rogue.sign(rogue.reachable(target.first()?)?)?;
    rogue
        .tell(target.first()?, std::slice::from_ref(&promise))
        .await?;
    let more = |promise: Vec<u8>| {
        let body = Compared::Difference(vec![promise.into()], Vec::new(), true);
        let answer = Message::new(texts::ANSWER.id()).payload(cbor::encode(&body));
        answer.encode()
    };
    let same = |_| Ok(more(promise.clone()));
    let asked = rogue.answer_comparisons(same, LONG).await?;
    ensure!(!asked.is_empty(), "nobody compares");
    ensure!(asked.values().all(|count| *count < 10), "{asked:?}");
    // Members that meet again compare again: this time there is something new in every answer.
    let mut rogue = Rogue::admitted(&target.invite, 35)?;
    let promise = rogue.reachable(target.first()?)?;
    let first = rogue.sign(promise.clone())?;
    rogue.tell(target.first()?, &[first]).await?;
    let key = rogue.key.clone();
    let next = |sequence| {
        let promise = MemberPromise {
            sequence,
            ..promise.clone()
        };
        Ok(more(Signed::sign(promise, &key)?.bytes().to_vec()))
    };
    let asked = rogue.answer_comparisons(next, LONG).await?;
    ensure!(!asked.is_empty(), "nobody compares");
    // A whole budget at once and what grows back meanwhile, and the comparisons that timers ask for.
    ensure!(asked.values().all(|count| *count < 100), "{asked:?}");
    Ok(None)
}

/// Datagrams that are neither QUIC nor WireGuard, and some that start like one.
fn datagrams(target: &Target) -> Result<Option<Accused>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for victim in &target.victims {
        for port in [QUIC_PORT, WIREGUARD_PORT] {
            let to = (victim.node.ipv4()?, port);
            for number in 0..3000_usize {
                let mut packet = noise(number, 1 + number * 37 % 1400);
                let head: &[u8] = match number % 6 {
                    // A handshake, its response, a cookie and data of WireGuard.
                    0 => &[1, 0, 0, 0],
                    1 => &[2, 0, 0, 0],
                    2 => &[3, 0, 0, 0],
                    3 => &[4, 0, 0, 0],
                    // A long header of QUIC version 1.
                    4 => &[0xc3, 0, 0, 0, 1],
                    _ => &[],
                };
                for (to, from) in packet.iter_mut().zip(head) {
                    *to = *from;
                }
                match number % 6 {
                    0 => packet.resize(148, 7),
                    1 => packet.resize(92, 7),
                    4 => packet.resize(1200, 7),
                    _ => {}
                }
                // A full queue does not matter here.
                let _ = socket.send_to(&packet, to);
            }
        }
    }
    Ok(None)
}

/// Limits that do not restrict an endpoint.
fn wide() -> Limits {
    Limits {
        max_message: 64 << 20,
        max_buffered_per_peer: u32::MAX,
        max_buffered: u32::MAX,
        ..Limits::default()
    }
}

/// Pseudo-random bytes, the same for the same seed (xorshift).
fn noise(number: usize, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .collect()
}
