//! Who may call a module: a member, while it is one.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use grid_promises::network::invite::Invite;
use grid_promises::{ContentId, Message, texts};
use tokio::runtime::Builder;

use super::rogue::Rogue;
use super::target::Victim;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::scenarios::modules::guest;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn only_present_members(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 1, MeshOptions::default())?;
    let [node] = mesh.members() else {
        bail!("not one member")
    };
    node.grid_ok(&["create-wireguard-net", "bar"], "")?;
    node.grid_ok(&["publish", "hello", &guest("hello-c.wasm")?], "")?;
    node.grid_ok(&["contract", "--add", "hello"], "")?;
    let promise = ContentId::of(&fs::read(guest("hello.md")?)?);
    let call = Message::new(promise).arg("world");
    let victim = Victim::of(node)?;
    let invite = Invite::from_text(mesh.invite())?;
    let caller = lab.add_node("mallory")?;
    caller.namespaces().in_net(|| -> Result<()> {
        // On this thread only: others would be in another network namespace.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut rogue = Rogue::admitted(&invite, 1)?;
            let may_not = "somebody who is no member";
            // An admission alone makes nobody a member.
            is_answered(&mut rogue, &victim, &call, false, may_not).await?;
            rogue.join(std::slice::from_ref(&victim)).await?;
            is_answered(&mut rogue, &victim, &call, true, "a member").await?;
            for (net, is_served) in [("bar", false), ("foo", true)] {
                node.grid_ok(&["contract", "--add", "hello", "--for", net], "")?;
                is_answered(&mut rogue, &victim, &call, is_served, net).await?;
            }
            node.grid_ok(&["contract", "--add", "hello", "--for", "members"], "")?;
            is_answered(&mut rogue, &victim, &call, true, "a member").await?;
            node.grid_ok(&["revoke", "foo", &rogue.id().to_string()], "")?;
            is_answered(&mut rogue, &victim, &call, false, "who was revoked").await
        })
    })?
}

/// Whether the module answers, or its node refuses, within the time that a change of the configuration takes.
async fn is_answered(
    rogue: &mut Rogue,
    victim: &Victim,
    call: &Message,
    is_served: bool,
    what: &str,
) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        rogue.connect(victim).await?;
        // A connection may be closed meanwhile: that of somebody who was revoked is.
        if let Ok(answer) = rogue.ask(victim, call.encode()).await {
            let answer = Message::decode(&answer, &Message::BOUNDS)?;
            let is_there = match is_served {
                true => answer.payload == b"hello, world",
                false => answer.promise == texts::REFUSAL.id(),
            };
            if is_there {
                return Ok(());
            }
        }
        ensure!(Instant::now() < until, "{what}: served is not {is_served}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
