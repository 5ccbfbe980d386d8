//! UDP ports: which one WireGuard gets, and which process holds one that is taken.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::num::NonZeroU16;

use crate::exit::{Failure, Outcome};

/// The port of the first network's WireGuard.
const FIRST: u16 = 51820;
/// The first port to try for further networks; 51821 is QUIC's.
const FURTHER: u16 = 51822;
/// How many ports are tried for a further network.
const TRIES: u16 = 1000;

/// Chooses a port for one more network. `taken` are those of this node's other networks.
///
/// # Errors
/// The wished port is taken, or no port is free.
pub fn choose(wished: Option<NonZeroU16>, taken: &[u16], quic: u16) -> Outcome<u16> {
    if let Some(port) = wished.map(NonZeroU16::get) {
        if taken.contains(&port) {
            return Err(Failure::failed(format!(
                "UDP port {port} belongs to another network of this node; choose another with --port"
            )));
        }
        if port == quic {
            return Err(Failure::failed(format!(
                "this node's QUIC listens on UDP port {port}; choose another with --port"
            )));
        }
        if !is_free(port) {
            return Err(in_use(port, "choose another with --port"));
        }
        return Ok(port);
    }
    if taken.is_empty() {
        if FIRST != quic && is_free(FIRST) {
            return Ok(FIRST);
        }
        // People open this port in firewalls: it must not change silently.
        return Err(in_use(FIRST, "choose another with --port"));
    }
    std::iter::once(FIRST)
        .chain(FURTHER..FURTHER + TRIES)
        .find(|port| *port != quic && !taken.contains(port) && is_free(*port))
        .ok_or_else(|| {
            Failure::failed(format!(
                "no UDP port from {FURTHER} to {} is free; choose one with --port",
                FURTHER + TRIES - 1
            ))
        })
}

/// Whether a UDP port is free for both address families: WireGuard needs both.
fn is_free(port: u16) -> bool {
    let ipv4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
    if ipv4.is_err() {
        return false;
    }
    drop(ipv4);
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        // The host may have no IPv6.
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    }
}

fn in_use(port: u16, advice: &str) -> Failure {
    Failure::failed(format!(
        "UDP port {port} is in use by {}; stop it, or {advice}",
        holder(port)
    ))
}

/// Which process holds a UDP port, as far as this user may see.
#[must_use]
pub fn holder(port: u16) -> String {
    let mut inodes = Vec::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| inode_of(line, port)));
    }
    match inodes.as_slice() {
        // The kernel's own sockets have no inode.
        [] | [0, ..] => "the kernel (a WireGuard interface?) or another program".to_owned(),
        [inode, ..] => process_of(*inode).unwrap_or_else(|| "another program".to_owned()),
    }
}

/// The inode in a line of `/proc/net/udp`, if the line is about this local port.
fn inode_of(line: &str, port: u16) -> Option<u64> {
    let mut columns = line.split_whitespace();
    let (_, local) = columns.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(local, 16).ok()? != port {
        return None;
    }
    columns.nth(7)?.parse().ok()
}

fn process_of(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: &str| {
        fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|file| {
                fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
            })
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        if holds(pid) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_held_is_not_chosen_and_its_holder_is_named() {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(!is_free(port));
        let wished = NonZeroU16::new(port);
        let failure = choose(wished, &[], 51821).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            failure.text.contains(&format!("process {pid}")),
            "{failure}"
        );
        drop(socket);
        assert_eq!(choose(wished, &[], 51821), Ok(port));
        assert!(choose(wished, &[port], 51821).is_err());
        let failure = choose(wished, &[], port).unwrap_err();
        assert!(failure.text.contains("this node's QUIC"), "{failure}");
    }

    #[test]
    fn further_networks_get_further_ports() {
        let port = choose(None, &[FIRST], 51821).unwrap();
        assert!(port >= FURTHER, "{port}");
        assert_ne!(choose(None, &[FIRST, port], 51821).unwrap(), port);
    }

    #[test]
    fn the_socket_table_is_read() {
        let line = "  412: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000  \
                    1000        0 31337 2 0000000000000000 0";
        assert_eq!(inode_of(line, 0xCA6C), Some(31337));
        assert_eq!(inode_of(line, 1), None);
        assert_eq!(inode_of("  sl  local_address rem_address", 1), None);
    }
}
