//! Policy rules that are ours: by protocol, and by a priority that follows from an interface's name.
//!
//! What it refuses to do: touch any other rule.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{
    RuleAction as Kind, RuleAttribute, RuleFlags, RuleHeader, RuleMessage,
};

use super::socket::{Message, NLM_F_CREATE, NLM_F_EXCL};
use super::{Netlink, already, emit, no_such_family};
use crate::backend::PROTOCOL;
use crate::name::IfName;
use crate::routing::{Family, MAIN, PolicyRule, RuleAction};

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
/// What the kernel shows where no prefix length is suppressed: -1.
const SUPPRESSES_NOTHING: u32 = u32::MAX;

impl Netlink {
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

    /// Adds a rule; one that is there is no error.
    pub(crate) fn add_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        let request = emit(&message(rule)?);
        let result = self.change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &request);
        already(result, &[libc::EEXIST])
    }

    /// Removes all rules of ours that say this; that there is none is no error.
    pub(crate) fn delete_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        for (found, message) in self.dump_rules(rule.family)?.unwrap_or_default() {
            if found == *rule {
                // What the kernel tells of a rule is what it takes to name it.
                let result = self.change(RTM_DELRULE, 0, &message.payload);
                already(result, &[libc::ENOENT])?;
            }
        }
        Ok(())
    }

    /// Our rules of a family. None: the kernel has no rules for it.
    fn dump_rules(&mut self, family: Family) -> io::Result<Option<Vec<(PolicyRule, Message)>>> {
        let mut request = RuleMessage::default();
        request.header.family = address_family(family);
        let answers = match self.dump(RTM_GETRULE, &emit(&request)) {
            Ok(answers) => answers,
            Err(error) if no_such_family(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let rules = answers.into_iter().filter_map(|answer| {
            let rule = parse(&answer.payload).filter(|_| answer.kind == RTM_NEWRULE)?;
            Some((rule, answer))
        });
        Ok(Some(rules.collect()))
    }
}

/// Whether a message of the kernel is about a rule of ours.
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
        // The field has eight bits; the attribute counts.
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

/// `None` for a rule without our protocol, and for what this program cannot read: such a rule is
/// not one that it made.
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
            // What a later kernel tells of every rule makes it no other one.
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
