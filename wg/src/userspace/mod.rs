//! The userspace back end: boringtun's WireGuard, in this process.
//!
//! An interface lives as long as the back end that created it: when the process ends, however it
//! ends, the kernel removes the TUN interface with its addresses and routes. Two things may be left
//! behind: the file of the configuration socket, which the next start replaces, and policy rules,
//! which then lead to an empty table and which the next observation reports.

mod control;
mod device;
mod engine;
mod peers;
mod tun;
mod udp;

use std::collections::HashMap;
use std::io;

use grid_keys::WgPublicKey;
use grid_netlink::Traffic;

use self::control::Control;
use self::device::ConfigureError;
use self::engine::Engine;
use crate::apply::{self, Target};
use crate::backend::{Backend, Report};
use crate::backend_kind::BackendKind;
use crate::error::Error;
use crate::if_name::IfName;
use crate::observed::Observed;
use crate::ownership::GROUP;
use crate::place::Inside;
use crate::plan::Plan;
use crate::rtnetlink::{Link, Rtnetlink};
use crate::step::Step;

/// A device that this process runs. The fields are dropped in order: the socket first, so that
/// nobody sends requests to a device that is shutting down.
struct Running {
    _control: Option<Control>,
    engine: Engine,
    index: u32,
}

/// The userspace back end.
pub(crate) struct Userspace {
    inside: Inside,
    netlink: Rtnetlink,
    running: HashMap<IfName, Running>,
    reason: String,
}

/// Checks that userspace WireGuard can run here, except for the right to configure the network.
pub(crate) fn check() -> Result<(), Error> {
    tun::check()
}

impl Userspace {
    /// `netlink`: a socket that was opened inside.
    pub(crate) fn new(inside: Inside, netlink: Rtnetlink, reason: String) -> Self {
        Self {
            inside,
            netlink,
            running: HashMap::new(),
            reason,
        }
    }

    /// The link of that name, which has to be ours. A device whose interface somebody else has
    /// removed is dropped.
    fn find(&mut self, name: &IfName) -> Result<Option<Link>, Error> {
        let link = Link::find(&mut self.netlink, name.as_str())
            .map_err(|source| Error::os(format!("looking for {name}"), source))?;
        let index = self.running.get(name).map(|running| running.index);
        match link {
            Some(link) if Some(link.index) == index => Ok(Some(link)),
            Some(link) => Err(link.foreign(name)),
            None => {
                self.running.remove(name);
                Ok(None)
            }
        }
    }

    fn running(&self, name: &IfName) -> Result<&Running, Error> {
        self.running
            .get(name)
            .ok_or_else(|| Error::InterfaceGone { name: name.clone() })
    }

    fn try_create(&mut self, name: &IfName) -> Result<(), Error> {
        let tun = self.inside.run(|| tun::create(name))?;
        let failed = |source: io::Error| Error::os(format!("creating {name}"), source);
        let link = Link::find(&mut self.netlink, name.as_str()).map_err(failed)?;
        let index = link
            .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?
            .index;
        Link::set_group(&mut self.netlink, index, GROUP).map_err(failed)?;
        Link::prepare(&mut self.netlink, index).map_err(failed)?;
        let engine = Engine::start(name, tun).map_err(failed)?;
        // Without the socket `wg show` does not work, but WireGuard does.
        let control = Control::open(name, engine.handle().clone())
            .inspect_err(|error| {
                tracing::warn!(interface = %name, %error, "no configuration socket: `wg` cannot show this interface");
            })
            .ok();
        self.running.insert(
            name.clone(),
            Running {
                _control: control,
                engine,
                index,
            },
        );
        Ok(())
    }
}

impl Backend for Userspace {
    fn traffic(&self) -> Traffic {
        self.netlink.traffic()
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Userspace
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    fn observe(&mut self, name: &IfName, _own: &WgPublicKey) -> Result<Observed, Error> {
        let failed = |source| Error::os(format!("reading {name}"), source);
        let link = self.find(name)?;
        let rules = self.netlink.rules(name).map_err(failed)?;
        let connected = self.netlink.connected_beside(name).map_err(failed)?;
        let seen = |interface| Observed {
            interface,
            rules,
            connected,
        };
        let Some(link) = link else {
            return Ok(seen(None));
        };
        let Ok(device) = self.running(name)?.engine.handle().observe() else {
            // The device ended by itself; its interface goes with it.
            self.running.remove(name);
            return Ok(seen(None));
        };
        let kind = BackendKind::Userspace;
        let interface = self.netlink.observe(&link, kind, device);
        Ok(seen(Some(interface.map_err(failed)?)))
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Error> {
        if plan.is_empty() {
            return Ok(Report::default());
        }
        let exists = self.find(&plan.name)?.is_some();
        apply::apply(plan, exists, self)
    }

    fn remove(&mut self, name: &IfName, _own: &WgPublicKey) -> Result<bool, Error> {
        let existed = self.find(name)?.is_some();
        apply::remove_rules(&mut self.netlink, name)?;
        self.destroy(name);
        Ok(existed)
    }

    fn adopt(&mut self, name: &IfName) -> Result<(), Error> {
        // A device lives in the process that made it, so there is nothing to take over.
        match self.find(name)? {
            Some(_) => Ok(()),
            None => Err(Error::InterfaceGone { name: name.clone() }),
        }
    }
}

impl Drop for Userspace {
    /// Removes the policy rules. The interfaces disappear with their devices.
    fn drop(&mut self) {
        for name in self.running.keys() {
            if let Err(error) = apply::remove_rules(&mut self.netlink, name) {
                tracing::warn!(interface = %name, %error, "cannot remove policy rules");
            }
        }
    }
}

impl Target for Userspace {
    fn create(&mut self, name: &IfName) -> Result<bool, Error> {
        if self.running.contains_key(name) {
            return Ok(false);
        }
        self.try_create(name)?;
        Ok(true)
    }

    fn destroy(&mut self, name: &IfName) {
        self.running.remove(name);
    }

    fn configure_device(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error> {
        /// How many steps the device carries out before it handles packets again.
        const BATCH: usize = 64;
        let handle = self.running(name)?.engine.handle();
        for batch in steps.chunks(BATCH) {
            let done = handle
                .apply(false, batch.to_vec())
                .map_err(|_| Error::InterfaceGone { name: name.clone() })?;
            done.map_err(|error| configure_error(name, error))?;
        }
        Ok(())
    }

    fn link(&mut self, name: &IfName) -> Result<(&mut Rtnetlink, u32), Error> {
        let index = self.running(name)?.index;
        Ok((&mut self.netlink, index))
    }
}

fn configure_error(name: &IfName, error: ConfigureError) -> Error {
    match error {
        ConfigureError::Port(port, source) if source.kind() == io::ErrorKind::AddrInUse => {
            Error::PortInUse {
                name: name.clone(),
                port,
            }
        }
        ConfigureError::Port(port, source) => {
            Error::os(format!("binding the UDP port {port} of {name}"), source)
        }
        ConfigureError::Mark(source) => Error::os(format!("marking packets of {name}"), source),
        ConfigureError::Random => Error::os(
            format!("adding a peer to {name}"),
            io::Error::other("the system has no random numbers"),
        ),
    }
}
