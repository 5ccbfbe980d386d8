//! In which routing table a route stands, and the policy rules that lead there.
//!
//! A default route in the main table would take the tunnel's own packets into the tunnel. So it gets
//! a table of the interface's own, and two rules lead there (ip-rule(8)):
//!
//! ```text
//! P:    from all lookup main suppress_prefixlength 0
//! P+1:  not from all fwmark MARK lookup TABLE
//! ```
//!
//! The first leaves everything that the main table knows better than by its default route where it
//! is; the second takes the rest into the tunnel, but for packets with the interface's mark, which
//! are the tunnel's own. Table and priority follow from the interface's name, so that a program that
//! was killed finds its rules again although the interface is gone. A rule is ours if it has one of
//! the two priorities and our [`PROTOCOL`]; every other one is left alone.
//!
//! What it refuses to do: set a sysctl, or touch a packet filter.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use crate::backend::PROTOCOL;
use crate::desired::Desired;
use crate::name::IfName;

/// Where the routes of an interface go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// In which table.
    pub table: Table,
    /// Metric of every route that is made; the lowest wins. `None`: what the kernel takes, which is
    /// 0 for IPv4 and 1024 for IPv6, where 0 means 1024 too. The kernel's own route for a prefix
    /// that an address connects has a metric of its own choice and is enough for that prefix.
    pub metric: Option<u32>,
}

/// The routing table of an interface's routes; `Table=` of wg-quick(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The main table; but a default route (prefix length 0) goes into a table of the interface's
    /// own, [`Table::of`] its name, to which policy rules lead. That needs a mark
    /// ([`Desired::fwmark`](crate::Desired::fwmark)), or it is left out.
    #[default]
    Auto,
    /// No routes but what the kernel makes for the addresses. Routes that others make are theirs.
    Off,
    /// All routes go into this table, default ones too, and no rules are made: to have the table
    /// asked is the caller's business. 0 stands for the main table, as in the kernel. 255, the
    /// table of local addresses, is the kernel's own: with it, nothing is routed.
    Number(u32),
}

/// A route into the interface, without a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The prefix, without bits behind its length.
    pub net: IpNet,
    /// The number of its table.
    pub table: u32,
    /// Its metric as the kernel keeps it: never 0 for IPv6.
    pub metric: u32,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A policy rule of ours, by protocol and priority. Prints as ip-rule(8) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRule {
    /// To packets of which family it applies.
    pub family: Family,
    /// Its place among the rules; the lowest is asked first.
    pub priority: u32,
    /// What it says.
    pub action: RuleAction,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// Ask the main table, but do not take its default route.
    MainWithoutDefault,
    /// Packets without this mark: ask that table.
    Unmarked {
        /// The mark, not 0; all its bits count.
        fwmark: u32,
        /// The table.
        table: u32,
    },
    /// Something that this program does not say. It is only ever removed.
    Other,
}

/// The main table (`RT_TABLE_MAIN`).
pub(crate) const MAIN: u32 = 254;
/// The table of the host's own addresses (`RT_TABLE_LOCAL`).
pub(crate) const LOCAL: u32 = 255;
/// Priorities of rules: two for each of so many names, from the first one on. Above those that
/// other programs are known to take, and below the main table's 32766.
const FIRST_PRIORITY: u32 = 10_000;
const PRIORITIES: u32 = 11_000;

impl Table {
    /// The main table.
    pub const MAIN: Self = Self::Number(MAIN);

    /// The number of an interface's own table: 0x67 and 24 bits of a hash of the name, the same
    /// in every version of this program. So it is none of the kernel's (0, 253 to 255).
    #[must_use]
    pub fn of(name: &IfName) -> u32 {
        let [_, _, _, _, _, a, b, c] = hash(name).to_be_bytes();
        u32::from_be_bytes([0x67, a, b, c])
    }

    /// Where a route of this prefix goes. `None`: nowhere.
    fn for_route(self, name: &IfName, net: &IpNet, fwmark: Option<u32>) -> Option<u32> {
        match self {
            Self::Auto if net.prefix_len() > 0 => Some(MAIN),
            Self::Auto => fwmark.map(|_| Self::of(name)),
            Self::Off | Self::Number(LOCAL) => None,
            Self::Number(0) => Some(MAIN),
            Self::Number(table) => Some(table),
        }
    }
}

impl Route {
    /// The route that the kernel makes of this. `metric`: as in [`Routing::metric`].
    #[must_use]
    pub fn new(net: IpNet, table: u32, metric: Option<u32>) -> Self {
        /// `IP6_RT_PRIO_USER`.
        const IPV6: u32 = 1024;
        let metric = match (net, metric.unwrap_or(0)) {
            (IpNet::V6(_), 0) => IPV6,
            (_, metric) => metric,
        };
        let net = net.trunc();
        Self { net, table, metric }
    }

    /// The route that the kernel makes for an address, in the main table, when it is added or the
    /// link comes up. None for a single IPv4 address.
    pub(crate) fn connected(address: &IpNet) -> Option<Self> {
        /// `IP6_RT_PRIO_ADDRCONF`.
        const IPV6: u32 = 256;
        let metric = match address {
            IpNet::V4(v4) if v4.prefix_len() == 32 => return None,
            IpNet::V4(_) => 0,
            IpNet::V6(_) => IPV6,
        };
        Some(Self::new(*address, MAIN, Some(metric)))
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of a prefix.
    #[must_use]
    pub const fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

impl PolicyRule {
    /// The two priorities of an interface's rules, even and odd, the same in every version of this
    /// program. Two names share them with a probability of 1 in 11,000.
    #[must_use]
    pub fn priorities(name: &IfName) -> [u32; 2] {
        // Other bits than those of the table.
        let [a, b, c, d, ..] = hash(name).to_be_bytes();
        let first = FIRST_PRIORITY + 2 * (u32::from_be_bytes([a, b, c, d]) % PRIORITIES);
        [first, first + 1]
    }

    /// The rules that lead to the interface's own table, in the order in which they are asked.
    #[must_use]
    pub fn pair(name: &IfName, family: Family, fwmark: u32) -> [Self; 2] {
        let [first, second] = Self::priorities(name);
        let table = Table::of(name);
        let rule = |priority, action| Self {
            family,
            priority,
            action,
        };
        [
            rule(first, RuleAction::MainWithoutDefault),
            rule(second, RuleAction::Unmarked { fwmark, table }),
        ]
    }
}

impl Desired {
    /// The routes that the wish comes to.
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

    /// The rules that the wish comes to.
    pub(crate) fn wanted_rules(&self) -> BTreeSet<PolicyRule> {
        let (Table::Auto, Some(fwmark)) = (self.routing.table, self.mark()) else {
            return BTreeSet::new();
        };
        let default_routes = self.routes.iter().filter(|net| net.prefix_len() == 0);
        default_routes
            .flat_map(|net| PolicyRule::pair(&self.name, Family::of(net), fwmark))
            .collect()
    }

    fn mark(&self) -> Option<u32> {
        self.fwmark.filter(|mark| *mark != 0)
    }
}

/// FNV-1a over the name, then MurmurHash3's finalizer, so that every bit depends on every
/// character. It names what stands on hosts: it cannot change.
fn hash(name: &IfName) -> u64 {
    let fnv = name
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.net)?;
        if self.table != MAIN {
            write!(f, " table {}", self.table)?;
        }
        if *self != Self::new(self.net, self.table, None) {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        write!(f, "{family} priority {} protocol {PROTOCOL}", self.priority)?;
        match self.action {
            RuleAction::MainWithoutDefault => f.write_str(" lookup main suppress_prefixlength 0"),
            RuleAction::Unmarked { fwmark, table } => {
                write!(f, " not fwmark {fwmark:#x} lookup {table}")
            }
            RuleAction::Other => f.write_str(" (not as this program makes it)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IfName {
        text.parse().unwrap()
    }

    #[test]
    fn what_follows_from_a_name_never_changes() {
        // These stand on hosts: another value is a rule that nobody removes.
        assert_eq!(Table::of(&name("foo")), 0x6758_1d4c);
        assert_eq!(PolicyRule::priorities(&name("foo")), [12154, 12155]);
    }

    #[test]
    fn names_get_tables_and_priorities_of_their_own() {
        let names: Vec<IfName> = (0..200).map(|n| name(&format!("net{n}"))).collect();
        let tables: BTreeSet<u32> = names.iter().map(Table::of).collect();
        assert_eq!(tables.len(), names.len());
        let priorities: BTreeSet<_> = names.iter().map(PolicyRule::priorities).collect();
        // By the birthday bound two of 200 are expected to meet in fewer than two pairs.
        assert!(priorities.len() > names.len() - 8, "{}", priorities.len());
        for [first, second] in priorities {
            assert!(first % 2 == 0 && second == first + 1);
            assert!((10_000..32_000).contains(&second), "{second}");
        }
    }

    #[test]
    fn routes_are_as_the_kernel_keeps_them() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let default = |text| Route::new(net(text), MAIN, None);
        assert_eq!(default("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(default("fd00::1/64").metric, 1024);
        assert_eq!(
            Route::new(net("fd00::/64"), MAIN, Some(0)),
            default("fd00::/64")
        );
        let moved = Route::new(net("fd00::/64"), 7, Some(5));
        assert_eq!(moved.to_string(), "fd00::/64 table 7 metric 5");
        assert_eq!(
            Route::connected(&net("fd00::1/64")).unwrap().to_string(),
            "fd00::/64 metric 256"
        );
        assert_eq!(Route::connected(&net("10.0.0.1/32")), None);
    }

    #[test]
    fn rules_print_as_ip_rule_takes_them() {
        let foo = name("foo");
        let [first, second] = PolicyRule::pair(&foo, Family::V6, 0x51).map(|rule| rule.to_string());
        let [p, q] = PolicyRule::priorities(&foo);
        assert_eq!(
            first,
            format!("-6 priority {p} protocol 103 lookup main suppress_prefixlength 0")
        );
        let table = Table::of(&foo);
        assert_eq!(
            second,
            format!("-6 priority {q} protocol 103 not fwmark 0x51 lookup {table}")
        );
    }
}
