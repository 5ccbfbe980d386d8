//! A member that lies, floods and babbles changes nothing between the others.
//!
//! The attacker has one invite for many uses, hence as many node keys as it likes, each validly
//! admitted. It speaks the real protocol from its own machine.

mod applicants;
mod asks;
#[cfg(feature = "modules")]
mod callers;
mod copy;
mod evidence;
mod five;
mod honest;
mod insider;
mod lies;
mod noise;
mod outsider;
mod readers;
mod rogue;
mod stranger;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::runtime::Builder;

use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::output::say;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_until;
use honest::{Honest, Pings};
use rogue::Accused;
use target::Target;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "lies_of_a_member_change_nothing",
        run: lies_change_nothing,
    },
    Scenario {
        name: "false_evidence_changes_nothing",
        run: evidence_changes_nothing,
    },
    Scenario {
        name: "noise_of_a_member_changes_nothing",
        run: noise_changes_nothing,
    },
    Scenario {
        name: "lies_of_an_outsider_change_nothing",
        run: outsider::lies,
    },
    Scenario {
        name: "a_crowd_of_strangers_isolates_nobody",
        run: outsider::crowd,
    },
    Scenario {
        name: "a_member_that_repeats_itself_changes_nothing",
        run: insider::attack,
    },
    Scenario {
        name: "who_is_out_reads_no_statement_of_a_member",
        run: readers::ask,
    },
    Scenario {
        name: "invented_keys_keep_no_newcomer_out",
        run: applicants::crowd,
    },
    Scenario {
        name: "two_machines_with_one_key_disturb_nobody",
        run: copy::run,
    },
    #[cfg(feature = "modules")]
    Scenario {
        name: "only_present_members_call_modules",
        run: callers::only_present_members,
    },
];

const PATIENCE: Duration = Duration::from_secs(20);
/// By how much a node's memory may grow, in KiB.
const GROWTH: u64 = 30 << 10;

fn lies_change_nothing(lab: &Lab) -> Result<()> {
    under_attack(lab, |target| async move { lies::tell(&target).await })
}

fn evidence_changes_nothing(lab: &Lab) -> Result<()> {
    under_attack(lab, |target| async move { evidence::fake(&target).await })
}

fn noise_changes_nothing(lab: &Lab) -> Result<()> {
    // The attacker holds 1.5 GB of messages that are too long.
    crate::kernel::require_large_processes()?;
    under_attack(lab, |target| async move { noise::make(&target).await })
}

/// Builds a network of three nodes, attacks it, and checks that the network between them has not
/// changed. `attack` returns the node keys that it used and that the logs must name.
fn under_attack<F>(lab: &Lab, attack: impl FnOnce(Arc<Target>) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<Vec<Accused>>>,
{
    let options = MeshOptions {
        // Few addresses, so that a key for another's address is easy to find.
        ipv4: Some("10.66.0.0/28".to_owned()),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::of_size(lab, "foo", 2, options)?;
    let spent = match mesh.members() {
        [_, member] => member.grid_ok(&["invite", "foo", "--uses", "1"], "")?,
        _ => anyhow::bail!("not two members"),
    };
    mesh.join_by(&lab.add_node("c")?, &spent)?;
    mesh.wait_whole(PATIENCE)?;
    let target = Arc::new(Target::of(&mesh, &spent)?);
    let attacker = lab.add_node("mallory")?;
    let honest = Honest::new(mesh.members())?;
    let before = honest.settled(PATIENCE)?;
    let (memory, busy) = (resident(&mesh)?, busy(&mesh)?);
    let started = Instant::now();

    let pings = Pings::start(&honest)?;
    let accused = attacker.namespaces().in_net(|| -> Result<Vec<Accused>> {
        // On this thread only: others would be in another network namespace.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(attack(Arc::clone(&target)))
    })??;
    // Effects may come a little later.
    std::thread::sleep(Duration::from_secs(3));
    costs_little(&mesh, &busy, started.elapsed())?;
    pings.stop()?;

    let after = honest.look()?;
    ensure!(before == after, "was {before:#?}\nis {after:#?}");
    honest.others_have_only_their_own()?;
    let now = resident(&mesh)?;
    say(&format!(
        "resident before and after, in KiB: {memory:?}, {now:?}"
    ));
    for (before, after) in memory.iter().zip(now) {
        ensure!(after < before + GROWTH, "from {before} to {after} KiB");
    }
    for Accused { id, of } in accused {
        let name = id.short();
        wait_until(&format!("a log to say who did {of}"), PATIENCE, || {
            let logs: Result<Vec<String>> = mesh
                .members()
                .iter()
                .map(|node| node.server_log())
                .collect();
            Ok(logs?
                .iter()
                .flat_map(|log| log.lines())
                .any(|line| line.contains("WARN") && line.contains(&name)))
        })?;
    }
    mesh_is_whole(&mesh)
}

fn resident(mesh: &Mesh) -> Result<Vec<u64>> {
    let members = mesh.members().iter();
    members
        .map(|node| Ok(server::memory(node)?.now_kib))
        .collect()
}

/// How much processor time each server has used.
fn busy(mesh: &Mesh) -> Result<Vec<Duration>> {
    let members = mesh.members().iter();
    members.map(|node| server::processor_time(node)).collect()
}

fn costs_little(mesh: &Mesh, before: &[Duration], lasted: Duration) -> Result<()> {
    let allowed = five::may_be_busy(lasted);
    for (before, now) in before.iter().zip(busy(mesh)?) {
        let busy = now.saturating_sub(*before);
        say(&format!("{busy:.1?} of a processor in {lasted:.1?}"));
        ensure!(busy <= allowed, "more than {allowed:.1?} of a processor");
    }
    Ok(())
}

fn mesh_is_whole(mesh: &Mesh) -> Result<()> {
    let addresses = mesh.addresses()?;
    for node in mesh.members() {
        for address in addresses.iter().flatten() {
            wait_until("an answer after the attack", PATIENCE, || {
                Ok(crate::ping::ping(node, *address, Duration::from_secs(1))?.is_some())
            })?;
        }
    }
    Ok(())
}
