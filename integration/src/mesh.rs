//! A network of the real program across nodes of the lab: found, invite, join, ask, wait.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;
use crate::node::Node;
use crate::ping::ping;
use crate::status::{Network, Status};
use crate::wait::wait_until;

/// The options with which a network is founded and joined.
#[derive(Debug, Clone)]
pub struct MeshOptions {
    pub ipv4: Option<String>,
    pub admission: Option<String>,
    /// `--backend`, for founding and joining.
    pub backend: Option<String>,
    /// The file that the founder writes a recovery key to.
    pub recovery_key: Option<String>,
    /// `--uses` of the invite.
    pub uses: u32,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            ipv4: None,
            admission: None,
            backend: None,
            recovery_key: None,
            uses: 250,
        }
    }
}

/// A network, the invite to it, and its members.
pub struct Mesh {
    name: String,
    options: MeshOptions,
    invite: String,
    members: Vec<Arc<Node>>,
}

/// One join, as the person who typed it saw it.
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    /// When the command was started.
    pub started: Instant,
    /// How long it ran.
    pub took: Duration,
}

impl Mesh {
    /// Founds network `name` on `founder` and has it print one invite.
    ///
    /// # Errors
    /// When a command fails, with what it said and the end of the server's log; [`crate::Missing`]
    /// when WireGuard cannot run on this machine.
    pub fn found(founder: &Arc<Node>, name: &str, options: MeshOptions) -> Result<Self> {
        founder
            .namespaces()
            .in_net(crate::requirements::wireguard)??;
        let mut arguments = vec!["create-wireguard-net", name];
        for (option, value) in [
            ("--ipv4", &options.ipv4),
            ("--admission", &options.admission),
            ("--backend", &options.backend),
            ("--recovery-key", &options.recovery_key),
        ] {
            if let Some(value) = value {
                arguments.extend([option, value]);
            }
        }
        founder.grid_ok(&arguments, "")?;
        let mut mesh = Self {
            name: name.to_owned(),
            options,
            invite: String::new(),
            members: vec![founder.clone()],
        };
        mesh.invite = mesh.invite_from(founder)?;
        Ok(mesh)
    }

    /// Founds network `name` on a new node `a` and joins new nodes `b`, `c`, ... to it, one after
    /// the other, until there are `size`; then waits until the mesh is complete.
    ///
    /// # Errors
    /// As [`Mesh::found`] and [`Mesh::wait_whole`].
    pub fn of_size(lab: &Lab, name: &str, size: usize, options: MeshOptions) -> Result<Self> {
        let founder = lab.add_node(&node_name(0))?;
        let mut mesh = Self::found(&founder, name, options)?;
        for number in 1..size {
            mesh.join(&lab.add_node(&node_name(number))?)?;
        }
        mesh.wait_whole(Duration::from_secs(30))?;
        Ok(mesh)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The invite that new members join with.
    #[must_use]
    pub fn invite(&self) -> &str {
        &self.invite
    }

    /// The members, founder first.
    #[must_use]
    pub fn members(&self) -> &[Arc<Node>] {
        &self.members
    }

    /// Has `node` print an invite for as many uses as the options say.
    ///
    /// # Errors
    /// When the command fails, or prints anything but one word.
    pub fn invite_from(&self, node: &Node) -> Result<String> {
        let uses = self.options.uses.to_string();
        let printed = node.grid_ok(&["invite", &self.name, "--uses", &uses], "")?;
        let mut words = printed.split_whitespace();
        match (words.next(), words.next()) {
            (Some(invite), None) => Ok(invite.to_owned()),
            // Not quoted: an invite is a secret.
            _ => bail!("`grid invite` did not print exactly one word"),
        }
    }

    /// Joins `node` with the mesh's invite on its standard input.
    ///
    /// # Errors
    /// When the command fails, with what it said and the end of the server's log.
    pub fn join(&mut self, node: &Arc<Node>) -> Result<Joined> {
        let invite = self.invite.clone();
        self.join_by(node, &invite)
    }

    /// As [`Mesh::join`], with another invite.
    ///
    /// # Errors
    /// As [`Mesh::join`].
    pub fn join_by(&mut self, node: &Arc<Node>, invite: &str) -> Result<Joined> {
        let backend = self.options.backend.clone();
        self.join_on(node, invite, backend.as_deref())
    }

    /// As [`Mesh::join`], with a different back end.
    ///
    /// # Errors
    /// As [`Mesh::join`].
    pub fn join_with(&mut self, node: &Arc<Node>, backend: &str) -> Result<Joined> {
        let invite = self.invite.clone();
        self.join_on(node, &invite, Some(backend))
    }

    fn join_on(&mut self, node: &Arc<Node>, invite: &str, backend: Option<&str>) -> Result<Joined> {
        let mut arguments = vec!["join-wireguard-net", self.name.as_str(), "-"];
        if let Some(backend) = backend {
            arguments.extend(["--backend", backend]);
        }
        let started = Instant::now();
        node.grid_ok(&arguments, invite)?;
        let took = started.elapsed();
        self.members.push(node.clone());
        Ok(Joined { started, took })
    }

    /// Makes `node` leave, and stops expecting it in the mesh.
    ///
    /// # Errors
    /// When the command fails.
    pub fn leave(&mut self, node: &Arc<Node>) -> Result<()> {
        node.grid_ok(&["leave-wireguard-net", &self.name], "")?;
        self.forget(node);
        Ok(())
    }

    /// Stops expecting `node` in the mesh, without telling it.
    pub fn forget(&mut self, node: &Arc<Node>) {
        self.members.retain(|member| !Arc::ptr_eq(member, node));
    }

    /// What `node` says of this network.
    ///
    /// # Errors
    /// When the command fails, or its answer lacks a stable field.
    pub fn status(&self, node: &Node) -> Result<Network> {
        let json = node.grid_ok(&["status", &self.name, "--json"], "")?;
        Ok(Status::parse(&json)?.network(&self.name)?.clone())
    }

    /// Waits until every member lists all others, no two share an address, and every member answers
    /// echoes from every other over both families.
    ///
    /// # Errors
    /// After `timeout`: says which member lacks what, with the end of its log.
    pub fn wait_whole(&self, timeout: Duration) -> Result<()> {
        let until = Instant::now() + timeout;
        let left = || until.saturating_duration_since(Instant::now());
        for node in &self.members {
            let others = self.members.len() - 1;
            let what = format!("node {} to list {others} peers", node.name());
            wait_until(&what, left(), || {
                let seen = self.status(node)?.peers.len();
                if seen == others {
                    Ok(true)
                } else {
                    bail!("it lists {seen}")
                }
            })
            .with_context(|| node.server_log_tail(20))?;
        }
        let addresses = self.addresses()?;
        for node in &self.members {
            for (other, ips) in self.members.iter().zip(&addresses) {
                for ip in ips {
                    let what = format!(
                        "node {} to answer node {} at {ip}",
                        other.name(),
                        node.name()
                    );
                    wait_until(&what, left(), || {
                        Ok(ping(node, *ip, Duration::from_millis(500))?.is_some())
                    })
                    .with_context(|| node.server_log_tail(20))?;
                }
            }
        }
        Ok(())
    }

    /// The IPv4 and the IPv6 address of every member, in the order of [`Mesh::members`].
    ///
    /// # Errors
    /// When a member has none, or two have the same.
    pub fn addresses(&self) -> Result<Vec<[IpAddr; 2]>> {
        let mut seen = HashSet::new();
        self.members
            .iter()
            .map(|node| {
                let network = self.status(node)?;
                let pair = [IpAddr::V4(network.ipv4()?), IpAddr::V6(network.ipv6()?)];
                for ip in pair {
                    if !seen.insert(ip) {
                        bail!("two members have the address {ip}");
                    }
                }
                Ok(pair)
            })
            .collect()
    }
}

/// `a`, `b`, ... `z`, `n26`, `n27`, ...
#[must_use]
pub fn node_name(number: usize) -> String {
    match u8::try_from(number) {
        Ok(small) if small < 26 => char::from(b'a' + small).to_string(),
        _ => format!("n{number}"),
    }
}
