//! For guests that are judges: what they are shown, and what they answer.
//!
//! A judge keeps the promise of `texts/judge.md` word for word ([`PROMISE`]), lists no calls, and is
//! handed records as its payload. For each prefix that a member promises it says whether it would
//! accept it, and why in a few words.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cbor::{self, ARRAY, BYTES, NULL, Reader, TAG, TEXT, UNSIGNED};

/// The text of the promise that every judge makes.
pub const PROMISE: &str = include_str!("../../../promises/texts/judge.md");

const VERSION: u64 = 1;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

/// An IP prefix. The bits behind its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address that it begins with.
    pub address: IpAddr,
    /// How many bits of it count.
    pub length: u8,
}

impl Prefix {
    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let shared = |ours: u128, theirs: u128, width: u32| {
            let shift = width - u32::from(self.length).min(width);
            ours.checked_shr(shift) == theirs.checked_shr(shift)
        };
        self.length <= other.length
            && match (self.address, other.address) {
                (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                    shared(ours.to_bits().into(), theirs.to_bits().into(), 32)
                }
                (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                    shared(ours.to_bits(), theirs.to_bits(), 128)
                }
                _ => false,
            }
    }

    /// Whether they share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A network's ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges<'a> {
    /// Its binary content id.
    pub network: &'a [u8],
    /// Its IPv4 range.
    pub ipv4: Prefix,
    /// Its IPv6 prefix.
    pub ipv6: Prefix,
}

/// One rule of the node that asks. Of several that match, the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Whether it accepts, or rejects.
    pub accepts: bool,
    /// What: this prefix and any inside it.
    pub prefix: Prefix,
    /// Whose: a node's key; everybody's if `None`.
    pub from: Option<&'a [u8]>,
}

/// What one member promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its key, 32 bytes.
    pub node: &'a [u8],
    /// What it calls itself. Others may call themselves the same.
    pub label: &'a str,
    /// Its IPv4 address.
    pub ipv4: Prefix,
    /// Its IPv6 address.
    pub ipv6: Prefix,
    /// Who holds its IPv4 address, where that is another node.
    pub held_by: Option<&'a [u8]>,
    /// Further prefixes, ascending.
    pub prefixes: Vec<Prefix>,
}

impl Member<'_> {
    /// Everything that it promises, in the order in which a judge answers.
    pub fn all(&self) -> impl Iterator<Item = &Prefix> {
        [&self.ipv4, &self.ipv6].into_iter().chain(&self.prefixes)
    }

    /// Whether a prefix is one of its two addresses.
    #[must_use]
    pub fn is_own(&self, prefix: &Prefix) -> bool {
        *prefix == self.ipv4 || *prefix == self.ipv6
    }
}

/// What a judge is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    /// The network.
    pub network: Ranges<'a>,
    /// The key of the node that asks, 32 bytes.
    pub own: &'a [u8],
    /// Its rules, oldest first.
    pub rules: Vec<Rule<'a>>,
    /// Prefixes that it is directly connected to, ascending.
    pub connected: Vec<Prefix>,
    /// Its other networks.
    pub others: Vec<Ranges<'a>>,
    /// The members.
    pub members: Vec<Member<'a>>,
}

/// What a judge thinks of one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it would accept it.
    pub accepts: bool,
    /// Why, for people. What is longer than 200 bytes is cut.
    pub why: String,
}

impl<'a> Records<'a> {
    /// Reads the payload of a call. `None` if it is not that of records of this version.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let records = Self::read(&mut reader)?;
        reader.0.is_empty().then_some(records)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        array(reader, 3)?;
        if reader.head(UNSIGNED)? != VERSION {
            return None;
        }
        array(reader, 7)?;
        let network = ranges(reader)?;
        Some(Self {
            network,
            own: reader.string(BYTES)?,
            rules: list(reader, rule)?,
            connected: list(reader, prefix)?,
            others: list(reader, |reader| {
                array(reader, 3)?;
                ranges(reader)
            })?,
            members: list(reader, member)?,
        })
    }

    /// The payload of the answer: asks `think` about every prefix of every member.
    pub fn judge(&self, mut think: impl FnMut(&Member<'a>, &Prefix) -> Opinion) -> Vec<u8> {
        let count: usize = self.members.iter().map(|member| member.all().count()).sum();
        let mut out = Vec::new();
        cbor::head(&mut out, ARRAY, 2);
        cbor::head(&mut out, UNSIGNED, VERSION);
        cbor::head(&mut out, ARRAY, count as u64);
        for member in &self.members {
            for prefix in member.all() {
                let opinion = think(member, prefix);
                cbor::head(&mut out, ARRAY, 2);
                out.push(if opinion.accepts { TRUE } else { FALSE });
                cbor::string(&mut out, TEXT, opinion.why.as_bytes());
            }
        }
        out
    }
}

fn array(reader: &mut Reader<'_>, length: u64) -> Option<()> {
    (reader.head(ARRAY)? == length).then_some(())
}

/// Memory grows with what is read, not with the length that is claimed.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let length = reader.head(ARRAY)?;
    let mut all = Vec::new();
    for _ in 0..length {
        all.push(read(reader)?);
    }
    Some(all)
}

fn boolean(reader: &mut Reader<'_>) -> Option<bool> {
    if reader.is(TRUE) {
        return Some(true);
    }
    reader.is(FALSE).then_some(false)
}

fn address(reader: &mut Reader<'_>) -> Option<IpAddr> {
    let bytes = reader.string(BYTES)?;
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|bytes| Ipv6Addr::from(bytes).into())
}

fn prefix(reader: &mut Reader<'_>) -> Option<Prefix> {
    array(reader, 2)?;
    let address = address(reader)?;
    let length = u8::try_from(reader.head(UNSIGNED)?).ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some(Prefix { address, length })
}

fn ranges<'a>(reader: &mut Reader<'a>) -> Option<Ranges<'a>> {
    if reader.head(TAG)? != 42 {
        return None;
    }
    Some(Ranges {
        network: reader.string(BYTES)?.strip_prefix(&[0])?,
        ipv4: prefix(reader)?,
        ipv6: prefix(reader)?,
    })
}

fn rule<'a>(reader: &mut Reader<'a>) -> Option<Rule<'a>> {
    let length = reader.head(ARRAY)?;
    Some(Rule {
        accepts: boolean(reader)?,
        prefix: prefix(reader)?,
        from: match length {
            2 => None,
            3 => Some(reader.string(BYTES)?),
            _ => return None,
        },
    })
}

fn host(reader: &mut Reader<'_>) -> Option<Prefix> {
    let address = address(reader)?;
    let length = if address.is_ipv4() { 32 } else { 128 };
    Some(Prefix { address, length })
}

fn member<'a>(reader: &mut Reader<'a>) -> Option<Member<'a>> {
    array(reader, 6)?;
    Some(Member {
        node: reader.string(BYTES)?,
        label: core::str::from_utf8(reader.string(TEXT)?).ok()?,
        ipv4: host(reader)?,
        ipv6: host(reader)?,
        held_by: if reader.is(NULL) {
            None
        } else {
            Some(reader.string(BYTES)?)
        },
        prefixes: list(reader, prefix)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;
    use alloc::vec;
    use grid_keys::NodeId;
    use grid_promises::network::NetworkId;
    use grid_promises::network::accept::{self, Action};
    use grid_promises::network::{judgement, records};
    use grid_promises::{ContentId, texts};

    fn net<T: core::str::FromStr>(text: &str) -> T
    where
        T::Err: fmt::Debug,
    {
        text.parse().unwrap()
    }

    fn shown() -> records::Records {
        let promised = |label: &str, host: u8, held_by| records::Promised {
            label: label.parse().unwrap(),
            ipv4: [10, 7, 0, host].into(),
            ipv6: Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, host.into()),
            held_by,
            prefixes: vec![net("192.168.7.0/24"), net("fd01::/48")],
        };
        let rule = |action, from| accept::Rule {
            action,
            prefix: net("192.168.0.0/16"),
            from,
        };
        let ranges = (net("10.8.0.0/16"), net("fd00:8::/64"));
        records::Records {
            here: records::Here {
                network: NetworkId(ContentId::of(b"network")),
                ipv4: net("10.7.0.0/16"),
                ipv6: net("fd00:7::/64"),
                own: NodeId([9; 32]),
                rules: vec![
                    rule(Action::Accept, Some(NodeId([1; 32]))),
                    rule(Action::Reject, None),
                ],
                connected: [net("192.168.1.0/24")].into(),
                others: [(NetworkId(ContentId::of(b"other")), ranges)].into(),
            },
            members: [
                (NodeId([1; 32]), promised("a", 1, None)),
                (NodeId([2; 32]), promised("b", 2, Some(NodeId([1; 32])))),
            ]
            .into(),
        }
    }

    #[test]
    fn the_promise_is_the_nodes() {
        assert_eq!(PROMISE, texts::JUDGE.text);
    }

    #[test]
    fn records_are_those_of_the_node() {
        let shown = shown();
        let bytes = shown.encode();
        let records = Records::decode(&bytes).unwrap();
        assert_eq!(records.own, [9; 32]);
        assert_eq!(records.network.network, shown.here.network.0.to_bytes());
        assert_eq!(records.network.ipv4.to_string(), "10.7.0.0/16");
        assert_eq!(records.others[0].ipv6.to_string(), "fd00:8::/64");
        assert_eq!(records.connected[0].to_string(), "192.168.1.0/24");
        let rules: Vec<_> = records
            .rules
            .iter()
            .map(|rule| (rule.accepts, rule.from))
            .collect();
        assert_eq!(rules, [(true, Some(&[1; 32][..])), (false, None)]);
        let asked = records.members.iter().flat_map(|member| {
            let node = NodeId(member.node.try_into().unwrap());
            member
                .all()
                .map(move |prefix| (node, net(&prefix.to_string())))
        });
        assert!(asked.eq(shown.questions()));
        let labels: Vec<_> = records
            .members
            .iter()
            .map(|m| (m.label, m.held_by))
            .collect();
        assert_eq!(labels, [("a", None), ("b", Some(&[1; 32][..]))]);
        for cut in 0..bytes.len() {
            assert_eq!(Records::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn judgements_are_those_of_the_node() {
        let shown = shown();
        let bytes = shown.encode();
        let records = Records::decode(&bytes).unwrap();
        let said = records.judge(|member, prefix| Opinion {
            accepts: member.is_own(prefix),
            why: format!("{} {prefix}", member.label),
        });
        let opinions = judgement::read(&said, &shown).unwrap();
        assert_eq!(opinions.len(), 8);
        for ((node, prefix), opinion) in opinions {
            let label = &shown.members[&node].label;
            assert_eq!(opinion.why.as_str(), format!("{label} {prefix}"));
            assert_eq!(
                opinion.accepts,
                prefix.prefix_len() == prefix.max_prefix_len()
            );
        }
    }

    #[test]
    fn prefixes_contain_what_is_inside() {
        let prefix = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            Prefix {
                address: net(address),
                length: net(length),
            }
        };
        for (a, b, contains, overlaps) in [
            ("10.0.0.0/8", "10.7.0.0/16", true, true),
            ("10.7.0.0/16", "10.0.0.0/8", false, true),
            ("0.0.0.0/0", "10.7.0.0/16", true, true),
            ("0.0.0.0/0", "fd00::/8", false, false),
            ("fd00::/8", "fd00::1/128", true, true),
            ("::/0", "fd00::1/128", true, true),
            ("10.7.0.1/32", "10.7.0.1/32", true, true),
            ("10.7.0.1/32", "10.7.0.2/32", false, false),
        ] {
            let (a, b) = (prefix(a), prefix(b));
            assert_eq!(
                (a.contains(&b), a.overlaps(&b)),
                (contains, overlaps),
                "{a} {b}"
            );
        }
    }
}
