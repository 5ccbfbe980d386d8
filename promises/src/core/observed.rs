//! Where others see this node: a hint, believed of members that this node asked, and only as far as they agree who
//! stand under different lines. It asks those whom it dialled; of those who dialled it, only where one line alone says
//! something new.
//!
//! What is believed goes into this node's signed promise, where members send their handshakes. So a change has
//! its price: each one makes the next wait longer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::core::mesh::line::Line;
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

/// What is known about where this node is.
pub(crate) struct Hints<'a> {
    /// What members say whom this node asked, one observation each, with the line that each stands under.
    pub(crate) said: Vec<(Line, SocketAddr)>,
    /// The lines of members that dialled this node and were not asked, and where these are.
    pub(crate) unasked: Vec<(Line, IpAddr)>,
    /// What is believed already.
    pub(crate) believed: &'a BTreeSet<SocketAddr>,
}

impl Hints<'_> {
    /// What can be believed: the addresses on whose IP two lines agree, if two spoke of that family; of these the ones
    /// that most saw. Where all who spoke stand under one line, two of them have to agree, if there are two: a young
    /// network has no other. Where members under other lines are connected, one line says nothing new.
    pub(crate) fn agreed(&self) -> BTreeSet<SocketAddr> {
        [true, false]
            .into_iter()
            .flat_map(|is_ipv4| self.of_family(is_ipv4))
            .collect()
    }

    /// Whether something would be believed if those who were not asked were not there: it is time to ask them.
    pub(crate) fn is_held_back(&self) -> bool {
        let bare = Hints {
            said: self.said.clone(),
            unasked: Vec::new(),
            believed: self.believed,
        };
        bare.agreed() != self.agreed()
    }

    fn of_family(&self, is_ipv4: bool) -> Vec<SocketAddr> {
        let said = self
            .said
            .iter()
            .filter(|(_, addr)| addr.is_ipv4() == is_ipv4);
        let said: Vec<(Line, SocketAddr)> = said.copied().collect();
        let lines: BTreeSet<Line> = said.iter().map(|(line, _)| *line).collect();
        let alone = lines.len() == 1;
        let mut unasked = self.unasked.iter();
        let are_others = unasked.any(|(line, ip)| ip.is_ipv4() == is_ipv4 && !lines.contains(line));
        // Where there is one line only, each of its members is a voice.
        let voice = |number: usize, line: Line| (line, if alone { number } else { 0 });
        let mut by_ip: BTreeMap<IpAddr, BTreeSet<(Line, usize)>> = BTreeMap::new();
        let mut by_addr: BTreeMap<SocketAddr, BTreeSet<(Line, usize)>> = BTreeMap::new();
        for (number, (line, addr)) in said.iter().enumerate() {
            let voice = voice(number, *line);
            by_ip.entry(addr.ip()).or_default().insert(voice);
            by_addr.entry(*addr).or_default().insert(voice);
        }
        let needed = said.len().min(2);
        let votes = |addr: &SocketAddr| by_ip.get(&addr.ip()).map_or(0, BTreeSet::len);
        let is_new = |addr: &SocketAddr| !self.believed.contains(addr);
        let mut agreed: Vec<(usize, SocketAddr)> = by_addr
            .into_iter()
            .filter(|(addr, _)| votes(addr) >= needed)
            .filter(|(addr, _)| !(alone && are_others && is_new(addr)))
            .map(|(addr, voices)| (voices.len(), addr))
            .collect();
        agreed.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let best = agreed.into_iter().take(PER_FAMILY);
        best.map(|(_, addr)| addr).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::NodeId;

    /// What is believed of members, each under a line of its own.
    fn believed(said: &[&str]) -> Vec<String> {
        let said = said.iter().zip(0..);
        believed_by_line(&said.map(|(addr, line)| (line, *addr)).collect::<Vec<_>>())
    }

    fn believed_by_line(said: &[(u8, &str)]) -> Vec<String> {
        let said = said.iter().map(|(line, addr)| {
            let line = Line::Invite(NodeId([*line; 32]));
            (line, addr.parse().unwrap())
        });
        let hints = Hints {
            said: said.collect(),
            unasked: Vec::new(),
            believed: &BTreeSet::new(),
        };
        texts(&hints)
    }

    fn texts(hints: &Hints<'_>) -> Vec<String> {
        hints.agreed().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_line_says_nothing_new_where_members_under_others_are_connected() {
        let line = |number| Line::Invite(NodeId([number; 32]));
        let (known, lie) = (
            "192.0.2.1:9".parse().unwrap(),
            "198.51.100.7:9".parse().unwrap(),
        );
        let believed = BTreeSet::from([known]);
        let hints = |said: &[(u8, SocketAddr)], unasked: &[(u8, &str)]| {
            let said = said.iter().map(|(number, addr)| (line(*number), *addr));
            let unasked = unasked.iter();
            let unasked = unasked.map(|(number, ip)| (line(*number), ip.parse().unwrap()));
            let hints = Hints {
                said: said.collect(),
                unasked: unasked.collect(),
                believed: &believed,
            };
            assert_eq!(hints.is_held_back(), texts(&hints).is_empty());
            texts(&hints)
        };
        let pair = [(1, lie), (1, lie)];
        let other = [(2, "192.0.2.7")];
        assert_eq!(hints(&pair, &other), [""; 0]);
        assert_eq!(hints(&pair[..1], &other), [""; 0]);
        // Under the same line, or over the other family, they are no others.
        assert_eq!(hints(&pair, &[(1, "192.0.2.7")]), ["198.51.100.7:9"]);
        assert_eq!(hints(&pair, &[(2, "2001:db8::7")]), ["198.51.100.7:9"]);
        // What was believed stays, and another line makes it two.
        assert_eq!(hints(&[(1, known)], &other), ["192.0.2.1:9"]);
        assert_eq!(hints(&[(1, lie), (3, lie)], &other), ["198.51.100.7:9"]);
    }

    #[test]
    fn members_under_one_line_are_one_voice() {
        let (truth, lie) = ("192.0.2.1:9", "198.51.100.7:9");
        let crowd = [(1, lie), (1, lie), (1, lie)];
        let with = |others: &[(u8, &'static str)]| believed_by_line(&[&crowd, others].concat());
        assert_eq!(with(&[(2, truth)]), [""; 0]);
        assert_eq!(with(&[(2, truth), (3, truth)]), [truth]);
        // Nor do they outvote others about the port.
        let port = [(1, "192.0.2.1:7"), (1, "192.0.2.1:8"), (1, "192.0.2.1:8")];
        let said = [&port[..], &[(2, truth), (3, truth)]].concat();
        assert_eq!(believed_by_line(&said)[1], truth);
        // Where all stand under one, two of them have to agree.
        assert_eq!(believed_by_line(&[(1, truth)]), [truth]);
        assert_eq!(believed_by_line(&[(1, truth), (1, lie)]), [""; 0]);
        assert_eq!(
            believed_by_line(&[(1, truth), (1, truth), (1, lie)]),
            [truth]
        );
        // Each family by itself.
        let both = [(1, truth), (1, truth), (2, "[2001:db8::1]:9")];
        assert_eq!(believed_by_line(&both), [truth, "[2001:db8::1]:9"]);
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
