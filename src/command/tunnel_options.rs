//! How this node runs the WireGuard of a network: arguments that `create-` and `join-wireguard-net` share.

use std::num::NonZeroU16;

use clap::Args;
use clap::builder::TypedValueParser as _;
use grid_wg::{Netns, Routing, Table};
use serde::{Deserialize, Serialize};

use crate::store::{self, Backend, InterfaceOptions};
use crate::values::text;

/// How this node runs the WireGuard of a network.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelOptions {
    /// What runs WireGuard on this machine
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,

    /// WireGuard's UDP port [default: 51820, for further networks the next free one from 51822]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..).try_map(NonZeroU16::try_from))]
    pub port: Option<NonZeroU16>,

    /// The network namespace that the interface lives in; its UDP socket stays in the server's. A name as
    /// `ip netns` has it, or a path
    #[arg(long, value_name = "NAME|PATH")]
    #[serde(with = "text::option")]
    pub netns: Option<Netns>,

    /// Where the routes through the interface go: `auto` (the main table, and a default route by policy
    /// rules), `off` (nowhere), or the number of a table
    #[arg(long, value_name = "auto|off|N", default_value = "auto", hide_default_value = true,
          value_parser = store::table)]
    #[serde(with = "table")]
    pub table: Table,

    /// The metric of those routes; of two routes to a prefix the lower metric wins
    #[arg(long, value_name = "N")]
    pub metric: Option<u32>,

    /// Take over a WireGuard interface of that name, which somebody else made
    #[arg(long)]
    pub adopt: bool,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    #[serde(skip)]
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

/// Routing tables as the words that people type.
mod table {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::{Table, store};

    pub(super) fn serialize<S: Serializer>(table: &Table, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&store::table_word(*table))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Table, D::Error> {
        store::table(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}
