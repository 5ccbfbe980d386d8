//! Nodes that are observed in every possible way, and what was observed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use grid_keys::{NodeId, NodeKey, Secret, WgPublicKey, WgSecretKey};
use grid_promises::network::invite::Invite;

use crate::holder::TEMPORARY;
use crate::node::Node;
use crate::ping::ping;
use crate::status::{Network, Status};
use crate::tap::Tap;
use crate::wait::wait_until;
use crate::wireguard::PublicKey;

/// How long to wait for what nodes tell one another.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Room for packets; the test fails if it does not suffice.
const ROOM: usize = 64 << 20;
/// Files that must hold a secret.
const SECRET_FILES: &[&str] = &[
    "node.key",
    "wireguard.key",
    "network.secret",
    "wg-quick.conf",
];

/// A node of the network.
pub(super) struct Member {
    pub(super) node: Arc<Node>,
    pub(super) id: NodeId,
    pub(super) public_key: PublicKey,
    pub(super) wireguard: Secret<32>,
    /// Whether it is still a member at the end.
    pub(super) stays: bool,
}

impl Member {
    pub(super) fn of(node: &Arc<Node>) -> Result<Self> {
        let wireguard = read_secret(node, "nets/foo/wireguard.key")?;
        Ok(Self {
            id: NodeKey::from_seed(&read_secret(node, "keys/node.key")?).id(),
            public_key: PublicKey(WgSecretKey::from_bytes(&wireguard).public().0),
            node: Arc::clone(node),
            wireguard,
            stays: false,
        })
    }
}

/// Everything that is secret in a network.
pub(super) struct Secrets(Vec<(String, Secret<32>)>);

impl Secrets {
    /// Those on the nodes' disks, those in the invites, and those derived from them.
    pub(super) fn of(nodes: &[Arc<Node>], invites: &[&str]) -> Result<Self> {
        let mut all = Vec::new();
        let mut keys = Vec::new();
        for node in nodes {
            let name = node.name();
            all.push((
                format!("the node key of {name}"),
                read_secret(node, "keys/node.key")?,
            ));
            let key = read_secret(node, "nets/foo/wireguard.key")?;
            keys.push((name, WgSecretKey::from_bytes(&key)));
            all.push((format!("the WireGuard key of {name}"), key));
        }
        let first = nodes.first().context("no nodes")?;
        let network_secret = read_secret(first, "nets/foo/network.secret")?;
        let mut network = Vec::new();
        for text in invites {
            let invite = Invite::from_text(text.trim())?;
            ensure!(
                invite.secret == network_secret,
                "another secret in the invite"
            );
            network = invite.charter.network().0.to_bytes();
            all.push(("an invite key".to_owned(), invite.key.seed()));
        }
        for (number, (name, own)) in keys.iter().enumerate() {
            for (other, theirs) in keys.iter().skip(number + 1) {
                let peer: WgPublicKey = theirs.public();
                let psk = own.preshared_key(&peer, &network, network_secret.expose());
                all.push((
                    format!("the PSK of {name} and {other}"),
                    Secret::new(*psk.expose()),
                ));
            }
        }
        all.push(("the network secret".to_owned(), network_secret));
        Ok(Self(all))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Secret<32>)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret))
    }
}

fn read_secret(node: &Node, file: &str) -> Result<Secret<32>> {
    let path = node.home().join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    secret_in(&text).with_context(|| path.display().to_string())
}

/// Decodes a line of base64 into 32 bytes.
fn secret_in(line: &str) -> Result<Secret<32>> {
    let bytes = data_encoding::BASE64.decode(line.trim().as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(Secret::new(bytes.context("not 32 bytes in base64")?))
}

/// Servers that log everything, and the output of commands.
pub(super) struct Run {
    nodes: Vec<Arc<Node>>,
    servers: Vec<Child>,
    packets: Tap,
    results: Vec<u8>,
}

impl Run {
    /// Starts a server on each node: at the most verbose level, with a tap.
    pub(super) fn start(nodes: &[Arc<Node>]) -> Result<Self> {
        let all: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
        let mut run = Self {
            nodes: nodes.to_vec(),
            servers: Vec::new(),
            packets: Tap::keep(&all, ROOM)?,
            results: Vec::new(),
        };
        for node in nodes {
            let log = File::create(log_path(node))?;
            let mut command = node.command("grid");
            command
                .args(["-vv", "start-server", "--tap"])
                .arg(format!("{TEMPORARY}/messages"))
                .env("GRID_LOG", "trace")
                .env("RUST_BACKTRACE", "1")
                .stdout(log.try_clone()?)
                .stderr(log);
            run.servers.push(command.spawn()?);
            let socket = node.home().join("grid.sock");
            wait_until("a server to listen", PATIENCE, || Ok(socket.exists()))?;
        }
        Ok(run)
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    fn call(&mut self, node: usize, arguments: &[&str], input: &str) -> Result<Output> {
        let node = self.nodes.get(node).context("no such node")?;
        let output = node.grid_with_input(&[&["-vv"], arguments].concat(), input)?;
        self.results.extend(&output.stderr);
        if arguments.first() != Some(&"invite") {
            self.results.extend(&output.stdout);
        }
        Ok(output)
    }

    /// A command that succeeds; returns what it printed.
    pub(super) fn grid(&mut self, node: usize, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.call(node, arguments, input)?;
        if !output.status.success() {
            bail!(
                "`grid {}`: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A command that fails.
    pub(super) fn grid_fails(&mut self, node: usize, words: &[&str], input: &str) -> Result<()> {
        ensure!(!self.call(node, words, input)?.status.success());
        Ok(())
    }

    pub(super) fn invite(&mut self, node: usize) -> Result<String> {
        self.grid(node, &["invite", "foo", "--uses", "5"], "")
    }

    fn network(&mut self, node: usize) -> Result<Network> {
        let json = self.grid(node, &["status", "foo", "--json"], "")?;
        Ok(Status::parse(&json)?.network("foo")?.clone())
    }

    pub(super) fn peers(&mut self, node: usize) -> Result<usize> {
        Ok(self.network(node)?.peers.len())
    }

    /// Waits until every node answers every other through the tunnel.
    pub(super) fn ping_all(&mut self) -> Result<()> {
        for to in 0..self.nodes.len() {
            let address = IpAddr::V4(self.network(to)?.ipv4()?);
            for from in &self.nodes {
                wait_until("an answer through the tunnel", PATIENCE, || {
                    Ok(ping(from, address, Duration::from_millis(500))?.is_some())
                })?;
            }
        }
        Ok(())
    }

    /// Stops the servers.
    pub(super) fn stop(&mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            self.grid(node, &["stop-server"], "")?;
        }
        for mut server in self.servers.drain(..) {
            server.wait()?;
        }
        Ok(())
    }

    /// Everything that was observed.
    pub(super) fn sources(self, processes: Vec<u8>) -> Result<Sources> {
        let mut named = Vec::new();
        let mut messages = 0;
        for node in &self.nodes {
            let name = node.name();
            let tapped = node.path(TEMPORARY).join("messages");
            let mode = fs::metadata(&tapped)?.mode() & 0o7777;
            ensure!(mode == 0o600, "the tap's file has mode {mode:o}");
            let (count, bytes) = bodies(&fs::read(tapped)?)?;
            messages += count;
            named.push((format!("messages of {name}"), bytes));
            named.push((format!("log of {name}"), fs::read(log_path(node))?));
            for (path, bytes) in files(node)? {
                if !SECRET_FILES.iter().any(|secret| path.ends_with(secret)) {
                    named.push((format!("file {path} of {name}"), bytes));
                }
            }
        }
        named.push(("processes".to_owned(), processes));
        named.push(("results".to_owned(), self.results));
        let (packets, lost) = self.packets.take_frames();
        ensure!(lost == 0, "{lost} packets found no room");
        let home = self.nodes.first().context("no nodes")?.home();
        Ok(Sources {
            named,
            packets,
            messages,
            home,
        })
    }
}

fn log_path(node: &Node) -> PathBuf {
    node.path(TEMPORARY).join("log")
}

/// The number of messages in a tap's file, and their bytes one after the other.
fn bodies(tapped: &[u8]) -> Result<(usize, Vec<u8>)> {
    let (mut count, mut all, mut rest) = (0, Vec::new(), tapped);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        let (body, next) = behind
            .split_at_checked(length)
            .context("a message is cut")?;
        all.extend(body);
        count += 1;
        rest = next;
    }
    ensure!(rest.is_empty(), "the last length is cut");
    Ok((count, all))
}

/// What was observed, by source.
pub(super) struct Sources {
    named: Vec<(String, Vec<u8>)>,
    pub(super) packets: Vec<Vec<u8>>,
    /// How many messages were tapped.
    pub(super) messages: usize,
    home: PathBuf,
}

impl Sources {
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let named = self.named.iter();
        let packets = self.packets.iter();
        named
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .chain(packets.map(|frame| ("a packet", frame.as_slice())))
    }

    /// The home of the node that stays.
    pub(super) fn first_home(&self) -> &Path {
        &self.home
    }
}

/// Every file of a node's home, by its path inside.
pub(super) fn files(node: &Node) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let home = node.home();
    walk(&home, &mut |path, about| {
        if about.is_file() {
            let name = path.strip_prefix(&home)?.display().to_string();
            found.push((name, fs::read(path)?));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Fails unless every folder of a node's home, and every file and socket that holds or gives out a
/// secret, is accessible only to its owner.
pub(super) fn modes_are_private(node: &Node) -> Result<()> {
    let mut checked = 0;
    walk(&node.home(), &mut |path, about| {
        let name = path.file_name().unwrap_or_default();
        let mode = about.mode() & 0o7777;
        let wanted = if about.is_dir() {
            0o700
        } else if about.file_type().is_socket() || SECRET_FILES.iter().any(|secret| name == *secret)
        {
            0o600
        } else {
            return Ok(());
        };
        checked += 1;
        ensure!(mode == wanted, "{} has mode {mode:o}", path.display());
        Ok(())
    })?;
    ensure!(
        checked >= 5,
        "only {checked} files and folders were checked"
    );
    Ok(())
}

fn walk(path: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    let about = match fs::symlink_metadata(path) {
        // A temporary file that has been renamed since.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    look(path, &about)?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), look)?;
        }
    }
    Ok(())
}

/// Repeatedly reads the arguments and the environment of every process on the nodes.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<HashSet<Vec<u8>>>,
}

impl Sampler {
    pub(super) fn start(nodes: &[Arc<Node>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, nodes) = (Arc::clone(&stop), nodes.to_vec());
        let thread = thread::spawn(move || {
            let mut seen = HashSet::new();
            while !ended.load(Ordering::Relaxed) {
                for pid in nodes.iter().flat_map(|node| node.processes()) {
                    for file in ["cmdline", "environ"] {
                        // It may have ended since it was listed.
                        seen.extend(fs::read(format!("/proc/{pid}/{file}")));
                    }
                }
                thread::sleep(Duration::from_millis(3));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Everything that was seen.
    pub(super) fn stop(self) -> Result<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().ok().context("the sampler panicked")?;
        Ok(seen.into_iter().flatten().collect())
    }
}
