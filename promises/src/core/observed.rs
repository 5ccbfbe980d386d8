//! Where others see this node: a hint, believed of members that this node dialled, and only as far as they agree.
//!
//! What is believed goes into this node's signed promise, where members send their handshakes. So a change has
//! its price: each one makes the next wait longer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Millis;

/// Addresses of one family that are believed at once: a node has one, or two while it moves.
const PER_FAMILY: usize = 2;
/// The pause after the first change; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// After so long without a change, the first pause is enough again.
const CALM: Duration = Duration::from_secs(60 * 60);

/// How often what is believed has changed lately.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    last: Option<(Millis, Duration)>,
}

impl Changes {
    /// When the next change may be made.
    pub(crate) fn next(&self) -> Millis {
        self.last.map_or(Millis(0), |(at, pause)| at + pause)
    }

    /// A change is made.
    pub(crate) fn made(&mut self, now: Millis) {
        let pause = match self.last {
            Some((at, pause)) if now - at < CALM => pause.saturating_mul(2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
    }
}

/// What can be believed of what members say, one observation each: the addresses on whose IP two of them agree, if
/// two spoke of that family; of these the ones that most saw.
pub(crate) fn agreed(observations: impl Iterator<Item = SocketAddr>) -> BTreeSet<SocketAddr> {
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = observations.partition(SocketAddr::is_ipv4);
    [v4, v6]
        .into_iter()
        .flat_map(|observations| of_family(&observations))
        .collect()
}

fn of_family(observations: &[SocketAddr]) -> Vec<SocketAddr> {
    let needed = observations.len().min(2);
    let mut by_ip: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut by_addr: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for addr in observations {
        *by_ip.entry(addr.ip()).or_default() += 1;
        *by_addr.entry(*addr).or_default() += 1;
    }
    let votes = |addr: &SocketAddr| by_ip.get(&addr.ip()).copied().unwrap_or_default();
    let mut agreed: Vec<(usize, SocketAddr)> = by_addr
        .into_iter()
        .filter(|(addr, _)| votes(addr) >= needed)
        .map(|(addr, count)| (count, addr))
        .collect();
    agreed.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let best = agreed.into_iter().take(PER_FAMILY);
    best.map(|(_, addr)| addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(said: &[&str]) -> Vec<String> {
        let said = said.iter().map(|addr| addr.parse().unwrap());
        agreed(said).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_is_believed_alone_and_two_have_to_agree() {
        assert_eq!(believed(&["192.0.2.1:9"]), ["192.0.2.1:9"]);
        assert_eq!(believed(&["192.0.2.1:9", "198.51.100.7:9"]), [""; 0]);
        let two = ["192.0.2.1:9", "198.51.100.7:9", "192.0.2.1:9"];
        assert_eq!(believed(&two), ["192.0.2.1:9"]);
        // Each family by itself.
        let both = ["192.0.2.1:9", "[2001:db8::1]:9"];
        assert_eq!(believed(&both), both);
    }

    #[test]
    fn a_router_that_gives_each_peer_another_port_is_seen_at_two_of_them() {
        let said = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:3"];
        assert_eq!(believed(&said), ["192.0.2.1:1", "192.0.2.1:3"]);
    }

    #[test]
    fn each_change_makes_the_next_wait_longer_until_it_is_calm() {
        let mut changes = Changes::default();
        let mut now = Millis(1_000_000);
        assert!(changes.next() <= now);
        let mut made = 0;
        let end = now + Duration::from_secs(3600);
        while now < end {
            if changes.next() <= now {
                changes.made(now);
                made += 1;
            }
            now = now + Duration::from_millis(100);
        }
        assert_eq!(made, 15);
        let calm = now + CALM;
        changes.made(calm);
        assert_eq!(changes.next(), calm + FIRST_PAUSE);
    }
}
