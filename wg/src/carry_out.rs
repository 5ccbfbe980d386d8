//! Carrying out a plan, as far as the two back ends do it alike: the order, the kernel's half of
//! the interface, the way back when the first step was the interface itself.

use std::io;

use crate::backend::{Report, SkipReason, Skipped};
use crate::error::Error;
use crate::name::IfName;
use crate::netlink::{Address, Link, Netlink};
use crate::plan::{Plan, Step};
use crate::routing::{Family, MAIN, Route};

/// What differs between the back ends.
pub(crate) trait Engine {
    /// Creates the interface. False: it is there already.
    fn create(&mut self, name: &IfName) -> Result<bool, Error>;

    /// Takes away what [`Engine::create`] made, as far as that is possible.
    fn destroy(&mut self, name: &IfName);

    /// Carries out a run of steps of WireGuard's own, in order. Others are not its business.
    fn wireguard(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error>;

    /// The socket and the interface's number, for the kernel's half.
    fn netlink(&mut self, name: &IfName) -> Result<(&mut Netlink, u32), Error>;
}

/// Carries out a plan that is not empty. `there`: the interface exists, and is ours.
pub(crate) fn carry_out(
    plan: &Plan,
    there: bool,
    engine: &mut impl Engine,
) -> Result<Report, Error> {
    if !there && !plan.steps.contains(&Step::Create) {
        return Err(Error::InterfaceGone {
            name: plan.name.clone(),
        });
    }
    let mut report = Report::default();
    for run in plan
        .steps
        .chunk_by(|a, b| is_wireguard(a) && is_wireguard(b))
    {
        if let Err(source) = carry_out_run(plan, run, engine, &mut report) {
            if report.created {
                take_back_rules(plan, report.steps, engine);
                engine.destroy(&plan.name);
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

/// Rules outlive their interface. Removes those that the first steps of a plan have added.
fn take_back_rules(plan: &Plan, done: usize, engine: &mut impl Engine) {
    for step in plan.steps.iter().take(done) {
        if let (Step::AddRule(rule), Ok((netlink, _))) = (step, engine.netlink(&plan.name))
            && let Err(error) = netlink.delete_rule(rule)
        {
            tracing::warn!(interface = %plan.name, %rule, %error, "a new rule could not be removed again");
        }
    }
}

/// Removes what outlives the interface of that name.
pub(crate) fn remove_rules(netlink: &mut Netlink, name: &IfName) -> Result<(), Error> {
    let failed = |source| Error::os(format!("removing the policy rules of {name}"), source);
    let rules = netlink.rules(name).map_err(failed)?;
    // The one that leads to the table first.
    rules
        .iter()
        .rev()
        .try_for_each(|rule| netlink.delete_rule(rule).map_err(failed))
}

/// Whether the step is about the WireGuard device, not about the link it hangs on. The MTU is
/// about both.
const fn is_wireguard(step: &Step) -> bool {
    matches!(
        step,
        Step::RemovePeer(_) | Step::Configure(_) | Step::SetPeer(_)
    )
}

fn carry_out_run(
    plan: &Plan,
    run: &[Step],
    engine: &mut impl Engine,
    report: &mut Report,
) -> Result<(), Error> {
    let name = &plan.name;
    match run {
        [Step::Create] => report.created = engine.create(name)?,
        [step] if !is_wireguard(step) => {
            if matches!(step, Step::SetMtu(_)) {
                engine.wireguard(name, run)?;
            }
            let (netlink, index) = engine.netlink(name)?;
            let skipped = configure_link(netlink, index, step)
                .map_err(|source| link_error(plan, step, source))?;
            let step = step.clone();
            report
                .skipped
                .extend(skipped.map(|why| Skipped { step, why }));
        }
        run => engine.wireguard(name, run)?,
    }
    Ok(())
}

/// Some reason: this host does not allow the step.
fn configure_link(
    netlink: &mut Netlink,
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
        Err(error) if adds(step) == Some(Family::V6) && says_no_ipv6(&error) => {
            Ok(Some(SkipReason::NoIpv6))
        }
        Err(error) if matches!(step, Step::AddRule(_)) && says_no_ipv6(&error) => {
            Ok(Some(SkipReason::NoTables))
        }
        result => result.map(|()| None),
    }
}

/// The family of what the step adds.
const fn adds(step: &Step) -> Option<Family> {
    match step {
        Step::AddAddress(net) => Some(Family::of(net)),
        Step::AddRoute(route) => Some(Family::of(&route.net)),
        Step::AddRule(rule) => Some(rule.family),
        _ => None,
    }
}

fn add_route(netlink: &mut Netlink, index: u32, route: &Route) -> io::Result<Option<SkipReason>> {
    // A kernel without policy routing takes every table for the main one, where a default route
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

/// What the kernel answers where a family or its policy rules are missing, or IPv6 is disabled, on the interface or altogether. The right to
/// configure is not in question: other steps were carried out before.
fn says_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

fn link_error(plan: &Plan, step: &Step, source: io::Error) -> Error {
    let name = plan.name.clone();
    // The kernel's WireGuard binds its port when the link comes up.
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
