//! The kernel back end: Linux's own WireGuard, configured by netlink.
//!
//! An interface outlives this process, together with its sessions. The next process recognises it by
//! its private key; see [`crate::ownership`].

mod attributes;
mod commands;
pub mod dump;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use grid_keys::WgPublicKey;
use grid_netlink::{Netlink, Traffic};
use netlink_packet_route::link::InfoKind;

use self::attributes::{Reader, Writer};
use self::dump::Dump;
use crate::apply::{self, Target};
use crate::backend::{Backend, Report};
use crate::backend_kind::BackendKind;
use crate::error::Error;
use crate::if_name::IfName;
use crate::observed::{Observed, ObservedDevice};
use crate::ownership::GROUP;
use crate::place::Inside;
use crate::plan::Plan;
use crate::routing::Table;
use crate::rtnetlink::{Link, Rtnetlink};
use crate::step::Step;

const KIND: &str = "wireguard";
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// The kernel back end.
pub(crate) struct Kernel {
    inside: Inside,
    /// A socket in the caller's network namespace, if interfaces live in another one.
    outside: Option<Rtnetlink>,
    route: Rtnetlink,
    generic: Netlink,
    family: u16,
    /// The numbers of the interfaces that this process made or adopted: somebody may reuse a name.
    owned: HashMap<IfName, u32>,
    reason: String,
}

/// The number of WireGuard's netlink family; asking for it loads the kernel module. None: this kernel
/// has no WireGuard.
pub(crate) fn family(generic: &mut Netlink) -> io::Result<Option<u16>> {
    let mut request = Writer::new(32);
    request.raw(&[CTRL_CMD_GETFAMILY, 1, 0, 0]);
    request.put(CTRL_ATTR_FAMILY_NAME, b"wireguard\0");
    let answers = match generic.get(GENL_ID_CTRL, request.bytes()) {
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
        route: Rtnetlink,
        generic: Netlink,
        family: u16,
        reason: String,
    ) -> io::Result<Self> {
        let outside = inside.file().map(|_| Rtnetlink::open()).transpose()?;
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

    fn device(&mut self, index: u32) -> io::Result<Option<ObservedDevice>> {
        let request = commands::get_device(index);
        let answers = match self.generic.dump(self.family, request.bytes()) {
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

    /// The interface of that name, which has to be ours.
    fn find(
        &mut self,
        name: &IfName,
        own: &WgPublicKey,
    ) -> Result<Option<(Link, ObservedDevice)>, Error> {
        let failed = |source| Error::os(format!("reading {name}"), source);
        let Some(link) = Link::find(&mut self.route, name.as_str()).map_err(failed)? else {
            self.owned.remove(name);
            return Ok(None);
        };
        if link.kind.as_deref() != Some(KIND) {
            return Err(link.foreign(name));
        }
        let Some(device) = self.device(link.index).map_err(failed)? else {
            return Ok(None);
        };
        let known = self.owned.get(name) == Some(&link.index);
        let ours = match device.public_key {
            Some(key) => key == *own,
            // We were killed between creating it and setting its key.
            None => link.group == GROUP,
        };
        if known || ours {
            Ok(Some((link, device)))
        } else {
            Err(link.foreign(name))
        }
    }

    /// The interface, if this process has made, adopted or changed it before. It does not ask for
    /// the key, because the answer would list all peers.
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
        let outside = self.outside.as_ref().map(Rtnetlink::traffic);
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
        let found = self.find(name, own)?;
        let rules = self.route.rules(name).map_err(failed)?;
        let interface = found
            .map(|(link, device)| self.route.observe(&link, BackendKind::Kernel, device))
            .transpose()
            .map_err(failed)?;
        let connected = self.route.connected_beside(name).map_err(failed)?;
        Ok(Observed {
            interface,
            rules,
            connected,
        })
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Error> {
        if plan.is_empty() {
            return Ok(Report::default());
        }
        let link = match self.known(&plan.name)? {
            Some(link) => Some(link),
            None => self.find(&plan.name, &plan.own)?.map(|(link, _)| link),
        };
        if let Some(link) = &link {
            self.owned.insert(plan.name.clone(), link.index);
        }
        apply::apply(plan, link.is_some(), self)
    }

    fn remove(&mut self, name: &IfName, own: &WgPublicKey) -> Result<bool, Error> {
        let found = self.find(name, own)?;
        apply::remove_rules(&mut self.route, name)?;
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
            return Err(link.foreign(name));
        }
        Link::prepare(&mut self.route, link.index).map_err(failed)?;
        self.owned.insert(name.clone(), link.index);
        Ok(())
    }
}

impl Target for Kernel {
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
            tracing::warn!(interface = %name, %error, "cannot remove a new interface again");
        }
    }

    fn configure_device(&mut self, name: &IfName, steps: &[Step]) -> Result<(), Error> {
        let (_, index) = self.link(name)?;
        for message in commands::set_device(index, steps) {
            let result = self.generic.change(self.family, 0, message.bytes());
            result.map_err(|source| wireguard_error(name, steps, source))?;
        }
        Ok(())
    }

    fn link(&mut self, name: &IfName) -> Result<(&mut Rtnetlink, u32), Error> {
        match self.owned.get(name) {
            Some(index) => Ok((&mut self.route, *index)),
            None => Err(Error::InterfaceGone { name: name.clone() }),
        }
    }
}

/// Creates the interface in another network namespace, but by a request from the caller's: that is
/// where WireGuard then keeps its UDP sockets.
fn create_inside(
    outside: &mut Rtnetlink,
    inside: &mut Rtnetlink,
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
    // Before Linux 6.13 the name has to be free in the caller's namespace as well. So we create the
    // interface under another name and rename it. That name is always the same, so that an interface
    // which an interrupted attempt left under it is used.
    let temporary = format!("grid-{:08x}", Table::of(name));
    let created = create(&temporary);
    if !taken(&created) {
        created?;
    }
    let link = Link::find(inside, &temporary)?;
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
