//! `grid create-config NET`: writes the present configuration of a network as a file for wg-quick; what is
//! on disk, if no server runs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use grid_keys::WgPublicKey;
use grid_promises::core::Tunnel;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use grid_wg::Table;
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::{NodeHandle, Progress};
use crate::rehearsal::Rehearsal;
use crate::store::{Store, WG_QUICK};
use crate::values::text;
use crate::wg_quick;

/// Write a network's current configuration as a wg-quick file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The file [default: wg-quick.conf in the network's folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    /// Absolute: the server has another working directory.
    output: Option<PathBuf>,
}

/// The file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// The file.
    path: String,
    /// How many peers it names.
    peers: usize,
}

impl Report for ConfigReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.path)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let output = self.output.map(|path| {
            let whole = std::path::absolute(&path)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            if whole.to_str().is_none() {
                return Err(Failure::usage(format!(
                    "{} is not UTF-8; choose another name",
                    whole.display()
                )));
            }
            Ok(whole)
        });
        let request = Request {
            net: self.net,
            output: output.transpose()?,
        };
        match Client::connect(caller.home())? {
            Some(client) => asking::ask_through(client, caller, &request),
            None => caller.show(&request.write_from_disk(caller.home())?),
        }
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::CREATE_CONFIG;
    type Report = ConfigReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ConfigReport> {
        let tunnel = node.tunnel(self.net.clone()).await?;
        let (tunnel, interface) = tunnel.ok_or_else(|| {
            Failure::failed(format!(
                "\"{}\" has no WireGuard configuration at present; {}",
                self.net,
                advice::status_says_why()
            ))
        })?;
        let status = node.status().await?;
        let network = status
            .networks
            .iter()
            .find(|network| network.name == self.net.as_str());
        let peers = network.map(|network| network.peers.iter());
        let seen = peers.into_iter().flatten().filter_map(|peer| {
            let key = peer.public_key.parse().ok()?;
            Some((key, peer.endpoint.as_ref()?.parse().ok()?))
        });
        self.write(
            node.home(),
            &tunnel,
            interface.routing.table,
            &seen.collect(),
        )
    }
}

impl Request {
    fn write_from_disk(&self, home: &Home) -> Outcome<ConfigReport> {
        let rehearsal = Rehearsal::begin(home)?.settled();
        let tunnel = rehearsal.tunnel(&self.net).ok_or_else(|| {
            Failure::failed(format!(
                "there is no WireGuard configuration of a network \"{}\" on disk; {}",
                self.net,
                advice::lists_the_networks()
            ))
        })?;
        self.write(home, tunnel, rehearsal.table(&self.net), &BTreeMap::new())
    }

    /// Writes the file. `seen` are endpoints that WireGuard learned.
    fn write(
        &self,
        home: &Home,
        tunnel: &Tunnel,
        table: Table,
        seen: &BTreeMap<WgPublicKey, SocketAddr>,
    ) -> Outcome<ConfigReport> {
        let text = wg_quick::render(self.net.as_str(), tunnel, table, seen);
        let path = match &self.output {
            Some(path) => path.clone(),
            None => home.nets().join(self.net.as_str()).join(WG_QUICK),
        };
        Store::look(home).write_private(&path, text.as_bytes())?;
        Ok(ConfigReport {
            path: path.display().to_string(),
            peers: tunnel.peers.len(),
        })
    }
}
