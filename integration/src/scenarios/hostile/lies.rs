//! Promises that are signed and admitted, but not true.

use anyhow::{Result, ensure};
use ipnet::IpNet;

use super::rogue::{Accused, Rogue};
use super::target::Target;

/// Tells every lie to every victim.
pub(super) async fn tell(target: &Target) -> Result<Vec<Accused>> {
    let (invite, victims) = (&target.invite, target.victims.as_slice());
    let mut accused = Vec::new();
    // The address of each member, claimed by a key that may, dated back as far as possible.
    for (number, victim) in (0..).zip(victims) {
        let from = 1_000_000 * (number + 1);
        let mut rogue = Rogue::who_may_claim(invite, victim.ipv4, from)?;
        let promise = rogue.antedated();
        ensure!(promise.ipv4.address == victim.ipv4, "it claims another");
        let promise = rogue.sign(promise)?;
        let taken = rogue.push(victims, &[promise]).await?;
        ensure!(
            taken.iter().all(|taken| *taken),
            "the claim is no valid promise"
        );
        accused.push(Accused::new(&rogue, "claiming the address of another"));
    }
    // An address that it may not claim at all.
    let victim = target.first()?.ipv4;
    let mut rogue = Rogue::out_of_the_way(invite, &[victim], 3000)?;
    rogue.join(victims).await?;
    let mut promise = rogue.promise();
    promise.sequence = 2;
    promise.ipv4.address = victim;
    let promise = rogue.sign(promise)?;
    refused(&mut rogue, target, promise).await?;
    accused.push(Accused::new(&rogue, "claiming what is no candidate"));
    let mut rogue = Rogue::admitted(invite, 2)?;
    let mut promise = rogue.promise();
    promise.ipv6.address = target.second()?.ipv6;
    let promise = rogue.sign(promise)?;
    refused(&mut rogue, target, promise).await?;
    accused.push(Accused::new(&rogue, "claiming the IPv6 address of another"));

    // A default route, the victims' own subnet, the network's range, and each victim.
    let mut rogue = Rogue::admitted(invite, 3)?;
    let mut prefixes: Vec<IpNet> = Vec::new();
    for text in [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "192.0.2.0/24",
        "2001:db8:1::/64",
        "10.66.0.0/16",
        "10.66.0.0/28",
        "127.0.0.0/8",
        "fd00::/8",
        "203.0.113.0/24",
    ] {
        prefixes.push(text.parse()?);
    }
    for victim in victims {
        prefixes.push(IpNet::from(std::net::IpAddr::V4(victim.ipv4)));
        prefixes.push(IpNet::from(std::net::IpAddr::V6(victim.ipv6)));
        prefixes.push(IpNet::from(std::net::IpAddr::V4(victim.node.ipv4()?)));
    }
    let promise = rogue.sign(rogue.routing(&prefixes))?;
    let taken = rogue.push(victims, &[promise]).await?;
    ensure!(
        taken.iter().all(|taken| *taken),
        "the prefixes are no valid promise"
    );
    accused.push(Accused::new(&rogue, "promising prefixes"));

    // The WireGuard key of each.
    for (seed, victim) in (10..).zip(victims) {
        let mut rogue = Rogue::admitted(invite, seed)?;
        let promise = rogue.sign(rogue.with_key_of(victim))?;
        refused(&mut rogue, target, promise).await?;
        accused.push(Accused::new(&rogue, "the WireGuard key of another"));
    }

    // What others once said, or said elsewhere. An old statement alone is no offence, since any
    // honest node may be behind.
    let mut rogue = Rogue::admitted(invite, 20)?;
    rogue.join(victims).await?;
    rogue
        .push(victims, std::slice::from_ref(&target.old))
        .await?;
    refused(&mut rogue, target, target.elsewhere.clone()).await?;
    accused.push(Accused::new(&rogue, "a statement of another network"));

    // Signed by nobody. What is no news is not verified, so it is news.
    let mut rogue = Rogue::admitted(invite, 21)?;
    let mut forged = rogue.sign(rogue.promise())?;
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    refused(&mut rogue, target, forged).await?;
    accused.push(Accused::new(&rogue, "a forged statement"));
    Ok(accused)
}

/// Pushes what every victim must refuse, and checks that they did.
async fn refused(rogue: &mut Rogue, target: &Target, statement: Vec<u8>) -> Result<()> {
    let taken = rogue.push(&target.victims, &[statement]).await?;
    ensure!(!taken.contains(&true), "it was taken");
    Ok(())
}
