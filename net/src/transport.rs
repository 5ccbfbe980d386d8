//! QUIC's parameters, chosen for small messages between nodes that are mostly idle.

use std::time::Duration;

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig};

use crate::config::Limits;
use crate::error::BindError;

/// How many unread bytes QUIC holds for one stream, and for one connection. 512 kB at a round trip of
/// 100 ms is 5 MB/s: plenty for messages, and little enough with 256 hostile peers. The connection's
/// window is smaller than the sum of its streams', so every stream must be read as it arrives.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// The round trip to assume until one is measured. With QUIC's 333 ms a lost first packet is repeated
/// after a second only; a needless repetition on a slow path costs one packet.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// The longest packet sent or received, in bytes of UDP payload. quinn hands ten of them to the kernel
/// at once, which is just below the 65,507 bytes that the kernel accepts at once.
pub(crate) const MAX_PACKET: u16 = 6500;

/// How long after a probe to test again whether a path carries longer packets.
const PROBE_AGAIN: Duration = Duration::from_secs(3600);

/// How long packets may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    /// 1200 bytes, which every path that QUIC works on carries. Probing for more costs each new
    /// connection some 6 kB, and gains little for short messages: a path over Ethernet carries 1452.
    Short,
    /// As long as probes find that the path carries, up to [`MAX_PACKET`]. For links with several
    /// times the MTU of Ethernet, where large messages arrive several times as fast.
    Long,
}

/// Which end of a connection this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialling,
    Listening,
}

/// The limits in QUIC's terms. Only the dialling side sends keepalives: the acknowledgements refresh
/// the path in the other direction.
pub(crate) fn transport(
    limits: &Limits,
    side: Side,
    packets: Packets,
) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(limits.idle_timeout)
        .map_err(|_| BindError::Limits("idle_timeout"))?;
    let mut transport = TransportConfig::default();
    transport
        // One more than the limit: the greeting is a stream too.
        .max_concurrent_bidi_streams(limits.max_streams.saturating_add(1).into())
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval((side == Side::Dialling).then_some(limits.keepalive))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(u64::from(CONNECTION_WINDOW))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(match packets {
            Packets::Short => None,
            Packets::Long => {
                let mut probing = MtuDiscoveryConfig::default();
                probing.upper_bound(MAX_PACKET).interval(PROBE_AGAIN);
                Some(probing)
            }
        })
        // The spin bit would show the round-trip time to anybody on the path.
        .allow_spin(false);
    Ok(transport)
}
