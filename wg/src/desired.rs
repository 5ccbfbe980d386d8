//! What an interface should be: plain values that the caller fills in.
//!
//! Nothing here is checked against the host. Where two values contradict each other,
//! [`plan`](crate::plan()) says which one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};

use ipnet::IpNet;

use crate::if_name::IfName;
use crate::mtu::Mtu;
use crate::routing::{Family, PolicyRule, Route, Routing, Table};

/// The wanted state of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its name.
    pub name: IfName,
    /// Its private key, whose public half also proves that a kernel interface of this name is ours.
    pub private_key: WgSecretKey,
    /// UDP port. 0: any; WireGuard picks one, and one that is already bound stays.
    pub listen_port: u16,
    /// Its maximum transmission unit.
    pub mtu: Mtu,
    /// Mark on outgoing UDP packets. `None` and `Some(0)`: no mark.
    pub fwmark: Option<u32>,
    /// Its own addresses, each with the length of its connected prefix.
    pub addresses: BTreeSet<IpNet>,
    /// Its peers. An entry under the interface's own public key is ignored, as in WireGuard.
    pub peers: BTreeMap<WgPublicKey, DesiredPeer>,
    /// Prefixes that the host routes into the interface. Host bits are ignored. A prefix that an
    /// address already connects may be listed too. A default route (prefix length 0) under
    /// [`Table::Auto`] needs `fwmark`: without a mark it would send the tunnel's own packets into
    /// the tunnel, so it is left out.
    pub routes: BTreeSet<IpNet>,
    /// Where these routes go.
    pub routing: Routing,
}

/// The wanted state of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredPeer {
    /// The pre-shared key. `None` and all zeros: none.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send. `None`: whatever is there stays, so that a roaming peer remains reachable.
    pub endpoint: Option<SocketAddr>,
    /// The prefixes that the peer may send from, and that are sent to it. Host bits are ignored. A
    /// prefix that several peers list goes to the one with the lowest public key.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Persistent keepalive in seconds. `None` and `Some(0)`: off.
    pub keepalive: Option<u16>,
}

impl Desired {
    /// `routes`, each in the table and with the metric that it gets.
    pub(crate) fn wanted_routes(&self) -> BTreeSet<Route> {
        let Routing { table, metric } = self.routing;
        let fwmark = self.mark();
        let nets = self.routes.iter().map(IpNet::trunc);
        let placed = nets.filter_map(|net| {
            let table = table.for_route(&self.name, &net, fwmark)?;
            Some(Route::new(net, table, metric))
        });
        placed.collect()
    }

    /// The policy rules that lead to default routes.
    pub(crate) fn wanted_rules(&self) -> BTreeSet<PolicyRule> {
        let (Table::Auto, Some(fwmark)) = (self.routing.table, self.mark()) else {
            return BTreeSet::new();
        };
        let default_routes = self.routes.iter().filter(|net| net.prefix_len() == 0);
        default_routes
            .flat_map(|net| PolicyRule::pair(&self.name, Family::of(net), fwmark))
            .collect()
    }

    /// `None` instead of 0.
    fn mark(&self) -> Option<u32> {
        self.fwmark.filter(|mark| *mark != 0)
    }
}
