//! `lab up`: nodes, one network, and who reaches whom how fast.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::kept::Place;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions, node_name};
use crate::node::Node;
use crate::output::{Progress, Style, millis, print, say, styled, table};
use crate::ping::{matrix, ping};
use crate::requirements::{Missing, SKIPPED};
use crate::supervise::{self, Ending};
use crate::wait::wait_until;

/// A matrix with more columns than this does not fit a terminal, and is summarised.
const WIDEST_MATRIX: usize = 12;

#[derive(Debug, Clone)]
pub struct Up {
    pub nodes: usize,
    pub network: String,
    /// `--backend` of the program.
    pub backend: Option<String>,
    /// Only the machines: no network is founded.
    pub bare: bool,
    /// Stay up in the background.
    pub keep: bool,
    /// Stay up until Ctrl-C.
    pub wait: bool,
}

/// Brings a lab up, reports, and takes it down again unless it is to stay. Returns the exit code.
///
/// # Errors
/// When a lab is already kept.
pub fn up(options: &Up) -> Result<u8> {
    let place = Place::of_this_user();
    if options.keep {
        place.require_free()?;
    }
    let note = |init: i32| place.note(init);
    let keep: Option<&dyn Fn(i32) -> Result<()>> = if options.keep { Some(&note) } else { None };
    let ended = supervise::run(keep, || match inside(options) {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("{} {error:#}", styled("failed:", Style::Bad)));
            if error.is::<Missing>() { SKIPPED } else { 1 }
        }
    })?;
    Ok(match ended {
        Ending::Ended(SKIPPED) => 1,
        Ending::Ended(code) => code,
        Ending::Kept(init) => {
            print(&format!(
                "\nThe lab stays up (process {init}).\n  \
                 cargo lab enter b             a shell on node b\n  \
                 cargo lab enter b -- COMMAND  a command on node b\n  \
                 cargo lab down                end it"
            ));
            0
        }
    })
}

fn inside(options: &Up) -> Result<()> {
    let lab = Lab::new()?;
    let mut progress = Progress::default();
    if options.bare {
        bare(&lab, options.nodes, &mut progress)?;
    } else {
        network(&lab, options, &mut progress)?;
    }
    progress.clear();
    if options.wait {
        print("\nThe lab is up. Ctrl-C ends it.");
        loop {
            std::thread::park();
        }
    }
    if options.keep { lab.keep() } else { Ok(()) }
}

fn bare(lab: &Lab, count: usize, progress: &mut Progress) -> Result<()> {
    let mut rows = Vec::new();
    for number in 0..count {
        progress.step(&format!("node {}", node_name(number)));
        let node = lab.add_node(&node_name(number))?;
        rows.push(vec![
            node.name().to_owned(),
            node.ipv4()?.to_string(),
            node.ipv6()?.to_string(),
        ]);
    }
    progress.clear();
    print(&table(&["node", "IPv4", "IPv6"], &rows));
    let addresses: Vec<[IpAddr; 2]> = lab
        .nodes()
        .iter()
        .map(|node| Ok([node.ipv4()?.into(), node.ipv6()?.into()]))
        .collect::<Result<_>>()?;
    let nodes = lab.nodes();
    report_pings(
        &nodes.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        &addresses,
        progress,
    )
}

fn network(lab: &Lab, options: &Up, progress: &mut Progress) -> Result<()> {
    let name = &options.network;
    progress.step(&format!("node a founds {name}"));
    let founder = lab.add_node(&node_name(0))?;
    let mesh_options = MeshOptions {
        backend: options.backend.clone(),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::found(&founder, name, mesh_options)?;
    let mut times = vec!["founder".to_owned()];
    for number in 1..options.nodes {
        let node = lab.add_node(&node_name(number))?;
        progress.step(&format!(
            "node {} joins ({number} of {})",
            node.name(),
            options.nodes - 1
        ));
        times.push(millis(mesh.join(&node)?.took));
    }
    progress.step("waiting for the mesh to be complete");
    mesh.wait_whole(Duration::from_secs(30))?;
    let addresses = mesh.addresses()?;
    progress.clear();
    let rows: Vec<Vec<String>> = mesh
        .members()
        .iter()
        .zip(&times)
        .zip(&addresses)
        .map(|((node, time), [v4, v6])| {
            vec![
                node.name().to_owned(),
                time.clone(),
                v4.to_string(),
                v6.to_string(),
            ]
        })
        .collect();
    print(&table(&["node", "joined in", "IPv4", "IPv6"], &rows));
    let nodes: Vec<&Node> = mesh.members().iter().map(AsRef::as_ref).collect();
    report_pings(&nodes, &addresses, progress)?;
    let last = nodes.last().context("a lab needs a node")?;
    let title = format!("\n`grid status` on node {}", last.name());
    print(&styled(&title, Style::Bold));
    print(last.grid_ok(&["status"], "")?.trim_end());
    Ok(())
}

fn report_pings(nodes: &[&Node], addresses: &[[IpAddr; 2]], progress: &mut Progress) -> Result<()> {
    let mut silent = Vec::new();
    for (family, label) in [(0, "IPv4"), (1, "IPv6")] {
        progress.step(&format!("echoes over {label}"));
        let to: Vec<IpAddr> = addresses.iter().map(|pair| pair[family]).collect();
        warm_up(nodes, &to)?;
        let times = matrix(nodes, &to, Duration::from_secs(2))?;
        progress.clear();
        print(&styled(
            &format!("\nround trips over {label}, from row to column"),
            Style::Bold,
        ));
        print(&show(nodes, &times));
        for (from, row) in nodes.iter().zip(&times) {
            let lost = nodes.iter().zip(row).filter(|(_, time)| time.is_none());
            silent
                .extend(lost.map(|(to, _)| format!("{} -> {} ({label})", from.name(), to.name())));
        }
    }
    if !silent.is_empty() {
        bail!("no answer: {}", silent.join(", "));
    }
    Ok(())
}

/// One echo each, so that neighbour discovery is not measured.
fn warm_up(nodes: &[&Node], to: &[IpAddr]) -> Result<()> {
    for node in nodes {
        for address in to {
            wait_until(
                &format!("{address} to answer node {}", node.name()),
                Duration::from_secs(10),
                || Ok(ping(node, *address, Duration::from_millis(500))?.is_some()),
            )?;
        }
    }
    Ok(())
}

fn show(nodes: &[&Node], times: &[Vec<Option<Duration>>]) -> String {
    if nodes.len() > WIDEST_MATRIX {
        let mut all: Vec<Duration> = times.iter().flatten().flatten().copied().collect();
        all.sort_unstable();
        let pairs = times.iter().map(Vec::len).sum::<usize>();
        let (middle, most) = (all.get(all.len() / 2), all.last());
        return format!(
            "{} of {pairs} answered; median {}, longest {}",
            all.len(),
            millis(middle.copied().unwrap_or_default()),
            millis(most.copied().unwrap_or_default())
        );
    }
    let mut head = vec![""];
    head.extend(nodes.iter().map(|node| node.name()));
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .zip(times)
        .map(|(node, row)| {
            let mut cells = vec![node.name().to_owned()];
            cells.extend(
                row.iter()
                    .map(|time| time.map_or("lost".to_owned(), millis)),
            );
            cells
        })
        .collect();
    table(&head, &rows)
}
