//! Invented keys that ask to be admitted, and call themselves what an honest newcomer is called.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use grid_promises::Timestamp;
use grid_promises::core::protocol::by_hand;
use grid_promises::network::NetworkId;
use grid_promises::network::admission::AdmissionRequest;
use grid_promises::network::charter::Charter;
use grid_promises::network::name::Label;
use grid_promises::network::statement::Signed;

use super::five::{self, Five};
use super::rogue::Rogue;
use super::stranger::{Stranger, key};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenarios::seen::{self, PATIENCE};
use crate::wait::wait_until;

/// What the honest newcomer is called.
const NAME: &str = "web1";
/// Places in the list of those who ask.
const MOST: usize = 32;
/// 64 keys over the connection of a member, as many over that of a stranger, and as many on connections of their own, all
/// from the newcomer's network: it is admitted by its code.
pub(super) fn crowd(lab: &Lab) -> Result<()> {
    let five = Five::accepted(lab)?;
    let attacker = lab.add_node("mallory")?;
    let newcomer = lab.add_node(NAME)?;
    let founder = five.founder()?;
    let charter = fs::read(founder.node.home().join("nets/foo/charter"))?;
    let charter: Signed<Charter> = Signed::decode(&charter)?;
    five.endure(&attacker, || async {
        pass_on(&five, &charter).await?;
        let mut many = Vec::new();
        for seed in 1200..1264 {
            let mut stranger = Stranger::new(seed)?;
            // There is no place for the last of them.
            if stranger.connect(founder).await.is_ok() {
                let request = request(&charter.network(), seed)?;
                stranger.ask(founder.id, request).await?;
            }
            many.push(stranger);
        }
        let names = asking(&founder.node)?;
        ensure!(names.len() == MOST, "{} ask", names.len());
        ensure!(names.iter().all(|name| name == NAME), "{names:?}");
        Ok(())
    })?;
    seen::refused(&founder.node, &["accept", "foo", NAME], "", &[2])?;
    newcomer.grid_ok(&["generate-keys"], "")?;
    let id = seen::identity_of(&newcomer)?.parse()?;
    five::accept(&founder.node, id)?;
    // The strangers have all places of their network, until they are idle.
    wait_until("a place for a newcomer", PATIENCE, || {
        five::exchange(&newcomer, &founder.node).map(|()| true)
    })?;
    newcomer.grid_ok(&["join-wireguard-net", "foo", "--wait", "30s"], "")?;
    // The member that passed requests on is one too.
    let expected = five.victims.len() + 1;
    wait_until("the newcomer to be a member", PATIENCE, || {
        let status = seen::status(&founder.node, "foo")?;
        let peers = status["networks"][0]["peers"].as_array();
        let peers = peers.context("no peers")?.len();
        ensure!(peers == expected, "{peers} others are members");
        Ok(true)
    })
}

/// A stranger may not pass on what others ask, and a member takes one place for it.
async fn pass_on(five: &Five, charter: &Signed<Charter>) -> Result<()> {
    let (founder, network) = (five.founder()?, charter.network());
    let mut stranger = Stranger::new(900)?;
    stranger.connect(founder).await?;
    let mut member = Rogue::by_name(charter, 901)?;
    five::accept(&founder.node, member.id())?;
    member.connect(founder).await?;
    member.ask(founder, request(&network, 901)?).await?;
    member.join(&five.victims).await?;
    for seed in 1000..1064 {
        let request = request(&network, seed)?;
        stranger.ask(founder.id, request.clone()).await?;
        member.ask(founder, request).await?;
    }
    let names = asking(&founder.node)?;
    ensure!(names.len() == 1, "{names:?}");
    Ok(())
}

/// A key asks to be admitted.
fn request(network: &NetworkId, seed: u64) -> Result<Vec<u8>> {
    let key = key(seed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let request = AdmissionRequest {
        network: *network,
        node: key.id(),
        label: Label::from_host_name(NAME),
        issued: Timestamp(now.as_secs()),
    };
    Ok(by_hand::ask(&Signed::sign(request, &key)?))
}

/// The names of those who ask.
fn asking(owner: &Node) -> Result<Vec<String>> {
    let status = seen::status(owner, "foo")?;
    let asking = status["networks"][0]["asking"].as_array();
    let names = asking.context("no list")?.iter();
    Ok(names
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect())
}
