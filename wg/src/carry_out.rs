//! Carrying out a plan, as far as the two back ends do it alike: the order, the kernel's half of
//! the interface, the way back when the first step was the interface itself.

use crate::backend::Report;
use crate::error::Error;
use crate::name::IfName;
use crate::netlink::{Address, Link, Netlink};
use crate::plan::{Plan, Step};

/// What differs between the back ends.
pub(crate) trait Engine {
    /// Creates the interface. False: it is there already.
    fn create(&mut self, name: &IfName) -> Result<bool, Error>;

    /// Takes away what [`Engine::create`] made, as far as that is possible.
    fn destroy(&mut self, name: &IfName);

    /// Carries out a run of steps of WireGuard's own ([`is_wireguard`]), in order.
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
    let mut created = false;
    for run in plan
        .steps
        .chunk_by(|a, b| is_wireguard(a) && is_wireguard(b))
    {
        match carry_out_run(&plan.name, run, engine) {
            Ok(newly) => created |= newly,
            Err(source) => {
                if created {
                    engine.destroy(&plan.name);
                }
                return Err(Error::Apply {
                    step: report.steps + 1,
                    of: plan.steps.len(),
                    what: describe(run),
                    rolled_back: created,
                    source: Box::new(source),
                });
            }
        }
        run.iter().for_each(|step| report.count(step));
    }
    report.created = created;
    Ok(report)
}

/// Whether the step is about the WireGuard device, not about the link it hangs on. The MTU is
/// about both.
pub(crate) const fn is_wireguard(step: &Step) -> bool {
    matches!(
        step,
        Step::RemovePeer(_) | Step::Configure(_) | Step::SetPeer(_)
    )
}

/// True: the interface was created.
fn carry_out_run(name: &IfName, run: &[Step], engine: &mut impl Engine) -> Result<bool, Error> {
    let [step] = run else {
        return engine.wireguard(name, run).map(|()| false);
    };
    if matches!(step, Step::Create) {
        return engine.create(name);
    }
    if is_wireguard(step) || matches!(step, Step::SetMtu(_)) {
        engine.wireguard(name, run)?;
    }
    let (netlink, index) = engine.netlink(name)?;
    let result = match step {
        Step::SetMtu(mtu) => Link::set_mtu(netlink, index, mtu.get()),
        Step::RemoveRoute(route) => netlink.delete_route(index, *route),
        Step::LinkUp => Link::set_up(netlink, index),
        Step::RemoveAddress(address) => Address::delete(netlink, index, *address),
        Step::AddAddress(address) => Address::add(netlink, index, *address),
        Step::AddRoute(route) => netlink.add_route(index, *route),
        Step::Create | Step::RemovePeer(_) | Step::Configure(_) | Step::SetPeer(_) => Ok(()),
    };
    match result {
        Ok(()) => Ok(false),
        // The kernel's WireGuard binds its port when the link comes up.
        Err(error)
            if matches!(step, Step::LinkUp) && error.raw_os_error() == Some(libc::EADDRINUSE) =>
        {
            Err(Error::PortInUse {
                name: name.clone(),
                port: 0,
            })
        }
        Err(source) => Err(Error::os(format!("configuring {name}"), source)),
    }
}

fn describe(run: &[Step]) -> String {
    match run {
        [] => String::new(),
        [step] => step.to_string(),
        [first, rest @ ..] => format!("{first}, or one of the {} steps after it", rest.len()),
    }
}
