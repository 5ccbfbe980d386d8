//! The kernel back end: Linux's own WireGuard, configured by netlink.
//!
//! The interface outlives this process, sessions included. The next process knows its own by the
//! private key; see [`crate::backend`].

mod attributes;
pub mod dump;
mod message;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use grid_keys::WgPublicKey;
use netlink_packet_route::link::InfoKind;

use self::attributes::{Reader, Writer};
use self::dump::{Device, Dump};
use crate::backend::{Backend, BackendKind, GROUP, Report, Traffic};
use crate::carry_out::{self, Engine};
use crate::error::Error;
use crate::name::IfName;
use crate::netlink::{Address, Link, Netlink};
use crate::observed::{Observed, ObservedInterface};
use crate::place::Inside;
use crate::plan::{Plan, Step};
use crate::routing::Table;

const KIND: &str = "wireguard";
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// The kernel back end.
pub(crate) struct Kernel {
    inside: Inside,
    /// A socket in the caller's network namespace, where the interface lives in another one.
    outside: Option<Netlink>,
    route: Netlink,
    generic: Netlink,
    family: u16,
    /// Interfaces that this process made or adopted, by number: a name may be given anew.
    owned: HashMap<IfName, u32>,
    reason: String,
}

/// The kernel's number for its WireGuard, which the question loads where it is a module. None:
/// this kernel has no WireGuard.
pub(crate) fn family(generic: &mut Netlink) -> io::Result<Option<u16>> {
    let mut question = Writer::new(32);
    question.raw(&[CTRL_CMD_GETFAMILY, 1, 0, 0]);
    question.put(CTRL_ATTR_FAMILY_NAME, b"wireguard\0");
    let answers = match generic.get(GENL_ID_CTRL, question.bytes()) {
        Ok(answers) => answers,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let id = answers.iter().find_map(|answer| {
        let attributes = answer.payload.get(4..)?;
        let id = Reader(attributes)
            .flatten()
            .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
        id.1.try_into().ok().map(u16::from_ne_bytes)
    });
    id.map(Some)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

impl Kernel {
    /// `route`, `generic`: sockets that were opened inside.
    pub(crate) fn new(
        inside: Inside,
        route: Netlink,
        generic: Netlink,
        family: u16,
        reason: String,
    ) -> io::Result<Self> {
        let outside = inside.file().map(|_| Netlink::route()).transpose()?;
        Ok(Self {
            inside,
            outside,
            route,
            generic,
            family,
            owned: HashMap::new(),
            reason,
        })
    }

    fn device(&mut self, index: u32) -> io::Result<Option<Device>> {
        let question = message::get_device(index);
        let answers = match self.generic.dump(self.family, question.bytes()) {
            Ok(answers) => answers,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = answers
            .iter()
            .try_fold(Dump::default(), |dump, m| dump.push(&m.payload));
        let dump = read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some(dump.finish()))
    }

    /// The interface if it is ours.
    fn own(&mut self, name: &IfName, own: &WgPublicKey) -> Result<Option<(Link, Device)>, Error> {
        let failed = |source| Error::os(format!("reading {name}"), source);
        let Some(link) = Link::find(&mut self.route, name.as_str()).map_err(failed)? else {
            self.owned.remove(name);
            return Ok(None);
        };
        let foreign = |link: &Link| Error::ForeignInterface {
            name: name.clone(),
            kind: link.kind_text(),
        };
        if link.kind.as_deref() != Some(KIND) {
            return Err(foreign(&link));
        }
        let Some(device) = self.device(link.index).map_err(failed)? else {
            return Ok(None);
        };
        let known = self.owned.get(name) == Some(&link.index);
        let ours = match device.public_key {
            Some(key) => key == *own,
            // We were stopped between creating it and giving it its key.
            None => link.group == GROUP,
        };
        if known || ours {
            Ok(Some((link, device)))
        } else {
            Err(foreign(&link))
        }
    }

    /// The interface if this process made, adopted or changed it before: no question about its key,
    /// whose answer holds all peers.
    fn known(&mut self, name: &IfName) -> Result<Option<Link>, Error> {
        let Some(index) = self.owned.get(name).copied() else {
            return Ok(None);
        };
        let link = Link::find(&mut self.route, name.as_str())
            .map_err(|source| Error::os(format!("looking for {name}"), source))?;
        Ok(link.filter(|link| link.index == index && link.kind.as_deref() == Some(KIND)))
    }

    fn try_create(&mut self, name: &IfName) -> io::Result<()> {
        let link = match (&mut self.outside, self.inside.file()) {
            (Some(outside), Some(netns)) => {
                create_inside(outside, &mut self.route, netns.as_fd(), name)?
            }
            _ => {
                let kind = InfoKind::Wireguard;
                Link::create(&mut self.route, name.as_str(), kind, GROUP, None)?;
                Link::find(&mut self.route, name.as_str())?
            }
        };
        let index = link.ok_or(io::ErrorKind::NotFound)?.index;
        self.owned.insert(name.clone(), index);
        Link::prepare(&mut self.route, index)
    }
}

impl Backend for Kernel {
    fn traffic(&self) -> Traffic {
        let outside = self.outside.as_ref().map(Netlink::traffic);
        self.route.traffic() + self.generic.traffic() + outside.unwrap_or_default()
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Kernel
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    fn observe(&mut self, name: &IfName, own: &WgPublicKey) -> Result<Observed, Error> {
        let failed = |source| Error::os(format!("reading {name}"), source);
        let found = self.own(name, own)?;
        let rules = self.route.rules(name).map_err(failed)?;
        let Some((link, device)) = found else {
            return Ok(Observed {
                interface: None,
                rules,
            });
        };
        let addresses = Address::all(&mut self.route, Some(link.index)).map_err(failed)?;
        let routes = self.route.routes(link.index).map_err(failed)?;
        Ok(Observed {
            interface: Some(ObservedInterface {
                index: link.index,
                kind: BackendKind::Kernel,
                up: link.up,
                mtu: link.mtu,
                public_key: device.public_key,
                listen_port: device.listen_port,
                fwmark: device.fwmark,
                addresses: addresses.into_iter().map(|address| address.net).collect(),
                routes,
                peers: device.peers,
            }),
            rules,
        })
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Error> {
        if plan.is_empty() {
            return Ok(Report::default());
        }
        let link = match self.known(&plan.name)? {
            Some(link) => Some(link),
            None => self.own(&plan.name, &plan.own)?.map(|(link, _)| link),
        };
        if let Some(link) = &link {
            self.owned.insert(plan.name.clone(), link.index);
        }
        carry_out::carry_out(plan, link.is_some(), self)
    }

    fn remove(&mut self, name: &IfName, own: &WgPublicKey) -> Result<bool, Error> {
        let found = self.own(name, own)?;
        carry_out::remove_rules(&mut self.route, name)?;
        let Some((link, _)) = found else {
            return Ok(false);
        };
        Link::delete(&mut self.route, link.index)
            .map_err(|source| Error::os(format!("removing {name}"), source))?;
        self.owned.remove(name);
        Ok(true)
    }

    fn adopt(&mut self, name: &IfName) -> Result<(), Error> {
        let failed = |source| Error::os(format!("adopting {name}"), source);
        let link = Link::find(&mut self.route, name.as_str()).map_err(failed)?;
        let link = link.ok_or_else(|| Error::InterfaceGone { name: name.clone() })?;
        if link.kind.as_deref() != Some(KIND) {
            return Err(Error::ForeignInterface {
                name: name.clone(),
                kind: link.kind_text(),
            });
        }
        Link::prepare(&mut self.route, link.index).map_err(failed)?;
        self.owned.insert(name.clone(), link.index);
        Ok(())
    }
}

impl Engine for Kernel {
    fn create(&mut self, name: &IfName) -> Result<bool, Error> {
        if self.owned.contains_key(name) {
            return Ok(false);
        }
        self.try_create(name).map_err(|source| {
            self.destroy(name);
            Error::os(format!("creating {name}"), source)
        })?;
        Ok(true)
    }

    fn destroy(&mut self, name: &IfName) {
        if let Some(index) = self.owned.remove(name)
            && let Err(error) = Link::delete(&mut self.route, index)
        {
            tracing::warn!(interface = %name, %error, "a new interface could not be removed again");
        }
    }

    fn wireguard(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error> {
        let (_, index) = self.netlink(name)?;
        for message in message::set_device(index, steps) {
            let result = self.generic.change(self.family, 0, message.bytes());
            result.map_err(|source| wireguard_error(name, steps, source))?;
        }
        Ok(())
    }

    fn netlink(&mut self, name: &IfName) -> Result<(&mut Netlink, u32), Error> {
        match self.owned.get(name) {
            Some(index) => Ok((&mut self.route, *index)),
            None => Err(Error::InterfaceGone { name: name.clone() }),
        }
    }
}

/// Creates the interface in another network namespace, by a request from the caller's: WireGuard
/// keeps its UDP sockets in the one that the request came from.
fn create_inside(
    outside: &mut Netlink,
    inside: &mut Netlink,
    netns: BorrowedFd<'_>,
    name: &IfName,
) -> io::Result<Option<Link>> {
    let mut create = |name: &str| {
        let kind = InfoKind::Wireguard;
        Link::create(outside, name, kind, GROUP, Some(netns))
    };
    let taken = |result: &io::Result<()>| matches!(result, Err(error) if error.raw_os_error() == Some(libc::EEXIST));
    let created = create(name.as_str());
    if !taken(&created) || Link::find(inside, name.as_str())?.is_some() {
        created?;
        return Link::find(inside, name.as_str());
    }
    // Before Linux 6.13 the name has to be free in the caller's namespace as well. So the interface
    // is born under another one, the same every time: one that was left there is used up.
    let born = format!("grid-{:08x}", Table::of(name));
    let created = create(&born);
    if !taken(&created) {
        created?;
    }
    let link = Link::find(inside, &born)?;
    match link {
        Some(link) if link.kind.as_deref() == Some(KIND) && link.group == GROUP && !link.up => {
            Link::rename(inside, link.index, name.as_str())?;
        }
        _ => return Err(io::Error::from_raw_os_error(libc::EEXIST)),
    }
    Link::find(inside, name.as_str())
}

fn wireguard_error(name: &IfName, steps: &[Step], source: io::Error) -> Error {
    let port = steps.iter().find_map(|step| match step {
        Step::Configure(change) => change.listen_port,
        _ => None,
    });
    match (source.raw_os_error(), port) {
        (Some(libc::EADDRINUSE), Some(port)) => Error::PortInUse {
            name: name.clone(),
            port,
        },
        (Some(libc::ENODEV), _) => Error::InterfaceGone { name: name.clone() },
        _ => Error::os(format!("configuring the peers of {name}"), source),
    }
}
