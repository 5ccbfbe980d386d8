//! The userspace back end: WireGuard by boringtun, in this process.
//!
//! An interface lives as long as the back end that created it: when the process ends, however it
//! ends, the kernel takes the TUN interface, its addresses and routes away. What can be left
//! behind is the file of the configuration socket, which the next start replaces, and policy rules,
//! which lead to an empty table then and are seen by the next observation.

mod control;
mod device;
mod engine;
mod peers;
mod tun;
mod udp;

use std::collections::{BTreeMap, HashMap};
use std::io;

use grid_keys::WgPublicKey;

use self::control::Control;
use self::device::ConfigureError;
use self::engine::Engine;
use crate::backend::{Backend, BackendKind, GROUP, Report, Traffic};
use crate::carry_out::{self, Engine as _};
use crate::error::Error;
use crate::name::IfName;
use crate::netlink::{Address, Link, Netlink};
use crate::observed::{Observed, ObservedInterface};
use crate::place::Inside;
use crate::plan::{Plan, Step};

/// A device that this process runs. The fields are dropped in order: the socket first, so that
/// nobody asks a device that is ending.
struct Running {
    _control: Option<Control>,
    engine: Engine,
    index: u32,
}

/// The userspace back end.
pub(crate) struct Userspace {
    inside: Inside,
    netlink: Netlink,
    running: HashMap<IfName, Running>,
    reason: String,
}

/// Whether userspace WireGuard can run here, apart from the right to configure the network.
pub(crate) fn check() -> Result<(), Error> {
    tun::check()
}

impl Userspace {
    /// `netlink`: a socket that was opened inside.
    pub(crate) fn new(inside: Inside, netlink: Netlink, reason: String) -> Self {
        Self {
            inside,
            netlink,
            running: HashMap::new(),
            reason,
        }
    }

    /// The link if it is ours. A device whose interface somebody else removed is forgotten.
    fn own_link(&mut self, name: &IfName) -> Result<Option<Link>, Error> {
        let link = Link::find(&mut self.netlink, name.as_str())
            .map_err(|source| Error::os(format!("looking for {name}"), source))?;
        let index = self.running.get(name).map(|running| running.index);
        match link {
            Some(link) if Some(link.index) == index => Ok(Some(link)),
            Some(link) => Err(Error::ForeignInterface {
                name: name.clone(),
                kind: link.kind_text(),
            }),
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
        // WireGuard works without the socket; it is `wg show` that does not.
        let control = Control::open(name, engine.remote().clone())
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
        let link = self.own_link(name)?;
        let rules = self.netlink.rules(name).map_err(failed)?;
        let gone = |rules| Observed {
            interface: None,
            rules,
        };
        let Some(link) = link else {
            return Ok(gone(rules));
        };
        let Ok(state) = self.running(name)?.engine.remote().observe() else {
            // The device ended by itself; its interface goes with it.
            self.running.remove(name);
            return Ok(gone(rules));
        };
        let addresses = Address::all(&mut self.netlink, Some(link.index)).map_err(failed)?;
        let routes = self.netlink.routes(link.index).map_err(failed)?;
        Ok(Observed {
            interface: Some(ObservedInterface {
                index: link.index,
                kind: BackendKind::Userspace,
                up: link.up,
                mtu: link.mtu,
                public_key: state.public_key,
                listen_port: state.listen_port,
                fwmark: state.fwmark,
                addresses: addresses.into_iter().map(|address| address.net).collect(),
                routes,
                peers: BTreeMap::from_iter(state.peers),
            }),
            rules,
        })
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Error> {
        if plan.is_empty() {
            return Ok(Report::default());
        }
        let there = self.own_link(&plan.name)?.is_some();
        carry_out::carry_out(plan, there, self)
    }

    fn remove(&mut self, name: &IfName, _own: &WgPublicKey) -> Result<bool, Error> {
        let there = self.own_link(name)?.is_some();
        carry_out::remove_rules(&mut self.netlink, name)?;
        self.destroy(name);
        Ok(there)
    }

    fn adopt(&mut self, name: &IfName) -> Result<(), Error> {
        // A device lives in the process that made it, so that there is nothing to take over.
        match self.own_link(name)? {
            Some(_) => Ok(()),
            None => Err(Error::InterfaceGone { name: name.clone() }),
        }
    }
}

impl Drop for Userspace {
    /// The interfaces go with their devices; the rules would not.
    fn drop(&mut self) {
        for name in self.running.keys() {
            if let Err(error) = carry_out::remove_rules(&mut self.netlink, name) {
                tracing::warn!(interface = %name, %error, "policy rules are left");
            }
        }
    }
}

impl carry_out::Engine for Userspace {
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

    fn wireguard(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error> {
        /// So many steps at a time, so that packets are served in between.
        const BATCH: usize = 64;
        let remote = self.running(name)?.engine.remote();
        for batch in steps.chunks(BATCH) {
            let done = remote
                .apply(false, batch.to_vec())
                .map_err(|_| Error::InterfaceGone { name: name.clone() })?;
            done.map_err(|error| configure_error(name, error))?;
        }
        Ok(())
    }

    fn netlink(&mut self, name: &IfName) -> Result<(&mut Netlink, u32), Error> {
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
