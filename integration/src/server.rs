//! A node's server as its operating system sees it: process id, memory, processor time, sudden death.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::node::Node;
use crate::wait::wait_until;

/// The process id of the server of `node`; `None` if none runs.
///
/// It is the process on the node that was started as `grid start-server`. Files in its home may be
/// stale after `kill -9`; the process table is not.
#[must_use]
pub fn pid(node: &Node) -> Option<u32> {
    node.processes().into_iter().find(|pid| {
        let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else {
            return false;
        };
        cmdline
            .split(|byte| *byte == 0)
            .skip(1)
            .any(|argument| argument == b"start-server")
    })
}

/// Kills the server with `SIGKILL` and waits until the kernel has freed all that it held.
///
/// # Errors
/// When none runs, or it has not gone within five seconds.
pub fn kill_9(node: &Node) -> Result<()> {
    let found = pid(node).with_context(|| format!("no server runs on node {}", node.name()))?;
    kill(Pid::from_raw(found.try_into()?), Signal::SIGKILL)?;
    wait_until(
        &format!("server {found} of node {} to die", node.name()),
        Duration::from_secs(5),
        // While it is listed at all, a thread of it may still hold its socket open.
        || Ok(!fs::exists(format!("/proc/{found}"))?),
    )
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub now_kib: u64,
    /// Its peak (`VmHWM`).
    pub peak_kib: u64,
}

/// The memory of the server of `node`.
///
/// # Errors
/// When none runs.
pub fn memory(node: &Node) -> Result<Memory> {
    let found = pid(node).with_context(|| format!("no server runs on node {}", node.name()))?;
    let status = fs::read_to_string(format!("/proc/{found}/status"))?;
    memory_of(&status).with_context(|| format!("cannot read the memory of process {found}"))
}

/// How much processor time the server of `node` has used since it was started, for itself and in the kernel.
///
/// # Errors
/// When none runs.
pub fn processor_time(node: &Node) -> Result<Duration> {
    let found = pid(node).with_context(|| format!("no server runs on node {}", node.name()))?;
    let stat = fs::read_to_string(format!("/proc/{found}/stat"))?;
    let ticks = ticks_of(&stat).with_context(|| format!("cannot read what {found} used"))?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(Duration::from_secs(ticks) / u32::try_from(a_second)?)
}

/// User and system time, which are the twelfth and thirteenth word after the name.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut next = || words.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn memory_of(status: &str) -> Option<Memory> {
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory {
        now_kib: value("VmRSS:")?,
        peak_kib: value("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_name() {
        let stat = "7 (a) 9 b) S 1 7 7 0 -1 4194560 1201 0 0 0 250 40 0 0 20 0 9 0 77 1 2";
        assert_eq!(ticks_of(stat), Some(290));
        assert_eq!(ticks_of("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_from_a_status_file() {
        let status = "Name:\tgrid\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(
            memory_of(status),
            Some(Memory {
                now_kib: 10240,
                peak_kib: 20480
            })
        );
        assert_eq!(memory_of("Name:\tzombie\n"), None);
    }
}
