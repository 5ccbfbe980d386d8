//! The part of the plan that ip(8) could carry out: link, addresses, routes, policy rules.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::desired::{Desired, Layout, first_in};
use crate::observed::{Observed, ObservedInterface, RouteOrigin};
use crate::routing::{Family, MAIN, PolicyRule, Route, Table};
use crate::step::Step;

/// Routes and rules: what is there, which changes with each step, and what is wanted.
pub(super) struct Ways {
    routes: BTreeMap<Route, RouteOrigin>,
    rules: BTreeSet<PolicyRule>,
    wanted: Layout,
    own: u32,
    /// Rules that are not wanted any longer, but lead to the interface until the main table does.
    leading: BTreeSet<PolicyRule>,
}

impl Ways {
    pub(super) fn of(desired: &Desired, observed: &Observed) -> Self {
        let there = observed.interface.as_ref();
        let routes = there.map(|there| there.routes.clone()).unwrap_or_default();
        let rules = observed.rules.clone();
        let wanted = desired.layout(observed);
        let own = Table::of(&desired.name);
        let comes_back = |family: &Family| {
            let mut back = wanted.routes.iter();
            back.any(|new| {
                let is_there = |old: &Route| (old.net, old.table) == (new.net, own);
                let is_back = new.table == MAIN && Family::of(&new.net) == *family;
                is_back && routes.keys().any(is_there)
            })
        };
        let families = || Family::ALL.into_iter().filter(comes_back);
        let pairs = |mark| families().flat_map(move |of| PolicyRule::pair(&desired.name, of, mark));
        let pairs = desired.mark().into_iter().flat_map(pairs);
        let stale = |rule: &PolicyRule| rules.contains(rule) && !wanted.rules.contains(rule);
        let leading = pairs.filter(stale).collect();
        Self {
            routes,
            rules,
            wanted,
            own,
            leading,
        }
    }

    /// Removes rules that are not wanted, the one that leads to a table before the one that exempts the
    /// main table.
    pub(super) fn plan_stale_rules(&mut self, steps: &mut Vec<Step>) {
        let stale = self.rules.difference(&self.wanted.rules);
        let stale: Vec<PolicyRule> = stale.copied().collect();
        for rule in stale.into_iter().rev() {
            if !self.leading.contains(&rule) {
                self.rules.remove(&rule);
                steps.push(Step::RemoveRule(rule));
            }
        }
    }

    /// Adds missing rules of some families, in the order of their priorities.
    fn plan_missing_rules(&mut self, families: &[Family], steps: &mut Vec<Step>) {
        let missing = self.wanted.rules.difference(&self.rules);
        let missing = missing.filter(|rule| families.contains(&rule.family));
        let missing: Vec<PolicyRule> = missing.copied().collect();
        self.rules.extend(&missing);
        steps.extend(missing.into_iter().map(Step::AddRule));
    }

    /// Takes routes that hold an endpoint out of the main table, before a peer gets that endpoint. What
    /// the interface's own table is to have of them leads into the tunnel before.
    pub(super) fn plan_evasions(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        now: &ObservedInterface,
        steps: &mut Vec<Step>,
    ) {
        let stays = |net: IpNet| {
            let mut wanted = self.wanted.routes.range(lowest(net, MAIN)..);
            wanted
                .next()
                .is_some_and(|new| (new.net, new.table) == (net, MAIN))
        };
        let goes = |(route, origin): &(&Route, &RouteOrigin)| {
            route.table == MAIN && is_ours(route, **origin, desired) && !stays(route.net)
        };
        let going = self.routes.iter().filter(goes).map(|(route, _)| *route);
        let mut evading: Vec<Route> = going.collect();
        if !evading.is_empty() {
            let endpoints = desired.endpoints(observed);
            evading.retain(|route| first_in(&route.net, &endpoints).is_some());
        }
        if evading.is_empty() {
            return;
        }
        // The kernel takes no routes of a link that is down, and drops them with the last address.
        let after = Addresses::of(desired, now).after;
        let can_have = |route: &Route| {
            let loses = route.net.addr().is_ipv4() && loses_ipv4(&now.addresses, &after);
            now.up && !loses && evading.iter().any(|old| old.net == route.net)
        };
        let new: Vec<Route> = self
            .wanted
            .routes
            .iter()
            .filter(|route| can_have(route))
            .copied()
            .collect();
        let families: Vec<Family> = new.iter().map(|route| Family::of(&route.net)).collect();
        for route in new {
            if self.routes.insert(route, RouteOrigin::Own).is_none() {
                steps.push(Step::AddRoute(route));
            }
        }
        self.plan_missing_rules(&families, steps);
        for route in evading {
            self.routes.remove(&route);
            steps.push(Step::RemoveRoute(route));
        }
    }

    /// Link, addresses and routes, and the rules that were not needed before.
    pub(super) fn plan_link(
        &mut self,
        desired: &Desired,
        now: &ObservedInterface,
        steps: &mut Vec<Step>,
    ) {
        let addresses = Addresses::of(desired, now);
        let routes = &self.wanted.routes;
        let stale = self
            .routes
            .iter()
            .filter(|(route, origin)| !routes.contains(*route) && is_ours(route, **origin, desired))
            .map(|(route, _)| *route);
        let stays_until_last = |old: &Route| {
            let first = lowest(old.net, 0);
            let mut from_there = routes.range(first..);
            let is_replaced = from_there.next().is_some_and(|new| new.net == old.net);
            is_replaced || (old.table == self.own && !self.leading.is_empty())
        };
        let (last, removed): (Vec<Route>, Vec<Route>) = stale.partition(stays_until_last);

        steps.extend(removed.into_iter().map(Step::RemoveRoute));
        if !now.up {
            steps.push(Step::LinkUp);
        }
        addresses.plan(steps);
        let missing = routes
            .iter()
            .filter(|route| !self.will_exist(route, now, &addresses.after));
        steps.extend(missing.copied().map(Step::AddRoute));
        self.plan_missing_rules(&Family::ALL, steps);
        let leading = std::mem::take(&mut self.leading);
        steps.extend(leading.into_iter().rev().map(Step::RemoveRule));
        steps.extend(last.into_iter().map(Step::RemoveRoute));
    }

    /// Whether the route exists once the link is up and the addresses are `after`.
    fn will_exist(&self, route: &Route, now: &ObservedInterface, after: &BTreeSet<IpNet>) -> bool {
        // The kernel drops an interface's IPv4 routes with its last IPv4 address, in all tables.
        if route.net.addr().is_ipv4() && loses_ipv4(&now.addresses, after) {
            return false;
        }
        match self.routes.get(route) {
            Some(RouteOrigin::Static | RouteOrigin::Own) => return true,
            Some(RouteOrigin::Kernel) if route.table != MAIN => return true,
            Some(RouteOrigin::Kernel) | None => {}
        }
        route.table == MAIN && is_connected(route, now, after)
    }
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
