//! What an interface should be: plain values that the caller fills in.
//!
//! Nothing here is checked against the host. Where two values contradict each other,
//! [`plan`](crate::plan()) says which one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};

use ipnet::IpNet;

use crate::if_name::IfName;
use crate::mtu::Mtu;
use crate::observed::Observed;
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
    /// the tunnel, so it is left out. So is any prefix that goes [aside](Self::aside).
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

/// A prefix of [`Desired::routes`] that goes behind the main table as a default route does, although it
/// is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The prefix, without host bits.
    pub net: IpNet,
    /// An address in it to which the tunnel's own packets are sent.
    pub endpoint: Option<IpAddr>,
    /// What the host is connected to by another interface, if that holds the whole prefix: then the host
    /// sends nothing of it into the tunnel.
    pub connected: Option<IpNet>,
}

/// Where routes go, and the rules that lead there.
pub(crate) struct Layout {
    /// Each route in the table and with the metric that it gets.
    pub(crate) routes: BTreeSet<Route>,
    /// The policy rules that lead to the interface's own table.
    pub(crate) rules: BTreeSet<PolicyRule>,
}

/// The lowest of some addresses that the prefix holds.
pub(crate) fn first_in(net: &IpNet, addresses: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let mut inside = addresses.range(net.network()..=net.broadcast());
    inside.next().copied()
}

impl Desired {
    /// The prefixes of `routes` that have to go behind the main table under [`Table::Auto`]: those with
    /// the endpoint of a peer, because in the main table they would send the tunnel's own packets into the
    /// tunnel, and those that the host is connected to itself, because the nearer network goes first.
    ///
    /// An endpoint is the one that a peer will have: the wanted one, or otherwise the one that is there.
    /// The prefixes of the interface's own addresses stay where they are.
    #[must_use]
    pub fn aside(&self, observed: &Observed) -> Vec<Aside> {
        if self.routing.table != Table::Auto {
            return Vec::new();
        }
        let is_own = |net: &IpNet| self.addresses.iter().any(|own| own.trunc() == *net);
        let nets = self.routes.iter().map(IpNet::trunc);
        let nets = nets.filter(|net| net.prefix_len() > 0 && !is_own(net));
        let nets: BTreeSet<IpNet> = nets.collect();
        if nets.is_empty() {
            return Vec::new();
        }
        let endpoints = self.endpoints(observed);
        let aside = nets.into_iter().filter_map(|net| {
            let endpoint = first_in(&net, &endpoints);
            let mut around = observed.connected.iter().filter(|near| near.contains(&net));
            let connected = around.clone().max_by_key(|near| near.prefix_len()).copied();
            let is_aside = endpoint.is_some() || around.any(|near| *near == net);
            is_aside.then_some(Aside {
                net,
                endpoint,
                connected,
            })
        });
        aside.collect()
    }

    /// The addresses that the tunnel's own packets are sent to.
    pub(crate) fn endpoints(&self, observed: &Observed) -> BTreeSet<IpAddr> {
        let own = self.private_key.public();
        let there = observed.interface.as_ref();
        let peers = self.peers.iter().filter(|(key, _)| **key != own);
        let endpoints = peers.filter_map(|(key, peer)| {
            let is = || there?.peers.get(key)?.endpoint;
            peer.endpoint.or_else(is)
        });
        endpoints.map(|at| at.ip().to_canonical()).collect()
    }

    /// Where the routes go on a host in this state.
    pub(crate) fn layout(&self, observed: &Observed) -> Layout {
        let Routing { table, metric } = self.routing;
        let fwmark = self.mark();
        let aside = self.aside(observed).into_iter().map(|aside| aside.net);
        let aside: BTreeSet<IpNet> = aside.collect();
        let is_behind = |net: &IpNet| net.prefix_len() == 0 || aside.contains(net);
        let nets = || self.routes.iter().map(IpNet::trunc);
        let routes = nets().filter_map(|net| {
            let table = table.for_route(&self.name, is_behind(&net), fwmark)?;
            Some(Route::new(net, table, metric))
        });
        let routes = routes.collect();
        let rules = match (table, fwmark) {
            (Table::Auto, Some(fwmark)) => nets()
                .filter(is_behind)
                .flat_map(|net| PolicyRule::pair(&self.name, Family::of(&net), fwmark))
                .collect(),
            _ => BTreeSet::new(),
        };
        Layout { routes, rules }
    }

    /// `None` instead of 0.
    pub(crate) fn mark(&self) -> Option<u32> {
        self.fwmark.filter(|mark| *mark != 0)
    }
}
