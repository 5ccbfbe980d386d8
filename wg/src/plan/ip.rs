//! The part of the plan that ip(8) could carry out: link, addresses, routes, policy rules.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::desired::Desired;
use crate::observed::{Observed, ObservedInterface, RouteOrigin};
use crate::routing::{MAIN, Route, Table};
use crate::step::Step;

/// Removes rules that are not wanted, the one that leads to a table before the one that exempts the
/// main table.
pub(super) fn plan_stale_rules(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    let wanted = desired.wanted_rules();
    let stale = observed.rules.iter().rev();
    let stale = stale.filter(|rule| !wanted.contains(rule));
    steps.extend(stale.copied().map(Step::RemoveRule));
}

/// Adds missing rules, in the order of their priorities.
pub(super) fn plan_missing_rules(desired: &Desired, observed: &Observed, steps: &mut Vec<Step>) {
    let wanted = desired.wanted_rules();
    let missing = wanted.difference(&observed.rules);
    steps.extend(missing.copied().map(Step::AddRule));
}

/// Link, addresses and routes.
pub(super) fn plan_link(desired: &Desired, now: &ObservedInterface, steps: &mut Vec<Step>) {
    let routes = desired.wanted_routes();
    let addresses = Addresses::of(desired, now);

    let stale = now
        .routes
        .iter()
        .filter(|(route, origin)| !routes.contains(*route) && is_ours(route, **origin, desired))
        .map(|(route, _)| *route);
    let is_replaced = |old: &Route| {
        let first = lowest(old.net, 0);
        routes
            .range(first..)
            .next()
            .is_some_and(|new| new.net == old.net)
    };
    let (replaced, removed): (Vec<Route>, Vec<Route>) = stale.partition(is_replaced);

    steps.extend(removed.into_iter().map(Step::RemoveRoute));
    if !now.up {
        steps.push(Step::LinkUp);
    }
    addresses.plan(steps);
    let missing = routes
        .into_iter()
        .filter(|route| !will_exist(route, now, &addresses.after));
    steps.extend(missing.map(Step::AddRoute));
    steps.extend(replaced.into_iter().map(Step::RemoveRoute));
}

/// Whether a route that is not wanted is ours to remove.
fn is_ours(route: &Route, origin: RouteOrigin, desired: &Desired) -> bool {
    match origin {
        RouteOrigin::Kernel => false,
        RouteOrigin::Own => true,
        RouteOrigin::Static if route.table == MAIN => desired.routing.table != Table::Off,
        RouteOrigin::Static => route.table == Table::of(&desired.name),
    }
}

/// The changes of an interface's addresses.
struct Addresses {
    /// An interface has an IPv6 address only once: where only the length differs, the old one has to
    /// go first.
    replaced: Vec<IpNet>,
    added: Vec<IpNet>,
    removed: Vec<IpNet>,
    after: BTreeSet<IpNet>,
}

impl Addresses {
    fn of(desired: &Desired, now: &ObservedInterface) -> Self {
        let wanted = &desired.addresses;
        let wanted_with_other_length =
            |old: &IpNet| old.addr().is_ipv6() && wanted.iter().any(|new| new.addr() == old.addr());
        // Link-local addresses that are not wanted are left to the kernel.
        let (stale, kept): (Vec<IpNet>, Vec<IpNet>) = now
            .addresses
            .difference(wanted)
            .partition(|old| wanted_with_other_length(old) || !is_link_local(old));
        let (replaced, removed) = stale.into_iter().partition(wanted_with_other_length);
        let after: BTreeSet<IpNet> = wanted.iter().copied().chain(kept).collect();
        let added = after.difference(&now.addresses).copied().collect();
        Self {
            replaced,
            added,
            removed,
            after,
        }
    }

    fn plan(&self, steps: &mut Vec<Step>) {
        steps.extend(self.replaced.iter().copied().map(Step::RemoveAddress));
        steps.extend(self.added.iter().copied().map(Step::AddAddress));
        steps.extend(self.removed.iter().copied().map(Step::RemoveAddress));
    }
}

/// Whether the route exists once the link is up and the addresses are `after`.
fn will_exist(route: &Route, now: &ObservedInterface, after: &BTreeSet<IpNet>) -> bool {
    // The kernel drops an interface's IPv4 routes with its last IPv4 address, in all tables.
    if route.net.addr().is_ipv4() && loses_ipv4(&now.addresses, after) {
        return false;
    }
    match now.routes.get(route) {
        Some(RouteOrigin::Static | RouteOrigin::Own) => return true,
        Some(RouteOrigin::Kernel) if route.table != MAIN => return true,
        Some(RouteOrigin::Kernel) | None => {}
    }
    route.table == MAIN && is_connected(route, now, after)
}

/// Whether the kernel will have made a route for the prefix, whatever its metric.
fn is_connected(route: &Route, now: &ObservedInterface, after: &BTreeSet<IpNet>) -> bool {
    let made = |address: &IpNet| Route::connected(address).filter(|made| made.net == route.net);
    let connects = |address: &IpNet| made(address).is_some();
    // Where another route takes the place of the kernel's own, the kernel may make none, and the
    // other route is about to be removed.
    let is_in_the_way = |made: Route| {
        let there = now.routes.get(&made);
        there.is_some_and(|origin| *origin != RouteOrigin::Kernel)
    };
    if after.iter().filter_map(made).any(is_in_the_way) {
        return false;
    }
    let was_connected = now.addresses.iter().any(connects);
    let stays_connected = after.iter().any(connects);
    let mut known = now.routes.range(lowest(route.net, MAIN)..);
    let has_kernels = known
        .by_ref()
        .take_while(|(known, _)| (known.net, known.table) == (route.net, MAIN))
        .any(|(_, origin)| *origin == RouteOrigin::Kernel);
    if has_kernels {
        stays_connected || !was_connected
    } else {
        // The kernel makes it with the first address of the prefix, or when the link comes up.
        stays_connected && !(now.up && was_connected)
    }
}

/// The lowest possible route of the prefix in the table, to begin a range with.
const fn lowest(net: IpNet, table: u32) -> Route {
    let metric = 0;
    Route { net, table, metric }
}

fn loses_ipv4(before: &BTreeSet<IpNet>, after: &BTreeSet<IpNet>) -> bool {
    let has_ipv4 = |addresses: &BTreeSet<IpNet>| addresses.iter().any(|a| a.addr().is_ipv4());
    has_ipv4(before) && !has_ipv4(after)
}

fn is_link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}
