//! The command line, as types. The server reads the words of a command with the same types.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
#[cfg(feature = "modules")]
use grid_promises::ContentId;
use grid_promises::Timestamp;
#[cfg(feature = "modules")]
use grid_promises::content_id::HashCode;
use grid_promises::limits::MAX_USES;
#[cfg(feature = "modules")]
use grid_promises::modules::ModuleName;
use grid_promises::network::charter::AdmissionRule;
use grid_promises::network::name::NetworkName;
use grid_wg::{Netns, Routing, Table};
use ipnet::{IpNet, Ipv4Net};

use super::{duration, moment};
use crate::store::{self, Backend, InterfaceOptions};

/// A WireGuard mesh without a coordination server
///
/// Every command is a promise: `grid --show PROMISE` prints what it says.
#[derive(Debug, Parser)]
#[command(
    name = "grid",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(args_conflicts_with_subcommands = false)]
#[command(after_help = "\
Exit codes: 0 kept, 1 failed, 2 usage, 3 no server and none could be started,
4 refused by a promise or a rule, 5 timed out.")]
pub struct Cli {
    /// What is common to all commands.
    #[command(flatten)]
    pub global: Global,

    /// Print the text of a promise, by its name or content id
    #[arg(long, value_name = "PROMISE", conflicts_with = "list")]
    pub show: Option<String>,

    /// List the promises and their content ids
    #[arg(long)]
    pub list: bool,

    /// The promise to keep.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is common to all commands.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// The folder of this node [default: $GRID_HOME, ~/.grid or /var/lib/grid]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        help_heading = "Global options"
    )]
    pub home: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Say more in the log of the server that this command starts (-vv: all of it)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,

    /// What a module is given beside its arguments: a file, or `-` for standard input; at most 1 MiB.
    /// Before the module's name
    #[arg(long, value_name = "FILE|-", help_heading = "Global options")]
    pub payload: Option<PathBuf>,
}

/// The promises that can be called.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this node in the foreground
    StartServer(StartServer),
    /// Stop this home's server; interfaces in userspace go with it, the networks stay on disk
    StopServer(StopServer),
    /// Found a network and join it
    CreateWireguardNet(Create),
    /// Print an invite to a network, and nothing else
    Invite(Invite),
    /// Join a network, with an invite or by asking known peers
    JoinWireguardNet(Join),
    /// Withdraw this node's promise and take the interface down
    LeaveWireguardNet(Leave),
    /// Say what is promised, accepted and kept
    Status(Status),
    /// Accept a prefix that a node promises, or (as an owner) admit a node that asked
    Accept(Accept),
    /// Do not accept a prefix, from one node or from anybody
    Reject(Reject),
    /// Have a module judge what members promise, beside the rules; or dismiss it
    #[cfg(feature = "modules")]
    AppointJudge(AppointJudge),
    /// Show what was decided about promises at a time, and decide it again
    Replay(Replay),
    /// Promise to route a subnet
    Promise(Prefix),
    /// Take the promise to route a subnet back
    Withdraw(Prefix),
    /// Withdraw a node's admission (owners only)
    Revoke(Revoke),
    /// Make another node a peer: it can be asked for open networks
    ExchangeKeys(ExchangeKeys),
    /// Make this node's key if there is none, and print the node id
    GenerateKeys,
    /// Write the present configuration of a network as a file for wg-quick
    CreateConfig(CreateConfig),
    /// Have systemd run a node of this machine, from boot on
    InstallService(InstallService),
    /// Wait until the addresses of this node's networks are up
    WaitOnline(WaitOnline),
    /// Store a module under its content id and give it a name
    #[cfg(feature = "modules")]
    Publish(Publish),
    /// Show the names that this node knows, and the tables before; or go back to one of those
    #[cfg(feature = "modules")]
    Symbols(Symbols),
    /// Take names of a peer into the symbol table; run nothing
    #[cfg(feature = "modules")]
    AdoptSymbols(AdoptSymbols),
    /// Allow a native executable to run here
    #[cfg(feature = "modules")]
    Allow(Allow),
    /// Show or change which promises this node takes part in
    Contract(Contract),
    /// Store objects by content id, read them, and keep the store in order
    #[cfg(feature = "modules")]
    Cas(Cas),
    /// Show who takes messages under which promise, and how often they kept it
    #[cfg(feature = "modules")]
    Routes,
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// The folder to write to
        dir: PathBuf,
    },
    /// Call a module by its name in the symbol table
    #[command(external_subcommand)]
    Module(Vec<OsString>),
    /// Print a completion script
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `start-server`.
#[derive(Debug, Args)]
pub struct StartServer {
    /// Where QUIC listens, if not where the home's configuration says
    #[arg(
        long,
        value_name = "ADDR:PORT",
        help = "Where QUIC listens [default: what the home's configuration says, or [::]:51821]"
    )]
    pub listen: Option<SocketAddr>,

    /// Where others can reach this node's QUIC, if that is not one of its own addresses
    #[arg(long, value_name = "ADDR:PORT")]
    pub endpoint: Vec<SocketAddr>,

    /// Join by the invites in this folder (*.invite, mode 0600), and remove those that are used up
    #[arg(long, value_name = "FOLDER", conflicts_with = "dry_run")]
    pub join_dir: Option<PathBuf>,

    /// Run it in the background and return once it answers
    #[arg(long, conflicts_with = "dry_run")]
    pub background: bool,

    /// This process is the one in the background
    #[arg(long, hide = true)]
    pub background_child: bool,

    /// A test instrument: append every message that goes to or comes from a peer to FILE, in
    /// plaintext
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "background")]
    pub tap: Option<PathBuf>,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `stop-server`.
#[derive(Debug, Args)]
pub struct StopServer {
    /// Take down the interfaces of the kernel as well, which go on otherwise. Also without a server
    #[arg(long)]
    pub down: bool,
}

/// `create-wireguard-net`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name: 1 to 15 of a-z, 0-9 and '-'; also the interface's
    pub net: NetworkName,

    /// Its IPv4 range [default: a random /16 of 10.0.0.0/8]
    #[arg(long, value_name = "CIDR")]
    pub ipv4: Option<Ipv4Net>,

    /// How nodes become members
    #[arg(long, value_name = "RULE", value_enum, default_value_t)]
    pub admission: Admission,

    /// How this node runs WireGuard.
    #[command(flatten)]
    pub tunnel: TunnelOptions,
}

/// What founding and joining have in common.
#[derive(Debug, Default, Args)]
pub struct TunnelOptions {
    /// Who runs WireGuard on this machine
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,

    /// WireGuard's UDP port [default: 51820, for further networks the next free one from 51822]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// The network namespace that the interface lives in; its UDP socket stays in the server's. A name as
    /// `ip netns` has it, or a path
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: Option<Netns>,

    /// Where the routes through the interface go: `auto` (the main table, and a default route by policy
    /// rules), `off` (nowhere), or the number of a table
    #[arg(long, value_name = "auto|off|N", default_value = "auto", hide_default_value = true,
          value_parser = store::table)]
    pub table: Table,

    /// The metric of those routes; of two ways to one prefix the lower counts
    #[arg(long, value_name = "N")]
    pub metric: Option<u32>,

    /// Take over a WireGuard interface of that name, which somebody else made
    #[arg(long)]
    pub adopt: bool,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl TunnelOptions {
    /// How the interface is to be run.
    #[must_use]
    pub fn interface(&self) -> InterfaceOptions {
        InterfaceOptions {
            backend: self.backend,
            netns: self.netns.clone(),
            routing: Routing {
                table: self.table,
                metric: self.metric,
            },
        }
    }
}

/// How nodes become members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Admission {
    /// With an invite from a member
    #[default]
    Invite,
    /// By an owner, who accepts each node
    Approve,
    /// Whoever asks
    Open,
}

impl From<Admission> for AdmissionRule {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Invite => Self::Invite,
            Admission::Approve => Self::Approve,
            Admission::Open => Self::Open,
        }
    }
}

/// `invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// The network
    pub net: NetworkName,

    /// How long it can be used: 30s, 10m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    pub expires: Duration,

    /// How many nodes may join with it
    #[arg(long, default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_USES)))]
    pub uses: u32,

    /// Where joiners should look for this node first
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Vec<String>,
}

/// `join-wireguard-net`.
#[derive(Debug, Args)]
pub struct Join {
    /// The network
    pub net: NetworkName,

    /// The invite, or `-` to read it from standard input. Prefer `-`: what is on the command line
    /// stays in the shell's history, and an invite is a secret. Without it, known peers are asked
    /// for an open network of that name, and a network that was left is joined again
    #[arg(value_name = "INVITE|-")]
    pub invite: Option<String>,

    /// How long to wait for other members: 30s, 10m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub wait: Duration,

    /// How this node runs WireGuard.
    #[command(flatten)]
    pub tunnel: TunnelOptions,
}

/// `leave-wireguard-net`.
#[derive(Debug, Args)]
pub struct Leave {
    /// The network
    pub net: NetworkName,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this network
    pub net: Option<NetworkName>,
}

/// `accept`.
#[derive(Debug, Args)]
pub struct Accept {
    /// The network
    pub net: NetworkName,

    /// The prefix to accept; or the node to admit, if this node is an owner
    #[arg(value_name = "PREFIX|NODE")]
    pub what: String,

    /// Whose promise of that prefix: a node id, the beginning of one, or a name
    #[arg(long, value_name = "NODE")]
    pub from: Option<String>,
}

/// `reject`.
#[derive(Debug, Args)]
pub struct Reject {
    /// The network
    pub net: NetworkName,

    /// The prefix
    #[arg(value_parser = prefix)]
    pub prefix: IpNet,

    /// Whose promise of that prefix [default: anybody's]
    #[arg(long, value_name = "NODE")]
    pub from: Option<String>,
}

/// `appoint-judge`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct AppointJudge {
    /// The network
    pub net: NetworkName,

    /// A module that keeps the promise `judge`: its name or the content id of its code; `none`
    /// dismisses the judge
    #[arg(value_name = "MODULE|none")]
    pub module: String,

    /// Show what it would decide about what is promised now, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The network
    pub net: NetworkName,

    /// When: 2026-11-21T20:15:00Z (UTC), or how long ago, as 10m [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub at: Option<Timestamp>,
}

/// `promise` and `withdraw`.
#[derive(Debug, Args)]
pub struct Prefix {
    /// The network
    pub net: NetworkName,

    /// The prefix
    #[arg(value_parser = prefix)]
    pub prefix: IpNet,
}

/// `revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The network
    pub net: NetworkName,

    /// The node: its id, the beginning of it, or its name
    pub node: String,
}

/// `exchange-keys`.
#[derive(Debug, Args)]
pub struct ExchangeKeys {
    /// Where the node is; with #KEY, the node id that it must have
    #[arg(value_name = "HOST:PORT[#KEY]")]
    pub peer: String,
}

/// `create-config`.
#[derive(Debug, Args)]
pub struct CreateConfig {
    /// The network
    pub net: NetworkName,

    /// The file [default: wg-quick.conf in the network's folder]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `install-service`.
#[derive(Debug, Args)]
pub struct InstallService {
    /// Take it back: stop the service and remove the units; the node's home stays
    #[arg(long)]
    pub remove: bool,

    /// The program that the service runs [default: this one]
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    pub program: Option<PathBuf>,

    /// Install into the system whose root this folder is, an image for example; start nothing
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `wait-online`.
#[derive(Debug, Args)]
pub struct WaitOnline {
    /// Only this network, which this node may not be in yet
    pub net: Option<NetworkName>,

    /// How long to wait: 30s, 10m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// `publish`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct Publish {
    /// What people type to call it
    pub name: ModuleName,

    /// The module: WebAssembly, or a native executable
    pub file: PathBuf,

    /// What it promises: a file, or the text itself. A WebAssembly module carries its own
    #[arg(long, value_name = "TEXT|FILE")]
    pub promise: Option<String>,

    /// How a native executable is spoken to
    #[arg(long, value_enum, default_value_t)]
    pub protocol: ExecProtocol,
}

/// How a native executable is spoken to.
#[cfg(feature = "modules")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExecProtocol {
    /// It gets the arguments and the terminal
    #[default]
    Plain,
    /// It reads and writes messages
    Framed,
}

/// `symbols`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct Symbols {
    /// Show the tables before this one, and what each changed
    #[arg(long, conflicts_with = "back")]
    pub history: bool,

    /// Go back to the names of this table
    #[arg(long, value_name = "ID")]
    pub back: Option<ContentId>,
}

/// `adopt-symbols`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct AdoptSymbols {
    /// The peer: its node id or the beginning of it, or HOST:PORT
    pub peer: String,

    /// The names to take; all that are new, if none is given
    pub names: Vec<ModuleName>,

    /// Take these names also where this node has them for something else
    #[arg(long, requires = "names")]
    pub replace: bool,

    /// Show what would be taken, and take nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `allow`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct Allow {
    /// The name of a module, or the content id of an executable; all that are allowed, if none is given
    pub what: Option<String>,

    /// Take the permission back
    #[arg(long, requires = "what")]
    pub remove: bool,
}

/// `contract`.
#[derive(Debug, Args)]
pub struct Contract {
    /// Take part in this promise: its name or content id
    #[arg(long, value_name = "PROMISE")]
    pub add: Vec<String>,

    /// Take no part in this promise any more
    #[arg(long, value_name = "PROMISE")]
    pub remove: Vec<String>,

    /// Print the texts too
    #[arg(long)]
    pub texts: bool,
}

/// `cas`.
#[cfg(feature = "modules")]
#[derive(Debug, Args)]
pub struct Cas {
    /// What to do.
    #[command(subcommand)]
    pub command: CasCommand,
}

/// What `cas` does. None of it needs a server.
#[cfg(feature = "modules")]
#[derive(Debug, Subcommand)]
pub enum CasCommand {
    /// Store a file and print its content id
    Put {
        /// The file, or `-` for standard input; at most 1 GiB
        #[arg(value_name = "FILE|-")]
        file: PathBuf,

        /// The hash function of the content id
        #[arg(long, value_enum, default_value_t)]
        hash: Hash,
    },
    /// Print an object, once it is verified
    Get {
        /// Its content id
        id: ContentId,

        /// Write it to FILE, whole or not at all
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List the objects: content id, size, when it was used last
    Ls,
    /// Evict what was not used for the longest time, if there is more than the limit
    ///
    /// The limit is `cache_limit` in the home's configuration. What the symbol table reaches stays,
    /// and so does what was put or read in the last 10 minutes.
    Gc {
        /// Print what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every object and set aside what is damaged
    Verify,
}

/// A hash function of content ids.
#[cfg(feature = "modules")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// SHA-256
    #[default]
    #[value(name = "sha2-256")]
    Sha2_256,
    /// SHA-512
    #[value(name = "sha2-512")]
    Sha2_512,
    /// BLAKE3
    #[value(name = "blake3")]
    Blake3,
}

#[cfg(feature = "modules")]
impl From<Hash> for HashCode {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha2_256 => Self::Sha2_256,
            Hash::Sha2_512 => Self::Sha2_512,
            Hash::Blake3 => Self::Blake3,
        }
    }
}

/// A prefix; a single address counts as one.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub fn prefix(text: &str) -> Result<IpNet, String> {
    let wrong = |_| "it is not a prefix such as 192.168.7.0/24 or fd00:7::/48";
    let prefix = match text.parse::<IpNet>() {
        Ok(prefix) => prefix,
        Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(wrong)?,
    };
    if prefix == prefix.trunc() {
        Ok(prefix)
    } else {
        Err(format!(
            "it has bits behind its length; {} is meant?",
            prefix.trunc()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_promise_that_people_can_call_is_a_command() {
        let commands: Vec<String> = Cli::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect();
        for promise in grid_promises::texts::commands() {
            #[cfg(not(feature = "modules"))]
            if super::super::no_modules::COMMANDS.contains(&promise.name) {
                continue;
            }
            assert!(
                commands.iter().any(|name| name == promise.name),
                "{}",
                promise.name
            );
        }
    }

    #[test]
    fn prefixes_are_taken_as_people_write_them() {
        assert_eq!(prefix("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(prefix("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(prefix("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(prefix("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(prefix("box").is_err());
    }
}
