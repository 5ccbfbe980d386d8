//! One machine of the lab: its namespaces, its plugs, and the programs that run on it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holder::{HOME, NODE_DIR, READY, TEMPORARY};
use crate::link::LinkIndex;
use crate::namespaces::Namespaces;
use crate::run::run_with_deadline;

/// A node's veth into a segment.
#[derive(Debug, Clone)]
pub struct Port {
    pub interface: String,
    /// The other end, in the lab's own network namespace.
    pub lab_side: LinkIndex,
    /// The bridge that it belongs to when nothing is cut.
    pub bridge: LinkIndex,
    /// The node's IPv4 address on this segment.
    pub ipv4: Ipv4Addr,
    /// The node's IPv6 address on this segment, where the segment has IPv6.
    pub ipv6: Option<Ipv6Addr>,
}

/// One machine of the lab. Everything that runs on it is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    namespaces: Namespaces,
    network: PathBuf,
    holder: Mutex<Option<Child>>,
    holder_pid: u32,
    ports: Mutex<Vec<Port>>,
}

impl Node {
    /// Starts the holder of a new node. The node has a loopback interface and no plugs.
    ///
    /// # Errors
    /// When `name` is not 1 to 15 of `a-z`, `0-9` and `-`, or the kernel refuses a namespace.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let fits = (1..=15).contains(&name.len());
        if !fits
            || !name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        {
            bail!("{name:?} cannot name a node: use 1 to 15 of a-z, 0-9 and -");
        }
        let mut child = Command::new("/proc/self/exe")
            .args(["hold", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that holds the node")?;
        let holder_pid = child.id();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line != READY {
            let status = child.wait()?;
            bail!("the process that holds node {name} ended ({status}); see above for the reason");
        }
        let opened = Namespaces::of_process(holder_pid).and_then(|namespaces| {
            Ok((
                namespaces,
                fs::read_link(format!("/proc/{holder_pid}/ns/net"))?,
            ))
        });
        let (namespaces, network) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error).with_context(|| format!("cannot open node {name}"));
            }
        };
        Ok(Self {
            name: name.to_owned(),
            namespaces,
            network,
            holder: Mutex::new(Some(child)),
            holder_pid,
            ports: Mutex::new(Vec::new()),
        })
    }

    /// The node's name, which is also its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the node's holder, in the lab's PID namespace.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder_pid
    }

    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The node's plugs, in the order in which they were made.
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn add_port(&self, port: Port) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(port);
    }

    /// The address of the node's first plug.
    ///
    /// # Errors
    /// When the node has no plug.
    pub fn ipv4(&self) -> Result<Ipv4Addr> {
        let ports = self.ports();
        ports
            .first()
            .map(|p| p.ipv4)
            .with_context(|| format!("node {} has no plug", self.name))
    }

    /// The IPv6 address of the node's first plug.
    ///
    /// # Errors
    /// When the node has no plug, or its segment no IPv6.
    pub fn ipv6(&self) -> Result<Ipv6Addr> {
        let ports = self.ports();
        ports
            .first()
            .and_then(|p| p.ipv6)
            .with_context(|| format!("node {} has no IPv6 address", self.name))
    }

    /// A command that starts inside the node: its network, its mounts, its host name, its home, and
    /// an environment that holds nothing else.
    ///
    /// `grid` is the program under test.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/run/grid-lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", NODE_DIR)
            .env("GRID_HOME", HOME)
            .env("TMPDIR", TEMPORARY);
        for name in [
            "TERM",
            "LANG",
            "NO_COLOR",
            "RUST_BACKTRACE",
            "RUST_LOG",
            "GRID_LOG",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        self.namespaces.place(&mut command);
        command
    }

    /// Runs `grid` with `arguments` on this node and waits for it, at most a minute.
    ///
    /// # Errors
    /// When it cannot be started, does not end in time, or leaves a process behind that holds its
    /// output. A non-zero exit code is not an error here: see [`Node::grid_ok`].
    pub fn grid(&self, arguments: &[&str]) -> Result<Output> {
        self.grid_with_input(arguments, "")
    }

    /// As [`Node::grid`], with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Node::grid`].
    pub fn grid_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command("grid");
        command.args(arguments);
        run_with_deadline(command, input.as_bytes(), Duration::from_secs(60))
            .with_context(|| format!("`grid {}` on node {}", arguments.join(" "), self.name))
    }

    /// As [`Node::grid_with_input`]; returns what it printed.
    ///
    /// # Errors
    /// Also when the exit code is not 0; the error holds what it said, and the end of the server's
    /// log.
    pub fn grid_ok(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.grid_with_input(arguments, input)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        bail!(
            "`grid {}` on node {} ended with {}\n{}{}",
            arguments.join(" "),
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.server_log_tail(20),
        )
    }

    /// Runs another program inside the node, with `input`, for at most `deadline`.
    ///
    /// # Errors
    /// As [`Node::grid`]; [`crate::Missing`] when there is no such program on this machine.
    pub fn tool(&self, arguments: &[&str], input: &str, deadline: Duration) -> Result<Output> {
        let (program, rest) = arguments.split_first().context("no program named")?;
        let mut command = self.command(program);
        command.args(rest);
        run_with_deadline(command, input.as_bytes(), deadline).map_err(|error| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if kind == Some(io::ErrorKind::NotFound) {
                let reason = format!("the program `{program}` is not installed on this machine");
                return crate::Missing(reason).into();
            }
            error.context(format!("`{}` on node {}", arguments.join(" "), self.name))
        })
    }

    /// The node's path `inside` as this process can open it.
    ///
    /// Absolute symbolic links in the path are resolved in *this* process's root, not the node's.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.holder_pid.to_string())
            .join("root")
            .join(inside.strip_prefix('/').unwrap_or(inside))
    }

    /// The node's `GRID_HOME` as this process can open it.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path(HOME)
    }

    /// The whole log of the node's server; empty when it has not written one.
    ///
    /// # Errors
    /// When the log exists and cannot be read.
    pub fn server_log(&self) -> Result<String> {
        match fs::read(self.home().join("server.log")) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => bail!("cannot read the log of node {}: {error}", self.name),
        }
    }

    /// The last `lines` lines of the server's log under a heading, for an error message.
    #[must_use]
    pub fn server_log_tail(&self, lines: usize) -> String {
        let text = match self.server_log() {
            Ok(text) if text.is_empty() => {
                return format!("(node {} has no server log)", self.name);
            }
            Ok(text) => text,
            Err(error) => return format!("({error})"),
        };
        let all: Vec<&str> = text.lines().collect();
        let tail = all.get(all.len().saturating_sub(lines)..);
        format!(
            "the end of server.log of node {}:\n  {}",
            self.name,
            tail.unwrap_or_default().join("\n  ")
        )
    }

    /// The processes that run on the node now, without its holder.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != self.holder_pid)
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == self.network)
            })
            .collect()
    }

    /// Kills, with `SIGKILL`, whatever runs on the node, and waits until it is gone, at most five
    /// seconds.
    ///
    /// # Errors
    /// When a process is still there after that.
    pub fn kill_all(&self) -> Result<()> {
        for _ in 0..500 {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            for pid in processes {
                // It may have ended since it was listed.
                let _ = kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "processes {:?} of node {} do not die",
            self.processes(),
            self.name
        )
    }

    /// Leaves the node running when this is dropped.
    pub(crate) fn keep(&self) {
        self.holder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let holder = self
            .holder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut holder) = holder {
            // What cannot be ended here ends with the lab's PID namespace.
            let _ = self.kill_all();
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
