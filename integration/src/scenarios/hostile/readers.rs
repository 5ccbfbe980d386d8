//! Who is out and asks for what members say: a node that was revoked, its guest, and a new key with an invite that was
//! closed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grid_promises::Message;
use grid_promises::network::admission::Grant;
use grid_promises::network::index::ShortId;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::{Kind, Signed, peek_kind};

use super::asks::{self, Compared, Statements};
use super::five::Five;
use super::rogue::Rogue;
use super::stranger::key;
use super::target::Victim;
use crate::lab::Lab;

const PATIENCE: Duration = Duration::from_secs(30);
pub(super) fn ask(lab: &Lab) -> Result<()> {
    let five = Five::meet(lab)?;
    let attacker = lab.add_node("mallory")?;
    let (theirs, closed, kept) = (five.invite()?, five.invite()?, five.invite()?);
    five.endure(&attacker, || read(&five, &theirs, &closed, &kept))
}

async fn read(five: &Five, theirs: &Invite, closed: &Invite, kept: &Invite) -> Result<()> {
    let (founder, victims) = (five.founder()?, five.victims.as_slice());
    let mut member = Rogue::admitted(kept, 800)?;
    member.join(victims).await?;
    let mut revoked = Rogue::admitted(theirs, 801)?;
    revoked.join(victims).await?;
    let mut guest = guest_of(&revoked, theirs)?;
    guest.join(victims).await?;
    // As members they read everything.
    let mut promises = Vec::new();
    for rogue in [&mut revoked, &mut guest] {
        promises = compared(rogue, founder)
            .await?
            .context("a member is refused")?;
        let of_members = promises.iter().filter(|one| is_of_member(one)).count();
        ensure!(of_members >= 7, "only {of_members} promises");
    }
    let ids = ids(&promises)?;

    let invite = closed.key.id().to_string();
    let node = &founder.node;
    node.grid_ok(&["close-invite", "foo", &invite], "")?;
    node.grid_ok(&["revoke", "foo", &revoked.id().to_string()], "")?;
    // It says that it joined when the invite was made.
    let fresh = Rogue::admitted(closed, 803)?;
    let mut out = [revoked, guest, fresh];
    for rogue in &mut out {
        for victim in victims {
            is_told_why(rogue, victim, &ids).await?;
        }
    }
    hear_nothing(&mut out, &mut member, victims).await
}

/// A node that one of the attacker's own admitted.
fn guest_of(host: &Rogue, by: &Invite) -> Result<Rogue> {
    let invite = key(810);
    let grant = Grant {
        invite: invite.id(),
        issuer: host.id(),
        office: None,
        ..by.grant.body().clone()
    };
    let grant = Signed::sign(grant, &host.key)?;
    let mut guest = Rogue::admitted(by, 802)?;
    guest.come_by(host, grant, &invite)?;
    Ok(guest)
}

/// What a victim sends one that has nothing; `None` if it refuses.
async fn compared(rogue: &mut Rogue, victim: &Victim) -> Result<Option<Vec<Vec<u8>>>> {
    rogue.connect(victim).await?;
    let question = asks::compare(&rogue.charter.network(), Some(&rogue.admission));
    let answer = rogue.ask(victim, question).await?;
    let Some(payload) = asks::answered(&answer)? else {
        return Ok(None);
    };
    match minicbor::decode(&payload)? {
        Compared::Difference(statements, _, _) => {
            Ok(Some(statements.into_iter().map(Vec::from).collect()))
        }
        Compared::Equal | Compared::Index(..) => Ok(Some(Vec::new())),
    }
}

/// Once the victim knows, it says which acts put the node out, and nothing else, whatever it is asked.
async fn is_told_why(rogue: &mut Rogue, victim: &Victim, ids: &[ShortId]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        // A connection to one that was revoked is closed after a while.
        let told = compared(rogue, victim).await.ok().flatten();
        let told = told.unwrap_or_default();
        if !told.is_empty() && !told.iter().any(|one| is_of_member(one)) {
            break;
        }
        ensure!(Instant::now() < until, "{}: {told:?}", victim.node.name());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rogue.connect(victim).await?;
    let pull = asks::pull(&rogue.charter.network(), ids);
    let answer = rogue.ask(victim, pull).await?;
    ensure!(asks::answered(&answer)?.is_none(), "it may pull");
    let bare = asks::compare(&rogue.charter.network(), None);
    let answer = rogue.ask(victim, bare).await?;
    if let Some(payload) = asks::answered(&answer)?
        && let Compared::Difference(statements, _, _) = minicbor::decode(&payload)?
    {
        ensure!(!statements.iter().any(|one| is_of_member(one)), "it reads");
    }
    Ok(())
}

/// All come back, and then a member promises something. One of those that listen is a member, and hears of it.
async fn hear_nothing(out: &mut [Rogue], member: &mut Rogue, victims: &[Victim]) -> Result<()> {
    let hello = asks::hello(SocketAddr::from(([192, 0, 2, 9], 9)));
    for victim in victims {
        member.connect(victim).await?;
        for rogue in out.iter_mut() {
            rogue.connect(victim).await?;
            // It has a connection then that the victim has taken in.
            rogue.ask(victim, hello.clone()).await?;
        }
    }
    let speaker = victims.get(1).context("no second victim")?;
    speaker
        .node
        .grid_ok(&["promise", "foo", "192.168.66.0/24"], "")?;
    let until = Instant::now() + PATIENCE;
    let (mut heard, mut rounds) = (0, 0);
    while rounds < 10 {
        ensure!(Instant::now() < until, "not even a member hears of it");
        heard += pushed(member).await?;
        for rogue in out.iter_mut() {
            let pushed = pushed(rogue).await?;
            ensure!(pushed == 0, "{} heard of {pushed}", rogue.id());
        }
        rounds += u32::from(heard > 0);
    }
    Ok(())
}

/// How many statements of members somebody is sent in a moment.
async fn pushed(rogue: &mut Rogue) -> Result<usize> {
    let mut count = 0;
    let take = |_, message: &Message| {
        if asks::is(message, "push") {
            let body: Statements = minicbor::decode(&message.payload)?;
            count += body
                .statements
                .iter()
                .filter(|one| is_of_member(one))
                .count();
        }
        Ok(None)
    };
    rogue.serve(take, Duration::from_millis(50)).await?;
    Ok(count)
}

fn is_of_member(statement: &[u8]) -> bool {
    peek_kind(statement) != Some(Kind::Act as u8)
}

/// What statements of members are called where they are compared.
fn ids(statements: &[Vec<u8>]) -> Result<Vec<ShortId>> {
    let of_members = statements.iter().filter(|one| is_of_member(one));
    let ids = of_members.map(|bytes| -> Result<ShortId> {
        let promise: Signed<MemberPromise> = Signed::decode(bytes)?;
        let id = promise.id();
        Ok(*id.digest().first_chunk().context("a short digest")?)
    });
    ids.collect()
}
