//! Nothing secret leaves a node: not in what nodes say to one another, not in packets, logs, process
//! tables, results, or files that others can open.

mod search;
mod sources;

use anyhow::{Context as _, Result, ensure};

use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::wait::wait_until;
use search::{Search, forms};
use sources::{Member, PATIENCE, Run, Sampler, Secrets};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "nothing_secret_leaves_a_node",
    run: nothing_leaves,
}];

fn nothing_leaves(lab: &Lab) -> Result<()> {
    let nodes = [lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?];
    nodes[0]
        .namespaces()
        .in_net(crate::requirements::wireguard)??;
    let sampler = Sampler::start(&nodes);
    let mut run = Run::start(&nodes)?;
    let (secrets, members) = live(&mut run)?;
    run.stop()?;
    let processes = sampler.stop()?;
    let sources = run.sources(processes)?;

    let search = Search::for_all(secrets.iter());
    can_fail(&search, &secrets, &sources)?;
    were_heard(&sources, &members)?;
    for (name, bytes) in sources.all() {
        if let Some(found) = search.first_in(bytes) {
            anyhow::bail!("{found} stands in {name}");
        }
    }
    for member in &members {
        // What leaving forgets is on no disk any more.
        let key = Search::for_all([("the WireGuard key", &member.wireguard)]);
        for (path, bytes) in sources::files(&member.node)? {
            ensure!(
                member.stays || key.first_in(&bytes).is_none(),
                "the WireGuard key of {}, which left, stands in {path}",
                member.node.name()
            );
        }
    }
    Ok(())
}

/// Everything that nodes do with one another, from founding to leaving. Returns the secrets that
/// there were meanwhile.
fn live(run: &mut Run) -> Result<(Secrets, Vec<Member>)> {
    let [a, b, c] = [0, 1, 2];
    run.grid(a, &["create-wireguard-net", "foo"], "")?;
    let first = run.invite(a)?;
    run.grid(b, &["join-wireguard-net", "foo", "-"], &first)?;
    // Issued by a member that is not an owner, so that the chain is longer.
    let second = run.invite(b)?;
    run.grid(c, &["join-wireguard-net", "foo", "-"], &second)?;
    for node in [a, b, c] {
        wait_until("the mesh to be whole", PATIENCE, || {
            Ok(run.peers(node)? == 2)
        })?;
    }
    run.ping_all()?;
    run.grid(b, &["promise", "foo", "192.168.7.0/24"], "")?;
    run.grid(a, &["accept", "foo", "192.168.7.0/24", "--from", "b"], "")?;
    run.grid(a, &["create-config", "foo"], "")?;
    for node in [a, b, c] {
        for arguments in [&["status"][..], &["status", "--json"], &["generate-keys"]] {
            run.grid(node, arguments, "")?;
        }
    }
    // Errors are reported too, and must not reveal more.
    let cut = first
        .get(..first.len() / 2)
        .context("the invite is short")?;
    run.grid_fails(c, &["join-wireguard-net", "bar", "-"], cut)?;
    run.grid_fails(c, &["join-wireguard-net", "bar", "-"], &first)?;
    let secrets = Secrets::of(run.nodes(), &[&first, &second])?;
    let mut members = Vec::new();
    for node in run.nodes() {
        members.push(Member::of(node)?);
        sources::modes_are_private(node)?;
    }
    run.grid(c, &["leave-wireguard-net", "foo"], "")?;
    wait_until("the others to forget c", PATIENCE, || {
        Ok(run.peers(a)? == 1 && run.peers(b)? == 1)
    })?;
    run.grid(b, &["leave-wireguard-net", "foo"], "")?;
    wait_until("a to forget b", PATIENCE, || Ok(run.peers(a)? == 0))?;
    for node in run.nodes() {
        sources::modes_are_private(node)?;
    }
    members[0].stays = true;
    Ok((secrets, members))
}

/// Checks that the search can find something: where it must be, and where it is planted.
fn can_fail(search: &Search, secrets: &Secrets, sources: &sources::Sources) -> Result<()> {
    for (name, secret) in secrets.iter() {
        ensure!(
            secret.expose().iter().any(|byte| *byte != 0),
            "{name} is zero"
        );
        for (form, bytes) in forms(secret) {
            for (source, clean) in sources.all().take(1) {
                let middle = clean.len() / 2;
                let (before, after) = clean.split_at(middle);
                let planted = [before, &bytes, after].concat();
                ensure!(
                    search.first_in(&planted).is_some(),
                    "{name} in {form} is not found in a copy of {source}"
                );
            }
        }
    }
    // The keys of the node that stays are in its own files.
    for file in [
        "keys/node.key",
        "nets/foo/wireguard.key",
        "nets/foo/network.secret",
    ] {
        let bytes = std::fs::read(sources.first_home().join(file))?;
        ensure!(
            search.first_in(&bytes).is_some(),
            "nothing is found in {file}"
        );
    }
    Ok(())
}

/// Checks that each source holds what is not secret and must be there.
fn were_heard(sources: &sources::Sources, members: &[Member]) -> Result<()> {
    let holds = |kind: &str, what: &[u8]| {
        let found = sources
            .all()
            .filter(|(name, _)| name.starts_with(kind))
            .any(|(_, bytes)| bytes.windows(what.len()).any(|window| window == what));
        ensure!(found, "no {kind} holds {:?}", String::from_utf8_lossy(what));
        Ok(())
    };
    for member in members {
        holds("messages", &member.public_key.0)?;
        holds("messages", &member.id.0)?;
        holds("log", member.id.to_string().as_bytes())?;
        holds("results", member.public_key.to_string().as_bytes())?;
    }
    holds("log", b"TRACE")?;
    holds("processes", b"start-server")?;
    holds("processes", b"GRID_HOME=")?;
    // A handshake of WireGuard: its type and three zero bytes, behind the UDP port and checksum.
    let handshakes = sources
        .packets
        .iter()
        .filter(|frame| frame.windows(2).any(|port| port == 51820_u16.to_be_bytes()))
        .filter(|frame| frame.windows(4).any(|word| word == [1, 0, 0, 0]))
        .count();
    ensure!(
        handshakes > 0,
        "no handshake among {} packets",
        sources.packets.len()
    );
    ensure!(sources.messages >= 20, "only {} messages", sources.messages);
    Ok(())
}
