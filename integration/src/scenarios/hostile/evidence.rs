//! Evidence that is false, was given for another admission, or comes from an accomplice.

use anyhow::{Result, ensure};
use grid_promises::limits::SPARE_USES;
use grid_promises::network::admission::Grant;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use minicbor::bytes::ByteVec;

use super::rogue::{Accused, Rogue};
use super::stranger::key;
use super::target::Target;

/// How many nodes the losing claimant of an invite admits.
const GUESTS: u64 = 60;

/// Tries everything that false evidence could gain.
pub(super) async fn fake(target: &Target) -> Result<Vec<Accused>> {
    let victims = target.victims.as_slice();
    let mut taken: Vec<_> = victims.iter().map(|victim| victim.ipv4).collect();
    let mut witness = Rogue::out_of_the_way(&target.invite, &taken, 1000)?;
    witness.join(victims).await?;
    taken.push(witness.promise().ipv4.address);
    let early = Rogue::out_of_the_way(&target.invite, &taken, 2000)?;
    let loser = take_a_spent_invite(target, &witness, early).await?;
    bring_guests(target, loser).await?;

    // An accomplice claims to have seen this node at a victim's address from the start.
    let last = target.last()?;
    let mut claimant = Rogue::who_may_claim(&target.invite, last.ipv4, 9_000_000)?;
    let mut promise = claimant.antedated();
    promise.receipts = vec![witness.vouch(&promise, &claimant.admission)?];
    let promise = claimant.sign(promise)?;
    claimant.push(victims, &[promise]).await?;
    Ok(vec![Accused::new(
        &claimant,
        "claiming the address of another",
    )])
}

/// A node that the owner has vouched for switches to an invite that the last victim used up.
async fn take_a_spent_invite(target: &Target, witness: &Rogue, mut rogue: Rogue) -> Result<Rogue> {
    let promise = rogue.sign(rogue.promise())?;
    let owner = target.first()?;
    let seen = rogue.tell(owner, &[promise]).await?.receipt()?;
    ensure!(seen.witness == owner.id, "not the owner's receipt");

    rogue.admission = target.spent.admit(rogue.id())?;
    let promise = MemberPromise {
        sequence: 2,
        receipts: vec![ByteVec::from(seen.bytes().to_vec())],
        ..rogue.promise()
    };
    let vouched = MemberPromise {
        sequence: 3,
        receipts: vec![witness.vouch(&promise, &rogue.admission)?],
        ..promise.clone()
    };
    for promise in [promise, vouched] {
        let promise = rogue.sign(promise)?;
        for victim in &target.victims {
            let said = rogue.tell(victim, std::slice::from_ref(&promise)).await?;
            ensure!(said.receipt().is_err(), "a receipt for a spent invite");
        }
    }
    Ok(rogue)
}

/// The losing claimant of an invite issues invites.
async fn bring_guests(target: &Target, mut loser: Rogue) -> Result<()> {
    let invite = key(40);
    let grant = Grant {
        network: loser.charter.network(),
        invite: invite.id(),
        issuer: loser.id(),
        uses: 10_000,
        office: None,
        ..target.spent.grant.body().clone()
    };
    let grant = Signed::sign(grant, &loser.key)?;
    let mut promises = Vec::new();
    for seed in 0..GUESTS {
        let mut guest = Rogue::admitted(&target.invite, 100 + seed)?;
        guest.come_by(&loser, grant.clone(), &invite)?;
        promises.push(guest.sign(guest.promise())?);
    }
    for victim in &target.victims {
        for again in 0..2 {
            let mut refused = 0;
            for some in promises.chunks(20) {
                refused += loser.tell(victim, some).await?.refused as usize;
            }
            // Of those that were not refused at first, some were displaced.
            ensure!(
                again == 0 || refused + SPARE_USES == promises.len(),
                "{refused} guests were refused"
            );
        }
    }
    Ok(())
}
