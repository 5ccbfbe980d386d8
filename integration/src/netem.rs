//! Delay and loss on a node's cables, made by the kernel's netem queue, where it has one.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use grid_netlink::Netlink;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use crate::Missing;
use crate::link;
use crate::node::Node;

/// `TCA_OPTIONS` and `TCA_NETEM_LATENCY64` of `linux/rtnetlink.h` and `linux/pkt_sched.h`.
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_LATENCY64: u16 = 10;
/// How many packets the queue holds: more than any test sends within one delay.
const LIMIT: u32 = 10_000;

/// Delays everything that `node` sends by `delay`, and drops `permille` of every thousand packets.
/// Replaces what was set before. Received packets are untouched: set it on both ends for both
/// directions.
///
/// # Errors
/// [`Missing`] when this kernel has no netem; else what it refused.
pub fn impair(node: &Node, delay: Duration, permille: u32) -> Result<()> {
    for port in node.ports() {
        let set = || -> io::Result<()> {
            let mut netlink = Netlink::route()?;
            let index = link::index_of(&port.interface)?;
            netlink
                .request(
                    RouteNetlinkMessage::NewQueueDiscipline(message(index.0, delay, permille)?),
                    NLM_F_CREATE | NLM_F_REPLACE,
                )
                .map(drop)
        };
        let done = node.namespaces().in_net(set)?;
        done.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP) => anyhow::Error::from(Missing(format!(
                "this kernel has no netem ({error}): load the module with `sudo modprobe sch_netem`, \
                 or run this with `cargo lab --kernel`"
            ))),
            _ => error.into(),
        })
        .with_context(|| format!("cannot impair {} of {}", port.interface, node.name()))?;
    }
    Ok(())
}

fn message(index: u32, delay: Duration, permille: u32) -> io::Result<TcMessage> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut message = TcMessage::with_index(i32::try_from(index).map_err(invalid)?);
    message.header.parent = TcHandle::ROOT;
    let nanoseconds = i64::try_from(delay.as_nanos()).map_err(invalid)?;
    message.attributes = vec![
        TcAttribute::Kind("netem".to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options(nanoseconds, permille))),
    ];
    Ok(message)
}

/// `struct tc_netem_qopt` (latency in ticks, limit, loss, gap, duplicate, jitter), then an attribute
/// with the latency in nanoseconds, which counts instead of the ticks.
fn options(nanoseconds: i64, permille: u32) -> Vec<u8> {
    // A chance is a fraction of 2^32.
    let loss = u64::from(permille.min(1000)) * u64::from(u32::MAX) / 1000;
    let loss = u32::try_from(loss).unwrap_or(u32::MAX);
    let mut bytes: Vec<u8> = [0, LIMIT, loss, 0, 0, 0]
        .iter()
        .flat_map(|field: &u32| field.to_ne_bytes())
        .collect();
    bytes.extend(12u16.to_ne_bytes());
    bytes.extend(TCA_NETEM_LATENCY64.to_ne_bytes());
    bytes.extend(nanoseconds.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_as_the_kernel_reads_them() {
        let bytes = options(100_000_000, 100);
        assert_eq!(bytes.len(), 24 + 12);
        assert_eq!(bytes[4..8], LIMIT.to_ne_bytes());
        let loss = u32::from_ne_bytes(bytes[8..12].try_into().unwrap());
        assert_eq!(loss, 429_496_729, "a tenth of 2^32");
        assert_eq!(bytes[28..36], 100_000_000i64.to_ne_bytes());
        assert_eq!(options(0, 5000)[8..12], u32::MAX.to_ne_bytes());
    }
}
