//! `grid create-wireguard-net NET`: founds a network, whose first member and owner is this node.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use grid_keys::NodeId;
use grid_promises::core::{Command as Wish, CommandError};
use grid_promises::network::address;
use grid_promises::network::charter::AdmissionRule;
use grid_promises::network::name::NetworkName;
use grid_promises::network::recovery::RecoveryKey;
use grid_promises::texts::{self, Promise};
use ipnet::Ipv4Net;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::advice;
use crate::command::tunnel_options::TunnelOptions;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::console::output;
use crate::console::place::{self, Readers};
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::node::joining::{self, AT_LEAST, JoinedReport, ranges};
use crate::node::{NodeHandle, Progress};
use crate::rehearsal::Rehearsal;
use crate::store::{Loaded, Store};
use crate::values::secret::SecretText;
use crate::values::{moment, text};

/// Found a network and join it
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Its name: 1 to 15 of a-z, 0-9 and '-'; also the interface's
    #[serde(with = "text")]
    net: NetworkName,

    /// Its IPv4 range [default: a random /16 of 10.0.0.0/8]
    #[arg(long, value_name = "CIDR", value_parser = range)]
    #[serde(with = "text::option")]
    ipv4: Option<Ipv4Net>,

    /// Take an IPv4 range that others have on the internet
    #[arg(long)]
    #[serde(default)]
    allow_public: bool,

    /// How nodes become members
    #[arg(long, value_name = "RULE", value_enum, default_value_t)]
    admission: Admission,

    /// Take the name of a network that this node left, and forget that one for good
    #[arg(long)]
    #[serde(skip)]
    replace: bool,

    /// Write a recovery key there, for paper (`-`: show it): with it, `grid recover` makes a member an owner when the
    /// founder's key is lost, and `grid dismiss-owner --recovery-key` ends a stolen one
    #[arg(long, value_name = "FILE|-")]
    #[serde(skip)]
    recovery_key: Option<PathBuf>,

    /// The public half of the recovery key.
    #[arg(skip)]
    #[serde(default, with = "text::option")]
    recovery: Option<NodeId>,

    /// How this node runs WireGuard.
    #[command(flatten)]
    tunnel: TunnelOptions,
}

/// How nodes become members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Admission {
    /// With an invite from a member
    #[default]
    Invite,
    /// By an owner, who accepts each node
    Approve,
    /// Whoever asks
    Open,
}

/// The network that was founded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Founded {
    #[serde(flatten)]
    joined: JoinedReport,
    /// The recovery key, if it was to be shown. The server never has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery_key: Option<SecretText>,
    /// Whether there is a recovery key.
    #[serde(default)]
    has_recovery_key: bool,
}

impl Founded {
    fn id(&self) -> &str {
        &self.joined.id
    }
}

impl Report for Founded {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        self.joined.show("founded", out)?;
        match &self.recovery_key {
            Some(key) => writeln!(
                out,
                "  recovery   {}\nwrite the recovery key down and keep it where no machine reads it: it is above every owner",
                key.expose()
            ),
            None if self.has_recovery_key => Ok(()),
            None => writeln!(out, "  recovery   {}", advice::has_no_key_for_good()),
        }
    }
}

impl Command for Args {
    fn run(mut self, caller: &Caller) -> Outcome {
        if !self.replace && has_left(caller.home(), &self.net) {
            let net = &self.net;
            let advice = advice::replaces(net);
            return Err(Failure::refused(format!(
                "this node left a network \"{net}\", and what it kept of that would be gone; {advice}"
            )));
        }
        if self.tunnel.dry_run {
            let mut rehearsal = Rehearsal::begin(caller.home())?;
            let port = rehearsal.port(self.tunnel.port)?;
            rehearsal.carry_out(self.wish(port))?;
            output::say("the keys and addresses will differ once the network is founded");
            if let Some(path) = self.recovery_key.as_deref() {
                say_where(path)?;
            }
            let interface = self.tunnel.interface();
            return caller.show(&rehearsal.plan(&self.net, &interface, self.tunnel.adopt)?);
        }
        // Before a server is started for what cannot be.
        if let Some(range) = self.ipv4 {
            address::check_range(range).map_err(|why| CommandError::BadRange { range, why })?;
            ranges(self.allow_public).check(&self.net, range)?;
        }
        let Some(path) = self.recovery_key.take() else {
            return asking::ask_or_start(caller, &self);
        };
        let key = new_recovery_key()?;
        self.recovery = Some(key.key().id());
        let text = key.to_text();
        let is_shown = path == Path::new("-");
        // On disk before the network that needs it.
        if !is_shown {
            check_free(&path)?;
            keep(&path, &self.net, None, &text)?;
        }
        let founded = asking::report_or_start(caller, &self);
        let mut founded = founded.inspect_err(|failure| {
            let known = Aftermath::of(caller.home(), &self.net, &key.key().id(), failure);
            known.say(&self.net, (!is_shown).then_some(path.as_path()));
        })?;
        founded.recovery_key = is_shown.then(|| SecretText::new(text.to_string()));
        caller.show(&founded)?;
        if !is_shown {
            if fs::metadata(&path).is_ok_and(|about| about.is_file()) {
                // It is good without its network's id.
                let _ = keep(&path, &self.net, Some(founded.id()), &text);
            }
            output::say(&format!(
                "the recovery key is in {}: copy it to paper, keep that where no machine reads it, and delete the file",
                path.display()
            ));
        }
        Ok(())
    }
}

/// An IPv4 range as a person types it.
fn range(text: &str) -> Result<Ipv4Net, String> {
    text.parse()
        .map_err(|error| match text.parse::<Ipv4Addr>() {
            Ok(address) => format!("its length is missing, as in {address}/16"),
            Err(_) => format!("{error}; a range is written as in 10.5.0.0/16"),
        })
}

/// Whether this node left a network of that name, and could join it again.
fn has_left(home: &Home, net: &NetworkName) -> bool {
    let is_it = |loaded: &Loaded| match loaded {
        Loaded::Whole(stored) => stored.record.name() == net && stored.record.is_left(),
        Loaded::Broken { .. } => false,
    };
    // What cannot be read is for the server to say.
    let networks = Store::look(home).networks();
    networks.is_ok_and(|networks| networks.iter().any(is_it))
}

/// Says where a recovery key would go.
fn say_where(path: &Path) -> Outcome {
    if path == Path::new("-") {
        output::say("a recovery key would be shown");
        return Ok(());
    }
    check_free(path)?;
    output::say(&format!(
        "a recovery key would be written to {}",
        path.display()
    ));
    Ok(())
}

/// What became of a network that could not be founded as it should be.
#[derive(Debug, PartialEq, Eq)]
enum Aftermath {
    /// There is no such network.
    NotFounded,
    /// There is, and something else failed.
    Founded,
    /// The server may still be at it.
    Unknown,
}

impl Aftermath {
    /// By what is on disk: a network is there before anybody hears of it.
    fn of(home: &Home, net: &NetworkName, recovery: &NodeId, failure: &Failure) -> Self {
        let is_it = |loaded: &Loaded| match loaded {
            Loaded::Whole(stored) => {
                let charter = &stored.record.charter;
                charter.name == *net && charter.recovery.as_ref() == Some(recovery)
            }
            Loaded::Broken { .. } => false,
        };
        match Store::look(home).networks() {
            Ok(networks) if networks.iter().any(is_it) => Self::Founded,
            Ok(_) if failure.exit != Exit::TimedOut => Self::NotFounded,
            _ => Self::Unknown,
        }
    }

    /// Says what the recovery key is good for. The file of one that is good for nothing is removed.
    fn say(&self, net: &NetworkName, file: Option<&Path>) {
        let whether = match self {
            Self::NotFounded => return file.map_or((), discard),
            Self::Founded => format!("\"{net}\" was founded all the same"),
            Self::Unknown => format!("it is not known whether \"{net}\" was founded"),
        };
        output::say(&match file {
            Some(path) => advice::key_is_kept(net, &whether, path.display()),
            None => advice::key_was_not_shown(net, &whether),
        });
    }
}

/// Removes the file of a key that is above no network.
fn discard(path: &Path) {
    let removed = match fs::metadata(path) {
        Ok(about) if about.is_file() => fs::canonicalize(path).and_then(fs::remove_file),
        // A device or a pipe took it.
        _ => Ok(()),
    };
    if let Err(error) = removed {
        let path = path.display();
        output::say(&format!(
            "the recovery key in {path} is of no use, and cannot be removed: {error}"
        ));
    }
}

fn new_recovery_key() -> Outcome<RecoveryKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| Failure::failed(format!("the system gives no randomness: {error}")))?;
    Ok(RecoveryKey::generate(&mut ChaCha20Rng::from_seed(*seed)))
}

/// What is there already may be the recovery key of another network.
fn check_free(path: &Path) -> Outcome {
    if !fs::metadata(path).is_ok_and(|about| about.is_file()) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "there is a file {} already, which may hold another recovery key; nothing was changed",
        path.display()
    )))
}

/// Writes a recovery key to a file, with what whoever finds the paper has to know.
fn keep(path: &Path, net: &NetworkName, id: Option<&str>, text: &str) -> Outcome {
    let id = id.map(|id| format!("\n# id {id}")).unwrap_or_default();
    let today = moment::format(moment::now());
    let write = |file: &mut fs::File| {
        writeln!(
            file,
            "# The recovery key of the grid network \"{net}\", made {today}.{id}\n\
             # It makes a member an owner: `grid recover {net} -`\n{text}"
        )
    };
    place::write(path, Readers::Owner, write).map_err(|error| {
        Failure::failed(format!(
            "cannot write {}: {error}; nothing was changed",
            path.display()
        ))
    })
}

impl Args {
    fn wish(&self, listen_port: u16) -> Wish {
        Wish::Create {
            name: self.net.clone(),
            ipv4: self.ipv4,
            ranges: ranges(self.allow_public),
            admission: match self.admission {
                Admission::Invite => AdmissionRule::Invite,
                Admission::Approve => AdmissionRule::Approve,
                Admission::Open => AdmissionRule::Open,
            },
            recovery: self.recovery,
            listen_port,
        }
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::CREATE_WIREGUARD_NET;
    type Report = Founded;

    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, progress: &Progress) -> Outcome<Founded> {
        joining::check_contract(node, &texts::JOIN_WIREGUARD_NET.id())?;
        let (net, tunnel) = (&self.net, &self.tunnel);
        let interface = tunnel.interface();
        let prepared = joining::prepare(
            node,
            net,
            interface.clone(),
            tunnel.port,
            tunnel.adopt,
            None,
        )
        .await?;
        let (listen_port, _reservation) = prepared;
        let deadline = Instant::now() + AT_LEAST;
        let wish = self.wish(listen_port);
        let reply = node.command(wish, Some(interface)).await?;
        let has_recovery_key = self.recovery.is_some();
        let finished = joining::finish(node, self.net, listen_port, reply, deadline, progress);
        Ok(Founded {
            joined: finished.await?,
            recovery_key: None,
            has_recovery_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_its_length_is_told_apart_from_what_is_none() {
        assert_eq!(
            range("10.5.0.0").unwrap_err(),
            "its length is missing, as in 10.5.0.0/16"
        );
        assert!(range("10.5").unwrap_err().contains("10.5.0.0/16"));
        assert_eq!(range("10.5.0.0/16").unwrap().prefix_len(), 16);
    }
}
