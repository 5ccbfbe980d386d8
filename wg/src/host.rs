//! What this host is connected to, where others can reach it, and whether its settings get in the way
//! of a default route through a tunnel. Read only.
//!
//! `except` names interfaces to ignore: the mesh's own.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::error::Error;
use crate::if_name::IfName;
use crate::place::Place;
use crate::rtnetlink::{Address, Link, Rtnetlink};

/// Which packets this host forwards from one interface to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// IPv4: `net.ipv4.ip_forward`.
    pub ipv4: bool,
    /// IPv6: `net.ipv6.conf.all.forwarding`. `false` also where there is no IPv6.
    pub ipv6: bool,
}

/// The prefixes that are directly connected at a place, including loopback and link-local ones.
///
/// # Errors
/// What the kernel says when asked for its addresses; [`Error::NoNetns`],
/// [`Error::NotANetns`], [`Error::NetnsDenied`].
pub fn connected(place: &Place, except: &[IfName]) -> Result<BTreeSet<IpNet>, Error> {
    let (links, addresses) = place.run(read)?;
    Ok(connected_of(&links, &addresses, except))
}

/// The addresses at which other hosts may reach this one: those of global scope on an interface that
/// is up, neither tentative nor deprecated. Only other hosts can tell which of them they reach.
/// Always in the calling thread's network namespace, where the sockets are.
///
/// # Errors
/// What the kernel says when asked for its addresses.
pub fn endpoints(except: &[IfName]) -> Result<BTreeSet<IpAddr>, Error> {
    let (links, addresses) = read()?;
    Ok(endpoints_of(&links, &addresses, except))
}

/// The names of interfaces that are up, not loopback and not in `except`, on which the kernel's
/// reverse path filter is strict (`rp_filter` 1, the larger of the values for `all` and for the
/// interface; RFC 3704 section 2.2). While policy rules send a default route into a tunnel, such a
/// filter drops what comes in from the world, including answers to the tunnel's own packets. IPv6 has
/// no such setting.
///
/// # Errors
/// What the kernel says when asked for its interfaces and settings.
pub fn strict_reverse_path(except: &[IfName]) -> Result<Vec<String>, Error> {
    const STRICT: u32 = 1;
    let failed = |source| Error::os("reading the reverse path filter", source);
    let filter = |of: &str| {
        let file = Path::new("/proc/sys/net/ipv4/conf").join(of);
        read_number(&file.join("rp_filter")).map_err(failed)
    };
    let Some(all) = filter("all")? else {
        return Ok(Vec::new());
    };
    let mut netlink = Rtnetlink::open().map_err(failed)?;
    let mut names = Vec::new();
    for link in Link::all(&mut netlink).map_err(failed)? {
        // None: it has gone in the meantime.
        let own = filter(&link.name)?.filter(|_| {
            let counts = link.up && !link.loopback;
            counts && !is_excepted(&link, except)
        });
        names.extend(own.filter(|own| all.max(*own) == STRICT).map(|_| link.name));
    }
    Ok(names)
}

/// Whether this host forwards packets at a place, as an exit node must.
///
/// # Errors
/// What the system says when its settings are read; [`Error::NoNetns`], [`Error::NotANetns`],
/// [`Error::NetnsDenied`].
pub fn forwards(place: &Place) -> Result<Forwarding, Error> {
    let failed = |source| Error::os("reading whether this host forwards packets", source);
    let is_on = |file: &str| {
        let number = read_number(Path::new(file)).map_err(failed)?;
        Ok(number.is_some_and(|number| number != 0))
    };
    // The kernel shows each thread the settings of the thread's namespace.
    place.run(|| {
        Ok(Forwarding {
            ipv4: is_on("/proc/sys/net/ipv4/ip_forward")?,
            ipv6: is_on("/proc/sys/net/ipv6/conf/all/forwarding")?,
        })
    })
}

/// None: the setting does not exist.
fn read_number(file: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let number = text.trim().parse();
            number.map(Some).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} holds no number", file.display()),
                )
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read() -> Result<(Vec<Link>, Vec<Address>), Error> {
    let failed = |source| Error::os("reading the host's addresses", source);
    let mut netlink = Rtnetlink::open().map_err(failed)?;
    let links = Link::all(&mut netlink).map_err(failed)?;
    let addresses = Address::all(&mut netlink, None).map_err(failed)?;
    Ok((links, addresses))
}

fn connected_of(links: &[Link], addresses: &[Address], except: &[IfName]) -> BTreeSet<IpNet> {
    let counted = addresses
        .iter()
        .filter(|address| link_of(links, address).is_none_or(|link| !is_excepted(link, except)));
    counted.map(|address| address.connected).collect()
}

fn endpoints_of(links: &[Link], addresses: &[Address], except: &[IfName]) -> BTreeSet<IpAddr> {
    let reachable = addresses.iter().filter(|address| {
        address.global
            && address.usable
            && is_unicast(address.net.addr())
            && link_of(links, address)
                .is_some_and(|link| link.up && !link.loopback && !is_excepted(link, except))
    });
    reachable.map(|address| address.net.addr()).collect()
}

fn link_of<'a>(links: &'a [Link], address: &Address) -> Option<&'a Link> {
    links.iter().find(|link| link.index == address.index)
}

fn is_excepted(link: &Link, except: &[IfName]) -> bool {
    except.iter().any(|name| name.as_str() == link.name)
}

fn is_unicast(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: None,
            up: name != "down0",
            loopback: name == "lo",
            mtu: 1500,
            group: 0,
        }
    }

    fn address(index: u32, text: &str) -> Address {
        let net: IpNet = text.parse().unwrap();
        Address {
            index,
            net,
            connected: net.trunc(),
            global: true,
            usable: true,
        }
    }

    #[test]
    fn own_interfaces_do_not_count_and_odd_addresses_are_no_endpoints() {
        let links = [
            link(1, "lo"),
            link(2, "eth0"),
            link(3, "foo"),
            link(4, "down0"),
        ];
        let mut site = address(2, "192.0.2.5/24");
        site.global = false;
        let mut old = address(2, "2001:db8::9/64");
        old.usable = false;
        let addresses = [
            address(1, "127.0.0.1/8"),
            address(2, "10.1.2.3/16"),
            address(2, "fe80::1/64"),
            address(2, "169.254.1.1/16"),
            address(2, "2001:db8::5/64"),
            address(3, "10.9.0.1/16"),
            address(4, "10.8.0.1/16"),
            site,
            old,
        ];
        let foo = ["foo".parse().unwrap()];
        let nets: Vec<String> = connected_of(&links, &addresses, &foo)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            nets,
            [
                "10.1.0.0/16",
                "10.8.0.0/16",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "192.0.2.0/24",
                "2001:db8::/64",
                "fe80::/64"
            ]
        );
        let ips: Vec<String> = endpoints_of(&links, &addresses, &foo)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ips, ["10.1.2.3", "2001:db8::5"]);
    }

    #[test]
    fn this_host_can_be_read() {
        let here = Place::default();
        let nets = connected(&here, &[]).unwrap();
        let loopback = "127.0.0.0/8".parse().unwrap();
        // A fresh namespace has its loopback down and without addresses.
        assert!(nets.is_empty() || nets.contains(&loopback), "{nets:?}");
        assert!(endpoints(&[]).unwrap().iter().all(|ip| !ip.is_loopback()));
        assert!(!strict_reverse_path(&[]).unwrap().contains(&"lo".to_owned()));
        let files = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        let [ipv4, ipv6] = files.map(|file| {
            let text = fs::read_to_string(Path::new("/proc/sys/net").join(file));
            text.is_ok_and(|text| text != "0\n")
        });
        assert_eq!(forwards(&here).unwrap(), Forwarding { ipv4, ipv6 });
    }
}
