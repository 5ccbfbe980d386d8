//! Who may start a handshake: a bound on unauthenticated work, in total and for each source.
//!
//! A source address proves nothing until QUIC has validated it. A source that exceeds its bound is
//! therefore first asked to prove its address, and turned away only once it has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The part of an address that one party commonly controls: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    /// The network that an address is in, as one party may have it: an IPv4 /24 or an IPv6 /48.
    pub(crate) fn network_of(addr: IpAddr) -> Self {
        match Self::of(addr) {
            Self::V4([a, b, c, _]) => Self::V4([a, b, c, 0]),
            Self::V6([a, b, c, d, e, f, ..]) => Self::V6([a, b, c, d, e, f, 0, 0]),
        }
    }

    pub(crate) fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// How many handshakes may be under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) total: usize,
    pub(crate) per_source: usize,
    /// With this many under way, a source must prove its address.
    pub(crate) retry_from: usize,
}

/// Counts the handshakes under way.
#[derive(Debug)]
pub(crate) struct Gate {
    bounds: Bounds,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// What to do with a first packet.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Proceed. The handshake counts until the pass is dropped.
    Enter(Pass),
    /// Ask the source to prove its address.
    Retry,
    /// Turn it away.
    Refuse,
}

/// One counted handshake.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    source: Source,
}

impl Gate {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            pending: Mutex::default(),
        })
    }

    /// Decides about a first packet from `addr`. Where it is `crowded`, every source must prove its address.
    pub(crate) fn admit(
        self: &Arc<Self>,
        addr: IpAddr,
        validated: bool,
        crowded: bool,
    ) -> Admission {
        let source = Source::of(addr);
        let mut pending = self.pending.lock();
        let from_source = pending.by_source.get(&source).copied().unwrap_or(0);
        let Bounds {
            total,
            per_source,
            retry_from,
        } = self.bounds;
        let busy = crowded || pending.total >= retry_from || from_source >= per_source;
        if busy && !validated {
            return Admission::Retry;
        }
        if pending.total >= total || from_source >= per_source {
            return Admission::Refuse;
        }
        pending.total += 1;
        *pending.by_source.entry(source).or_default() += 1;
        Admission::Enter(Pass {
            gate: Arc::clone(self),
            source,
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut pending = self.gate.pending.lock();
        pending.total = pending.total.saturating_sub(1);
        if let Some(count) = pending.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                pending.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Gate::new(Bounds {
            total: 4,
            per_source: 2,
            retry_from: 3,
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn enter(gate: &Arc<Gate>, addr: &str, validated: bool) -> Pass {
        match gate.admit(ip(addr), validated, false) {
            Admission::Enter(pass) => pass,
            other => panic!("{addr}: {other:?}"),
        }
    }

    #[test]
    fn a_source_has_its_bound_and_others_are_unaffected() {
        let gate = gate();
        let _a = enter(&gate, "192.0.2.1", false);
        let b = enter(&gate, "::ffff:192.0.2.1", false);
        assert!(matches!(
            gate.admit(ip("192.0.2.1"), false, false),
            Admission::Retry
        ));
        assert!(matches!(
            gate.admit(ip("192.0.2.1"), true, false),
            Admission::Refuse
        ));
        let _c = enter(&gate, "192.0.2.2", false);
        drop(b);
        let _d = enter(&gate, "192.0.2.1", true);
    }

    #[test]
    fn an_ipv6_source_is_a_64() {
        let gate = gate();
        let _a = enter(&gate, "2001:db8::1", false);
        let _b = enter(&gate, "2001:db8::2", false);
        assert!(matches!(
            gate.admit(ip("2001:db8::3"), true, false),
            Admission::Refuse
        ));
        let _c = enter(&gate, "2001:db8:0:1::3", true);
    }

    #[test]
    fn under_load_addresses_are_validated_and_the_total_holds() {
        let gate = gate();
        let passes: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .map(|addr| enter(&gate, addr, false))
            .into();
        assert!(matches!(
            gate.admit(ip("192.0.2.4"), false, false),
            Admission::Retry
        ));
        let _last = enter(&gate, "192.0.2.4", true);
        assert!(matches!(
            gate.admit(ip("192.0.2.5"), true, false),
            Admission::Refuse
        ));
        drop(passes);
        let _next = enter(&gate, "192.0.2.5", false);
    }

    #[test]
    fn in_a_crowd_every_source_proves_its_address() {
        let gate = gate();
        let addr = ip("192.0.2.1");
        assert!(matches!(gate.admit(addr, false, true), Admission::Retry));
        assert_eq!(gate.pending.lock().total, 0);
        assert!(matches!(gate.admit(addr, true, true), Admission::Enter(_)));
    }

    #[test]
    fn nothing_is_remembered_of_handshakes_that_are_over() {
        let gate = gate();
        for n in 0..=255 {
            drop(enter(&gate, &format!("192.0.2.{n}"), false));
        }
        let pending = gate.pending.lock();
        assert_eq!((pending.total, pending.by_source.len()), (0, 0));
    }
}
