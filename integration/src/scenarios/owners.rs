//! Who decides: owners that come and go, and keys that are lost or stolen.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_until;

/// How long it may take until whoever was revoked has no interface.
const GONE: Duration = Duration::from_secs(5);
/// How long it may take until all that were put out are back: a comparison brings what they missed.
const BACK: Duration = Duration::from_secs(150);
/// What lies behind a member.
const SUBNET: &str = "192.168.77.0/24";
/// Where the recovery key is written to, on each node.
const PAPER: &str = "/tmp/grid-recovery-key";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "what_a_dismissed_owner_did_is_void",
        run: dismissed,
    },
    Scenario {
        name: "what_a_dismissed_owner_did_before_stands",
        run: stands,
    },
    Scenario {
        name: "a_closed_invite_lets_nobody_else_in",
        run: closed,
    },
    Scenario {
        name: "a_lost_founder_is_replaced_with_the_recovery_key",
        run: lost,
    },
    Scenario {
        name: "a_stolen_founder_is_dismissed_with_the_recovery_key",
        run: stolen,
    },
];

/// A member promises a subnet, and another one takes its word for it, as `replay` shows.
fn with_subnet(node: &Node, promiser: &Node) -> Result<()> {
    promiser.grid_ok(&["promise", "foo", SUBNET], "")?;
    let from = seen::identity(promiser, "foo")?.node;
    node.grid_ok(&["accept", "foo", SUBNET, "--from", &from], "")?;
    replays(node, Some(true), PATIENCE)
}

/// Waits until `replay` says this of the subnet: accepted, refused, or promised by nobody.
fn replays(node: &Node, verdict: Option<bool>, within: Duration) -> Result<()> {
    let what = format!("{SUBNET} on {} to be {verdict:?}", node.name());
    wait_until(&what, within, || {
        Ok(seen::replayed(node, "foo", SUBNET)? == verdict)
    })
}

/// The same, but the owner is dismissed after what it did: that stands.
fn stands(lab: &Lab) -> Result<()> {
    let Acted {
        mut mesh,
        founder,
        own,
        victims,
        ..
    } = acted(lab)?;
    let dismiss = ["dismiss-owner", "foo", &own, "--stay"];
    let said = founder.grid_ok(&dismiss, "")?;
    ensure!(!said.contains("the revocation of"), "{said}");
    let owners = founder.grid_ok(&["owners", "foo"], "")?;
    ensure!(owners.contains("dismissed"), "{owners}");
    for victim in &victims {
        mesh.forget(victim);
    }
    mesh.wait_whole(PATIENCE)?;
    for victim in &victims {
        let status = seen::status(victim, "foo")?;
        let standing = &status["networks"][0]["standing"];
        ensure!(standing == "expelled", "{}: {standing}", victim.name());
    }
    replays(&founder, None, PATIENCE)
}

/// A mesh of five after its second node was made an owner and put three others out. One of these promised a subnet, which
/// the founder had accepted.
struct Acted {
    mesh: Mesh,
    founder: Arc<Node>,
    owner: Arc<Node>,
    /// The owner's id.
    own: String,
    victims: Vec<Arc<Node>>,
}

fn acted(lab: &Lab) -> Result<Acted> {
    let mesh = Mesh::of_size(lab, "foo", 5, MeshOptions::default())?;
    let founder = mesh.members()[0].clone();
    let owner = mesh.members()[1].clone();
    let victims = mesh.members()[2..].to_vec();
    with_subnet(&founder, &victims[0])?;
    let own = puts_out(&founder, &owner, &victims)?;
    replays(&founder, None, PATIENCE)?;
    Ok(Acted {
        mesh,
        founder,
        owner,
        own,
        victims,
    })
}

/// A founder appoints an owner, who puts others out one by one. Says which node it is.
fn puts_out(founder: &Node, owner: &Node, victims: &[Arc<Node>]) -> Result<String> {
    let own = seen::identity(owner, "foo")?.node;
    founder.grid_ok(&["appoint-owner", "foo", &own], "")?;
    wait_until("the member to be an owner", PATIENCE, || {
        let status = seen::status(owner, "foo")?;
        Ok(status["networks"][0]["owner"] == true)
    })?;
    for victim in victims {
        let node = seen::identity(victim, "foo")?.node;
        owner.grid_ok(&["revoke", "foo", &node, "--keep-guests"], "")?;
    }
    all_out(victims)?;
    Ok(own)
}

/// A founder appoints an owner, who puts three members out one by one; it is dismissed with all that it did, and they are
/// back.
fn dismissed(lab: &Lab) -> Result<()> {
    let Acted {
        mesh,
        founder,
        owner,
        own,
        ..
    } = acted(lab)?;
    let founders = seen::identity(&founder, "foo")?.node;
    let upwards = ["dismiss-owner", "foo", &founders];
    seen::refused(&owner, &upwards, "", &[4])?;
    let plan = founder.grid_ok(
        &["dismiss-owner", "foo", &own, "--void-all", "--dry-run"],
        "",
    )?;
    ensure!(plan.matches("the revocation of").count() == 3, "{plan}");
    founder.grid_ok(&["dismiss-owner", "foo", &own, "--void-all", "--stay"], "")?;
    let owners = founder.grid_ok(&["owners", "foo"], "")?;
    ensure!(owners.contains("dismissed"), "{owners}");
    mesh.wait_whole(BACK)?;
    replays(&founder, Some(true), PATIENCE)
}

/// An invite that leaked is closed: those who came by it stay, and nobody else comes.
fn closed(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 3, MeshOptions::default())?;
    let (founder, member) = match mesh.members() {
        [founder, member, ..] => (founder.clone(), member.clone()),
        _ => anyhow::bail!("not three members"),
    };
    let unused = founder.grid_ok(&["invite", "foo", "--uses", "7"], "")?;
    let stranger = lab.add_node("y")?;
    closes_no_other(&stranger, &founder)?;
    let listed = founder.grid_ok(&["invites", "foo"], "")?;
    ensure!(
        listed.contains("2/250") && listed.contains("0/7"),
        "{listed}"
    );
    let ids = listed
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    for id in ids {
        seen::refused(&member, &["close-invite", "foo", id], "", &[1, 4])?;
        let said = founder.grid_ok(&["close-invite", "foo", id], "")?;
        ensure!(
            said.contains("is closed") && !said.contains("gone"),
            "{said}"
        );
    }
    let listed = founder.grid_ok(&["invites", "foo"], "")?;
    ensure!(listed.matches("closed").count() == 2, "{listed}");
    let newcomer = lab.add_node("x")?;
    for invite in [mesh.invite(), &unused] {
        let join = ["join-wireguard-net", "foo", "-", "--wait", "5s"];
        seen::refused(&newcomer, &join, invite, &[4, 5])?;
        let _ = newcomer.grid(&["leave-wireguard-net", "foo"])?;
    }
    mesh.wait_whole(PATIENCE)
}

/// An invite to another network closes nothing, whatever that network is called, and signs no act.
fn closes_no_other(stranger: &Node, founder: &Node) -> Result<()> {
    let acts = founder.grid_ok(&["owners", "foo", "--acts"], "")?;
    for (net, why) in [("pub", "network \"pub\""), ("foo", "another network")] {
        stranger.grid_ok(&["create-wireguard-net", net], "")?;
        let invite = stranger.grid_ok(&["invite", net], "")?;
        let said = seen::refused(founder, &["close-invite", "foo", "-"], &invite, &[2])?;
        ensure!(said.contains(why), "{said}");
    }
    let after = founder.grid_ok(&["owners", "foo", "--acts"], "")?;
    ensure!(acts == after, "{after}");
    Ok(())
}

fn all_out(victims: &[Arc<Node>]) -> Result<()> {
    for victim in victims {
        wait_until("the revoked node's interface to go", GONE, || {
            Ok(!seen::has_interface(victim, "foo")?)
        })?;
    }
    Ok(())
}

/// A network that was founded with a recovery key, and the key.
fn under_a_key(lab: &Lab, size: usize) -> Result<(Mesh, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let paper = format!("{PAPER}-{now}");
    let options = MeshOptions {
        // A path of this lab's own: other scenarios run in the same folder.
        recovery_key: Some(paper.clone()),
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", size, options)?;
    let founder = mesh.members().first().context("no founder")?;
    let key = founder.tool(&["cat", &paper], "", PATIENCE)?;
    let key = String::from_utf8(key.stdout)?;
    let owners = founder.grid_ok(&["owners", "foo"], "")?;
    ensure!(owners.contains("the recovery key"), "{owners}");
    ensure!(!owners.contains("no recovery key"), "{owners}");
    // The paper is the only place where it is: not even the founder's home holds it.
    founder.tool(&["rm", &paper], "", PATIENCE)?;
    Ok((mesh, key))
}

/// The founder's machine is gone for good, and with it the only owner.
fn lost(lab: &Lab) -> Result<()> {
    let (mut mesh, key) = under_a_key(lab, 4)?;
    let [founder, member, bad, _] = mesh.members() else {
        anyhow::bail!("not four members");
    };
    let (founder, member, bad) = (founder.clone(), member.clone(), bad.clone());
    with_subnet(&member, &bad)?;
    server::kill_9(&founder)?;
    let node = seen::identity(&bad, "foo")?.node;
    let revoke = ["revoke", "foo", &node, "--keep-guests"];
    seen::refused(&member, &revoke, "", &[4])?;
    let recover = ["recover", "foo", "-"];
    // Lines before it say what it is.
    let letters = key.lines().last().context("no key")?;
    let misread = letters.replacen(|c: char| c.is_ascii_digit(), "#", 1);
    seen::refused(&member, &recover, &misread, &[2])?;
    member.grid_ok(&recover, &key.to_lowercase())?;
    let status = seen::status(&member, "foo")?;
    ensure!(status["networks"][0]["owner"] == true, "{status}");
    member.grid_ok(&revoke, "")?;
    all_out(std::slice::from_ref(&bad))?;
    replays(&member, None, PATIENCE)?;
    // It decides as the founder did: those whom it invites, and those who come later know it as an owner.
    let invite = mesh.invite_from(&member)?;
    let newcomer = lab.add_node("x")?;
    mesh.join_by(&newcomer, &invite)?;
    for ip in seen::ips(&newcomer)? {
        seen::reaches(&member, ip, PATIENCE)?;
    }
    let owners = newcomer.grid_ok(&["owners", "foo"], "")?;
    ensure!(owners.contains("appointed by"), "{owners}");
    // The newcomer decides by what it was told: nobody promises what lay behind the revoked node.
    replays(&newcomer, None, PATIENCE)
}

/// Whoever has the founder's machine puts everybody out, one by one.
fn stolen(lab: &Lab) -> Result<()> {
    let (mut mesh, key) = under_a_key(lab, 4)?;
    let founder = mesh.members().first().context("no founder")?.clone();
    let victims = mesh.members()[1..].to_vec();
    let rescuer = victims.first().context("no victim")?;
    with_subnet(rescuer, victims.last().context("no victim")?)?;
    let thief = seen::identity(&founder, "foo")?.node;
    let who = victims
        .iter()
        .map(|victim| Ok(seen::identity(victim, "foo")?.node));
    for node in who.collect::<Result<Vec<_>>>()? {
        founder.grid_ok(&["revoke", "foo", &node], "")?;
    }
    all_out(&victims)?;
    let dismiss = [
        "dismiss-owner",
        "foo",
        &thief,
        "--void-all",
        "--keep-guests",
    ];
    seen::refused(rescuer, &dismiss, "", &[4])?;
    let with_key = [&dismiss[..], &["--recovery-key", "-"]].concat();
    let plan = rescuer.grid_ok(&[&with_key[..], &["--dry-run"]].concat(), &key)?;
    // Whoever was put out first knows of no more than that.
    ensure!(plan.contains("the revocation of"), "{plan}");
    rescuer.grid_ok(&with_key, &key)?;
    mesh.forget(&founder);
    mesh.wait_whole(BACK)?;
    replays(rescuer, Some(true), PATIENCE)?;
    let status = seen::status(rescuer, "foo")?;
    ensure!(status["networks"][0]["owner"] == true, "{status}");
    for node in &victims {
        let owners = node.grid_ok(&["owners", "foo"], "")?;
        ensure!(owners.contains("dismissed"), "{owners}");
    }
    // What the thief does from now on counts for nobody.
    let node = seen::identity(rescuer, "foo")?.node;
    let _ = founder.grid(&["revoke", "foo", &node])?;
    std::thread::sleep(GONE);
    mesh.wait_whole(PATIENCE)
}
