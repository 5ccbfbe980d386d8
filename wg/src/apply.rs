//! Applying a plan, as far as all back ends do it alike: the order of the steps, the kernel's half
//! of the interface, and the roll-back if the plan had created the interface.

use std::io;

use crate::backend::{Report, SkipReason, Skipped};
use crate::error::Error;
use crate::if_name::IfName;
use crate::plan::Plan;
use crate::routing::{Family, MAIN, Route};
use crate::rtnetlink::{Address, Link, Rtnetlink};
use crate::step::Step;

/// What differs between the back ends.
pub(crate) trait Target {
    /// Creates the interface. False: it exists already.
    fn create(&mut self, name: &IfName) -> Result<bool, Error>;

    /// Removes what [`Target::create`] made, as far as possible.
    fn destroy(&mut self, name: &IfName);

    /// Configures the WireGuard device: carries out these steps in order, and skips those that are
    /// about anything else.
    fn configure_device(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error>;

    /// The socket and the interface's number, for the kernel's half.
    fn link(&mut self, name: &IfName) -> Result<(&mut Rtnetlink, u32), Error>;
}

/// Applies a plan that is not empty. `exists`: the interface exists, and is ours.
pub(crate) fn apply(plan: &Plan, exists: bool, target: &mut impl Target) -> Result<Report, Error> {
    if !exists && !plan.steps.contains(&Step::Create) {
        return Err(Error::InterfaceGone {
            name: plan.name.clone(),
        });
    }
    let mut report = Report::default();
    for run in plan
        .steps
        .chunk_by(|a, b| is_wireguard(a) && is_wireguard(b))
    {
        if let Err(source) = apply_run(plan, run, target, &mut report) {
            if report.created {
                roll_back_rules(plan, report.steps, target);
                target.destroy(&plan.name);
            }
            return Err(Error::Apply {
                step: report.steps + 1,
                of: plan.steps.len(),
                what: describe(run),
                rolled_back: report.created,
                source: Box::new(source),
            });
        }
        run.iter().for_each(|step| report.count(step));
    }
    Ok(report)
}

/// Removes the rules that the first `done` steps of a plan have added: they would outlive the
/// interface.
fn roll_back_rules(plan: &Plan, done: usize, target: &mut impl Target) {
    for step in plan.steps.iter().take(done) {
        if let (Step::AddRule(rule), Ok((netlink, _))) = (step, target.link(&plan.name))
            && let Err(error) = netlink.delete_rule(rule)
        {
            tracing::warn!(interface = %plan.name, %rule, %error, "cannot remove a new rule again");
        }
    }
}

/// Removes the policy rules for an interface, which outlive it.
pub(crate) fn remove_rules(netlink: &mut Rtnetlink, name: &IfName) -> Result<(), Error> {
    let failed = |source| Error::os(format!("removing the policy rules of {name}"), source);
    let rules = netlink.rules(name).map_err(failed)?;
    // The one that leads to the table goes first.
    rules
        .iter()
        .rev()
        .try_for_each(|rule| netlink.delete_rule(rule).map_err(failed))
}

/// Whether the step is about the WireGuard device only, not about its link. The MTU concerns both.
const fn is_wireguard(step: &Step) -> bool {
    matches!(
        step,
        Step::RemovePeer(_) | Step::Configure(_) | Step::SetPeer(_)
    )
}

fn apply_run(
    plan: &Plan,
    run: &[Step],
    target: &mut impl Target,
    report: &mut Report,
) -> Result<(), Error> {
    let name = &plan.name;
    match run {
        [Step::Create] => report.created = target.create(name)?,
        [step] if !is_wireguard(step) => {
            if matches!(step, Step::SetMtu(_)) {
                target.configure_device(name, run)?;
            }
            let (netlink, index) = target.link(name)?;
            let skipped = configure_link(netlink, index, step)
                .map_err(|source| link_error(plan, step, source))?;
            let step = step.clone();
            report
                .skipped
                .extend(skipped.map(|why| Skipped { step, why }));
        }
        run => target.configure_device(name, run)?,
    }
    Ok(())
}

/// Carries out a step that concerns the link. Some reason: this host does not allow it.
fn configure_link(
    netlink: &mut Rtnetlink,
    index: u32,
    step: &Step,
) -> io::Result<Option<SkipReason>> {
    let result = match step {
        Step::SetMtu(mtu) => Link::set_mtu(netlink, index, mtu.get()),
        Step::RemoveRule(rule) => netlink.delete_rule(rule),
        Step::RemoveRoute(route) => netlink.delete_route(index, route),
        Step::LinkUp => Link::set_up(netlink, index),
        Step::RemoveAddress(address) => Address::delete(netlink, index, *address),
        Step::AddAddress(address) => Address::add(netlink, index, *address),
        Step::AddRoute(route) => match add_route(netlink, index, route) {
            Ok(None) => Ok(()),
            Ok(skipped) => return Ok(skipped),
            Err(error) => Err(error),
        },
        Step::AddRule(rule) => netlink.add_rule(rule),
        Step::Create | Step::RemovePeer(_) | Step::Configure(_) | Step::SetPeer(_) => Ok(()),
    };
    match result {
        Err(error) if adds(step) == Some(Family::V6) && is_unavailable(&error) => {
            Ok(Some(SkipReason::NoIpv6))
        }
        Err(error) if matches!(step, Step::AddRule(_)) && is_unavailable(&error) => {
            Ok(Some(SkipReason::NoTables))
        }
        result => result.map(|()| None),
    }
}

/// The address family of what the step adds.
const fn adds(step: &Step) -> Option<Family> {
    match step {
        Step::AddAddress(net) => Some(Family::of(net)),
        Step::AddRoute(route) => Some(Family::of(&route.net)),
        Step::AddRule(rule) => Some(rule.family),
        _ => None,
    }
}

fn add_route(netlink: &mut Rtnetlink, index: u32, route: &Route) -> io::Result<Option<SkipReason>> {
    // A kernel without policy routing puts every route into the main table, where a default route
    // would cut the host off.
    let family = Family::of(&route.net);
    if route.table != MAIN && !netlink.has_rules(family)? {
        return Ok(Some(match family {
            Family::V4 => SkipReason::NoTables,
            Family::V6 => SkipReason::NoIpv6,
        }));
    }
    let added = netlink.add_route(index, route)?;
    Ok((!added).then_some(SkipReason::RouteTaken))
}

/// Whether the kernel says that a family or its policy rules are missing, or that IPv6 is disabled on
/// the interface or everywhere. `EACCES` cannot mean a missing capability here: earlier steps would
/// have failed too.
fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

fn link_error(plan: &Plan, step: &Step, source: io::Error) -> Error {
    let name = plan.name.clone();
    // WireGuard in the kernel binds its port when the link comes up.
    if matches!(step, Step::LinkUp) && source.raw_os_error() == Some(libc::EADDRINUSE) {
        let port = plan.steps.iter().find_map(|step| match step {
            Step::Configure(change) => change.listen_port,
            _ => None,
        });
        return Error::PortInUse {
            name,
            port: port.unwrap_or(0),
        };
    }
    Error::os(format!("configuring {name}"), source)
}

fn describe(run: &[Step]) -> String {
    match run {
        [] => String::new(),
        [step] => step.to_string(),
        [first, rest @ ..] => format!("{first}, or one of the {} steps after it", rest.len()),
    }
}
