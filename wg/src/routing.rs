//! The routing table of a route, and the policy rules that lead to that table.
//!
//! A default route in the main table would send the tunnel's own packets into the tunnel, and so would
//! the route of a subnet in which a peer has its endpoint. Such a route goes into a table of the
//! interface's own instead, and two rules lead there (ip-rule(8)):
//!
//! ```text
//! P:    from all lookup main suppress_prefixlength 0
//! P+1:  not from all fwmark MARK lookup TABLE
//! ```
//!
//! The first keeps everything for which the main table has a more specific route than its default
//! one; the second sends the rest into the tunnel, except for packets with the interface's mark,
//! which are the tunnel's own. A subnet that the host is connected to itself goes there too, so that the
//! main table's route comes first, whatever its metric. All other subnets are in the main table, where
//! the longest prefix wins.
//!
//! Table and priorities follow from the interface's name, so that a
//! program that was killed finds its rules again even if the interface is gone. A rule is ours if it
//! has one of the two priorities and our [`PROTOCOL`]; all others are left alone.
//!
//! What it refuses to do: set a sysctl, or touch a packet filter.

use std::fmt;

use ipnet::IpNet;

use crate::if_name::IfName;
use crate::ownership::PROTOCOL;

/// Where the routes of an interface go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// Their table.
    pub table: Table,
    /// The metric of every route that we make; the lowest wins. `None`: the kernel's default, which
    /// is 0 for IPv4 and 1024 for IPv6 (where 0 means 1024 too). For a prefix that an address
    /// connects, the kernel's own route is enough, whatever its metric.
    pub metric: Option<u32>,
}

/// The routing table of an interface's routes; `Table=` of wg-quick(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The main table; but a default route (prefix length 0), and what goes
    /// [aside](crate::Desired::aside) like one, goes into a table of the interface's own,
    /// [`Table::of`] its name, to which policy rules lead. Without a mark
    /// ([`Desired::fwmark`](crate::Desired::fwmark)) it is left out.
    #[default]
    Auto,
    /// No routes but those that the kernel makes for the addresses. Routes that others make are left
    /// alone.
    Off,
    /// All routes go into this table, including default ones, and no rules are made: leading
    /// packets to the table is up to the caller. 0 stands for the main table, as in the kernel. 255,
    /// the table of local addresses, belongs to the kernel: with it, nothing is routed.
    Number(u32),
}

/// A route into the interface, without a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Its prefix, without host bits.
    pub net: IpNet,
    /// The number of its table.
    pub table: u32,
    /// Its metric as the kernel stores it: never 0 for IPv6.
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

/// A policy rule of ours, by protocol and priority. Prints in the syntax of ip-rule(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRule {
    /// The packets it applies to.
    pub family: Family,
    /// Its place among the rules: the lowest comes first.
    pub priority: u32,
    /// What it does.
    pub action: RuleAction,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// Look up the main table, but ignore its default route.
    MainWithoutDefault,
    /// For packets without the mark: look up the table.
    Unmarked {
        /// Not 0; all its bits count.
        fwmark: u32,
        /// The table's number.
        table: u32,
    },
    /// Something that this program never asks for. Such a rule is only ever removed.
    Other,
}

/// The main table (`RT_TABLE_MAIN`).
pub(crate) const MAIN: u32 = 254;
/// The table of the host's own addresses (`RT_TABLE_LOCAL`).
pub(crate) const LOCAL: u32 = 255;
/// The first priority of our rules. Ours are above those that other programs are known to take, and
/// below the main table's 32766.
const FIRST_PRIORITY: u32 = 10_000;
/// How many pairs of priorities there are; each name gets one of them.
const PRIORITIES: u32 = 11_000;

impl Table {
    /// The main table.
    pub const MAIN: Self = Self::Number(MAIN);

    /// The number of an interface's own table: 0x67 and 24 bits of a hash of the name, the same
    /// in every version of this program. It never clashes with the kernel's (0, 253 to 255).
    #[must_use]
    pub fn of(name: &IfName) -> u32 {
        let [_, _, _, _, _, a, b, c] = hash(name).to_be_bytes();
        u32::from_be_bytes([0x67, a, b, c])
    }

    /// The table for a route, which may have to go behind the main table. `None`: no route.
    pub(crate) fn for_route(
        self,
        name: &IfName,
        is_behind: bool,
        fwmark: Option<u32>,
    ) -> Option<u32> {
        match self {
            Self::Auto if !is_behind => Some(MAIN),
            Self::Auto => fwmark.map(|_| Self::of(name)),
            Self::Off | Self::Number(LOCAL) => None,
            Self::Number(0) => Some(MAIN),
            Self::Number(table) => Some(table),
        }
    }
}

impl Route {
    /// A route as the kernel stores it. `metric`: as in [`Routing::metric`].
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

    /// The route that the kernel makes in the main table when the address is added or the link comes
    /// up. None for an IPv4 address without a subnet (/32).
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

    /// The family of a prefix.
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
        // Not the bits that name the table.
        let [a, b, c, d, ..] = hash(name).to_be_bytes();
        let first = FIRST_PRIORITY + 2 * (u32::from_be_bytes([a, b, c, d]) % PRIORITIES);
        [first, first + 1]
    }

    /// The rules that lead to the interface's own table, in the order of their priorities.
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

/// FNV-1a over the name, then MurmurHash3's finalizer, so that every bit depends on every
/// character. Tables and rules on hosts are named by it, so it must never change.
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
    use std::collections::BTreeSet;

    use super::*;

    fn name(text: &str) -> IfName {
        text.parse().unwrap()
    }

    #[test]
    fn what_follows_from_a_name_never_changes() {
        // Hosts hold these: with another value, nobody would remove the rules that are there.
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
