//! `grid create-config NET`: writes the present configuration of a network as a file for wg-quick; what is
//! on disk, if no server runs.
//!
//! The server tells the configuration, and this process writes it, with the person's working directory and
//! links. It holds secrets.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use grid_keys::WgPublicKey;
use grid_promises::core::Tunnel;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use grid_wg::Table;
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Command, Report, Served, served};
use crate::console::output;
use crate::console::place::{self, Readers};
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::{NodeHandle, Progress};
use crate::rehearsal::Rehearsal;
use crate::store::WG_QUICK;
use crate::values::secret::SecretText;
use crate::values::text;
use crate::wg_quick;

/// Write a network's current configuration as a wg-quick file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The file, or `-` for standard output [default: wg-quick.conf in the network's folder]
    #[arg(long, value_name = "FILE|-")]
    output: Option<PathBuf>,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
}

/// The configuration, in lines: what reads JSON makes a copy of a text with line breaks, and does not wipe
/// it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Configuration {
    lines: Vec<SecretText>,
    /// How many peers it names.
    peers: usize,
}

/// What was written.
#[derive(Debug, Serialize)]
struct ConfigReport {
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The lines, if they go to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<SecretText>>,
    /// How many peers it names.
    peers: usize,
}

impl Report for ConfigReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(path) = &self.path {
            writeln!(out, "{path}")?;
        }
        write_lines(self.lines.iter().flatten(), out)
    }
}

fn write_lines<'a>(
    lines: impl IntoIterator<Item = &'a SecretText>,
    out: &mut dyn Write,
) -> io::Result<()> {
    lines
        .into_iter()
        .try_for_each(|line| writeln!(out, "{}", line.expose()))
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let request = Request { net: self.net };
        let config = match Client::connect(caller.home())? {
            Some(mut client) => served::call(&mut client, &request, output::say)?.report,
            None => request.read_from_disk(caller.home())?,
        };
        if self.output.as_deref() == Some(Path::new("-")) {
            return caller.show(&ConfigReport {
                path: None,
                lines: Some(config.lines),
                peers: config.peers,
            });
        }
        let default = || {
            caller
                .home()
                .nets()
                .join(request.net.as_str())
                .join(WG_QUICK)
        };
        let path = self.output.unwrap_or_else(default);
        let shown = path.display();
        place::write(&path, Readers::Owner, |file| {
            write_lines(&config.lines, file)
        })
        .map_err(|error| Failure::failed(format!("cannot write {shown}: {error}")))?;
        caller.show(&ConfigReport {
            path: Some(shown.to_string()),
            lines: None,
            peers: config.peers,
        })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::CREATE_CONFIG;
    type Report = Configuration;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<Configuration> {
        let tunnel = node.tunnel(self.net.clone()).await?;
        let mut status = node.status().await?;
        // Says that there is no such network.
        status.only(&self.net)?;
        let (tunnel, interface) = tunnel.ok_or_else(|| {
            Failure::failed(format!(
                "\"{}\" has no WireGuard configuration at present; {}",
                self.net,
                advice::status_says_why()
            ))
        })?;
        let network = status.network(self.net.as_str());
        let peers = network.map(|network| network.peers.iter());
        let seen = peers.into_iter().flatten().filter_map(|peer| {
            let key = peer.public_key.parse().ok()?;
            Some((key, peer.endpoint.as_ref()?.parse().ok()?))
        });
        Ok(self.configuration(&tunnel, interface.routing.table, &seen.collect()))
    }
}

impl Request {
    fn read_from_disk(&self, home: &Home) -> Outcome<Configuration> {
        let rehearsal = Rehearsal::begin(home)?.settled();
        let tunnel = rehearsal.tunnel(&self.net).ok_or_else(|| {
            Failure::failed(format!(
                "there is no WireGuard configuration of a network \"{}\" on disk; {}",
                self.net,
                advice::lists_the_networks()
            ))
        })?;
        Ok(self.configuration(tunnel, rehearsal.table(&self.net), &BTreeMap::new()))
    }

    /// `seen` are endpoints that WireGuard learned.
    fn configuration(
        &self,
        tunnel: &Tunnel,
        table: Table,
        seen: &BTreeMap<WgPublicKey, SocketAddr>,
    ) -> Configuration {
        let text = wg_quick::render(self.net.as_str(), tunnel, table, seen);
        let line = |line: &str| SecretText::new(line.to_owned());
        Configuration {
            lines: text.lines().map(line).collect(),
            peers: tunnel.peers.len(),
        }
    }
}
