//! Our own policy rules: those with our protocol, and a priority that follows from an interface's
//! name.
//!
//! What it refuses to do: touch any other rule.

use std::collections::BTreeSet;
use std::io;

use grid_netlink::Message;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{
    RuleAction as Kind, RuleAttribute, RuleFlags, RuleHeader, RuleMessage,
};

use super::codec::{emit, ignore, is_unsupported};
use super::socket::Rtnetlink;
use crate::if_name::IfName;
use crate::ownership::PROTOCOL;
use crate::routing::{Family, MAIN, PolicyRule, RuleAction};

/// What the kernel shows if no prefix length is suppressed: -1.
const SUPPRESSES_NOTHING: u32 = u32::MAX;

impl Rtnetlink {
    /// Our rules for the interface of that name.
    pub(crate) fn rules(&mut self, name: &IfName) -> io::Result<BTreeSet<PolicyRule>> {
        let mut rules = BTreeSet::new();
        for family in Family::ALL {
            let found = self.dump_rules(family)?.unwrap_or_default();
            rules.extend(found.into_iter().map(|(rule, _)| rule));
        }
        let priorities = PolicyRule::priorities(name);
        rules.retain(|rule| priorities.contains(&rule.priority));
        Ok(rules)
    }

    /// Whether the kernel has policy rules, and so tables, for this family.
    pub(crate) fn has_rules(&mut self, family: Family) -> io::Result<bool> {
        if self.with_rules.contains(&family) {
            return Ok(true);
        }
        let has_rules = self.dump_rules(family)?.is_some();
        self.with_rules.extend(has_rules.then_some(family));
        Ok(has_rules)
    }

    /// Adds a rule, unless it exists.
    pub(crate) fn add_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        let request = emit(&message(rule)?);
        let result = self
            .netlink
            .change(libc::RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &request);
        ignore(result, &[libc::EEXIST])
    }

    /// Removes all our rules that equal this one, if any.
    pub(crate) fn delete_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        for (found, message) in self.dump_rules(rule.family)?.unwrap_or_default() {
            if found == *rule {
                // The kernel finds a rule by what it reports of it.
                let result = self.netlink.change(libc::RTM_DELRULE, 0, &message.payload);
                ignore(result, &[libc::ENOENT])?;
            }
        }
        Ok(())
    }

    /// Our rules of a family. None: the kernel has no policy rules for it.
    fn dump_rules(&mut self, family: Family) -> io::Result<Option<Vec<(PolicyRule, Message)>>> {
        let mut request = RuleMessage::default();
        request.header.family = address_family(family);
        let answers = match self.netlink.dump(libc::RTM_GETRULE, &emit(&request)) {
            Ok(answers) => answers,
            Err(error) if is_unsupported(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let rules = answers.into_iter().filter_map(|answer| {
            let rule = parse(&answer.payload).filter(|_| answer.kind == libc::RTM_NEWRULE)?;
            Some((rule, answer))
        });
        Ok(Some(rules.collect()))
    }
}

/// Whether a message from the kernel is about one of our rules.
pub(crate) fn is_our_rule(payload: &[u8]) -> bool {
    parse(payload).is_some()
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn message(rule: &PolicyRule) -> io::Result<RuleMessage> {
    let (flags, table, selector) = match rule.action {
        RuleAction::MainWithoutDefault => {
            let suppress = RuleAttribute::SuppressPrefixLen(0);
            (RuleFlags::empty(), MAIN, suppress)
        }
        RuleAction::Unmarked { fwmark, table } => {
            (RuleFlags::Invert, table, RuleAttribute::FwMark(fwmark))
        }
        RuleAction::Other => {
            let why = "a rule of another form cannot be made";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: address_family(rule.family),
        // The field has only eight bits; the attribute counts.
        table: u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        action: Kind::ToTable,
        flags,
        ..RuleHeader::default()
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
        RuleAttribute::Table(table),
        selector,
    ];
    Ok(message)
}

/// `None` for a rule without our protocol, and for one that cannot be decoded, which this program
/// cannot have made.
fn parse(payload: &[u8]) -> Option<PolicyRule> {
    let message = RuleMessage::parse(payload).ok()?;
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let (mut priority, mut protocol) = (0, None);
    let (mut table, mut suppress) = (u32::from(header.table), SUPPRESSES_NOTHING);
    let (mut fwmark, mut mask) = (0, u32::MAX);
    let mut is_plain =
        (header.src_len, header.dst_len, header.tos) == (0, 0, 0) && header.action == Kind::ToTable;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(found) => priority = *found,
            RuleAttribute::Protocol(found) => protocol = Some(*found),
            RuleAttribute::Table(found) => table = *found,
            RuleAttribute::SuppressPrefixLen(found) => suppress = *found,
            RuleAttribute::FwMark(found) => fwmark = *found,
            RuleAttribute::FwMask(found) => mask = *found,
            // A later kernel may report more about every rule.
            RuleAttribute::Other(_) => {}
            _ => is_plain = false,
        }
    }
    if protocol != Some(RouteProtocol::Other(PROTOCOL)) {
        return None;
    }
    let inverted = header.flags.contains(RuleFlags::Invert);
    let action = match (is_plain, inverted, fwmark, suppress) {
        (true, false, 0, 0) if table == MAIN => RuleAction::MainWithoutDefault,
        (true, true, 1.., SUPPRESSES_NOTHING) if mask == u32::MAX => {
            RuleAction::Unmarked { fwmark, table }
        }
        _ => RuleAction::Other,
    };
    Some(PolicyRule {
        family,
        priority,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<PolicyRule> {
        let name = "foo".parse().unwrap();
        let pairs = Family::ALL.map(|family| PolicyRule::pair(&name, family, 0x51));
        pairs.concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for rule in rules() {
            assert_eq!(parse(&emit(&message(&rule).unwrap())), Some(rule), "{rule}");
        }
        let other = PolicyRule {
            action: RuleAction::Other,
            ..rules()[0]
        };
        assert!(message(&other).is_err());
    }

    #[test]
    fn a_rule_of_another_protocol_is_not_ours() {
        for protocol in [RouteProtocol::Static, RouteProtocol::Other(PROTOCOL + 1)] {
            let mut theirs = message(&rules()[0]).unwrap();
            theirs.attributes[1] = RuleAttribute::Protocol(protocol);
            assert_eq!(parse(&emit(&theirs)), None);
        }
        assert_eq!(parse(&[2, 0, 0]), None);
    }

    #[test]
    fn a_rule_that_says_something_else_is_told_apart() {
        type Change = fn(&mut RuleMessage);
        let changes: [Change; 5] = [
            |rule| rule.header.flags.toggle(RuleFlags::Invert),
            |rule| rule.header.tos = 4,
            |rule| rule.header.action = Kind::Blackhole,
            |rule| rule.attributes.push(RuleAttribute::FwMask(0xff)),
            |rule| {
                let lan = RuleAttribute::Iifname("eth0".to_owned());
                rule.attributes.push(lan);
            },
        ];
        let rule = rules()[1];
        for change in changes {
            let mut changed = message(&rule).unwrap();
            change(&mut changed);
            let read = parse(&emit(&changed)).unwrap();
            assert_eq!(
                (read.priority, read.action),
                (rule.priority, RuleAction::Other)
            );
        }
    }
}
