//! `lab bench join`: how long a join takes until the first echo comes back through the tunnel, how
//! much memory a node takes, and how much it sends when idle.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions, node_name};
use crate::netem::impair;
use crate::node::Node;
use crate::output::{Progress, print, say, table};
use crate::ping::first_reply;
use crate::server;
use crate::supervise::{self, Ending};
use crate::tap::{Sent, Tap};

/// How often the joiner asks for an echo while it joins: the resolution of the measurement.
const ECHO_EVERY: Duration = Duration::from_millis(2);
/// How long a complete mesh settles before idle traffic is counted.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Bench {
    /// The fewest joins for each size.
    pub joins: usize,
    pub nodes: Vec<usize>,
    /// For how long idle traffic is counted.
    pub idle: Duration,
    /// `--backend` of the program.
    pub backend: Option<String>,
    /// One-way delay of everything that a node sends.
    pub delay: Duration,
    /// Print JSON instead of a table.
    pub json: bool,
}

/// The results for one size of mesh.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Members of the mesh.
    pub nodes: usize,
    /// Joins measured. A mesh of n members gives n - 1 joins; new meshes are founded until there are
    /// enough.
    pub joins: usize,
    /// From the start of the join command to the first echo reply from the founder.
    pub join_median_ms: f64,
    /// The 99th percentile, nearest rank.
    pub join_p99_ms: f64,
    /// Resident memory of a node's server in the complete mesh, median over the nodes.
    pub rss_median_kib: u64,
    /// The most over the nodes.
    pub rss_max_kib: u64,
    /// The highest peak over the nodes.
    pub peak_max_kib: u64,
    /// Bytes of IP packets that a node sends per minute over QUIC, mean over the nodes.
    pub idle_quic_mean: u64,
    /// The most over the nodes.
    pub idle_quic_max: u64,
    /// The same for WireGuard, mean.
    pub idle_wireguard_mean: u64,
    /// The same for the rest (neighbour discovery and the like), mean.
    pub idle_other_mean: u64,
    /// For how long traffic was counted.
    pub idle_seconds: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `debug` or `release`: how this program was built.
    pub build: &'static str,
    /// The back end of WireGuard that was used.
    pub backend: String,
    pub sizes: Vec<Size>,
}

/// Measures and prints. Returns the exit code.
///
/// # Errors
/// When this machine cannot have a lab.
pub fn bench(options: &Bench) -> Result<u8> {
    let ended = supervise::run(None, || match measure(options) {
        Ok(report) => show(&report, options.json),
        Err(error) => {
            say(&format!("failed: {error:#}"));
            1
        }
    })?;
    match ended {
        Ending::Ended(code) => Ok(code),
        Ending::Kept(_) => bail!("the lab stayed up"),
    }
}

fn measure(options: &Bench) -> Result<Report> {
    let mut backend = String::new();
    let mut sizes = Vec::new();
    let lab = Lab::new()?;
    for &nodes in &options.nodes {
        if nodes < 2 {
            bail!("a mesh to join has at least 2 nodes, not {nodes}");
        }
        let size = measure_size(&lab, options, nodes, &mut backend)
            .with_context(|| format!("in a mesh of {nodes}"))?;
        sizes.push(size);
    }
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Ok(Report {
        build,
        backend,
        sizes,
    })
}

fn measure_size(lab: &Lab, options: &Bench, nodes: usize, backend: &mut String) -> Result<Size> {
    let mut progress = Progress::default();
    let mut joins: Vec<Duration> = Vec::new();
    loop {
        for node in lab.nodes() {
            lab.remove_node(&node);
        }
        let mut mesh = found(lab, options)?;
        for number in 1..nodes {
            progress.step(&format!(
                "mesh of {nodes}: join {} of at least {}",
                joins.len() + 1,
                options.joins
            ));
            let node = add_node(lab, options, number)?;
            joins.push(timed_join(&mut mesh, &node)?);
        }
        if joins.len() >= options.joins {
            progress.step(&format!("mesh of {nodes}: waiting until it is whole"));
            mesh.wait_whole(Duration::from_secs(60))?;
            let founder = mesh.members().first().context("a mesh without members")?;
            *backend = mesh.status(founder)?.backend;
            let idle = count_idle(&mesh, options.idle, &mut progress)?;
            return summarise(&mesh, joins, &idle, options.idle);
        }
    }
}

fn add_node(lab: &Lab, options: &Bench, number: usize) -> Result<Arc<Node>> {
    let node = lab.add_node(&node_name(number))?;
    if !options.delay.is_zero() {
        impair(&node, options.delay, 0)?;
    }
    Ok(node)
}

fn found(lab: &Lab, options: &Bench) -> Result<Mesh> {
    let founder = add_node(lab, options, 0)?;
    let backend = options.backend.clone();
    Mesh::found(
        &founder,
        "bench",
        MeshOptions {
            backend,
            ..MeshOptions::default()
        },
    )
}

/// Joins `node` and returns the time from the start of the command to the first echo reply.
fn timed_join(mesh: &mut Mesh, node: &Arc<Node>) -> Result<Duration> {
    let founder = mesh.members().first().context("a mesh without members")?;
    let to = IpAddr::V4(mesh.status(founder)?.ipv4()?);
    let until = Instant::now() + Duration::from_secs(60);
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let go_on = || Instant::now() < until && !failed.load(Ordering::Relaxed);
            first_reply(node, to, ECHO_EVERY, go_on)
        });
        let joined = mesh.join(node);
        failed.store(joined.is_err(), Ordering::Relaxed);
        let replied = echo
            .join()
            .map_err(|_| anyhow::anyhow!("the pinging thread panicked"))?;
        let joined = joined?;
        let replied = replied.with_context(|| node.server_log_tail(20))?;
        Ok(replied.saturating_duration_since(joined.started))
    })
}

fn count_idle(mesh: &Mesh, window: Duration, progress: &mut Progress) -> Result<Vec<Sent>> {
    let nodes: Vec<&Node> = mesh.members().iter().map(AsRef::as_ref).collect();
    progress.step(&format!("mesh of {}: letting it settle", nodes.len()));
    thread::sleep(SETTLE);
    let tap = Tap::count(&nodes)?;
    let seconds = window.as_secs();
    progress.step(&format!(
        "mesh of {}: counting idle traffic for {seconds} s",
        nodes.len()
    ));
    thread::sleep(window);
    Ok(nodes.iter().map(|node| tap.sent(node.name())).collect())
}

fn summarise(
    mesh: &Mesh,
    mut joins: Vec<Duration>,
    idle: &[Sent],
    window: Duration,
) -> Result<Size> {
    joins.sort_unstable();
    let memory: Vec<server::Memory> = mesh
        .members()
        .iter()
        .map(|node| server::memory(node))
        .collect::<Result<_>>()?;
    let mut resident: Vec<u64> = memory.iter().map(|memory| memory.now_kib).collect();
    resident.sort_unstable();
    let per_minute =
        |bytes: u64| bytes * 60_000 / u64::try_from(window.as_millis()).unwrap_or(1).max(1);
    let mean = |pick: fn(&Sent) -> u64| {
        let total: u64 = idle.iter().map(pick).sum();
        per_minute(total) / (idle.len() as u64).max(1)
    };
    let millis = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    Ok(Size {
        nodes: mesh.members().len(),
        joins: joins.len(),
        join_median_ms: millis(percentile(&joins, 50).unwrap_or_default()),
        join_p99_ms: millis(percentile(&joins, 99).unwrap_or_default()),
        rss_median_kib: percentile(&resident, 50).unwrap_or_default(),
        rss_max_kib: resident.last().copied().unwrap_or_default(),
        peak_max_kib: memory
            .iter()
            .map(|memory| memory.peak_kib)
            .max()
            .unwrap_or_default(),
        idle_quic_mean: mean(|sent| sent.quic),
        idle_quic_max: per_minute(idle.iter().map(|sent| sent.quic).max().unwrap_or_default()),
        idle_wireguard_mean: mean(|sent| sent.wireguard),
        idle_other_mean: mean(|sent| sent.other),
        idle_seconds: window.as_secs(),
    })
}

/// The nearest-rank percentile of sorted values.
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn show(report: &Report, json: bool) -> u8 {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => print(&text),
            Err(error) => {
                say(&format!("failed: {error}"));
                return 1;
            }
        }
        return 0;
    }
    let rows: Vec<Vec<String>> = report
        .sizes
        .iter()
        .map(|size| {
            vec![
                size.nodes.to_string(),
                size.joins.to_string(),
                format!("{:.0} ms", size.join_median_ms),
                format!("{:.0} ms", size.join_p99_ms),
                mebibytes(size.rss_median_kib),
                mebibytes(size.peak_max_kib),
                size.idle_quic_mean.to_string(),
                size.idle_quic_max.to_string(),
                size.idle_wireguard_mean.to_string(),
            ]
        })
        .collect();
    let head = [
        "nodes",
        "joins",
        "median",
        "p99",
        "RSS",
        "peak RSS",
        "QUIC B/min",
        "most",
        "WireGuard B/min",
    ];
    print(&format!(
        "WireGuard: {}; built for {}",
        report.backend, report.build
    ));
    print(&table(&head, &rows));
    0
}

fn mebibytes(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<u32> = (1..=20).collect();
        assert_eq!(percentile(&values, 50), Some(10));
        assert_eq!(percentile(&values, 99), Some(20));
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }
}
