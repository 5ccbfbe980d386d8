//! Records, judgements and histories as bytes: one encoding each, and no way to crash the reader.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "common/judging_seeds.rs"]
mod kit;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use grid_keys::NodeId;
use grid_promises::network::accept::{Action, Rule};
use grid_promises::network::history::{self, Decision, HistoryError, Moment, Writer};
use grid_promises::network::judgement::{self, JudgementError, Opinion, Reason};
use grid_promises::network::records::{Here, Promised, Records};
use grid_promises::{ContentId, Timestamp};
use ipnet::{IpNet, Ipv4Net};
use kit::{decision, network};
use proptest::prelude::*;

fn any_net() -> impl Strategy<Value = IpNet> {
    (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
        let net = Ipv4Net::new(Ipv4Addr::from(bits), length).unwrap();
        net.trunc().into()
    })
}

fn any_nets() -> impl Strategy<Value = Vec<IpNet>> {
    prop::collection::btree_set(any_net(), 0..4).prop_map(|nets| nets.into_iter().collect())
}

/// Few nodes, so that they come, change and go.
fn any_node() -> impl Strategy<Value = NodeId> {
    (0u8..6).prop_map(|n| NodeId([n; 32]))
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (any::<bool>(), any_net(), prop::option::of(any_node())).prop_map(|(accept, prefix, from)| {
        let action = if accept {
            Action::Accept
        } else {
            Action::Reject
        };
        Rule {
            action,
            prefix,
            from,
        }
    })
}

fn any_here() -> impl Strategy<Value = Here> {
    let rules = prop::collection::vec(any_rule(), 0..3);
    let others = prop::collection::btree_set(0u8..4, 0..3);
    (rules, any_nets(), others).prop_map(|(rules, connected, others)| Here {
        network: network(9),
        ipv4: "10.7.0.0/16".parse().unwrap(),
        ipv6: "fd00:7::/64".parse().unwrap(),
        own: NodeId([9; 32]),
        rules,
        connected: connected.into_iter().collect(),
        others: others
            .into_iter()
            .map(|n| {
                let ranges = (
                    Ipv4Net::new([10, n, 0, 0].into(), 16).unwrap(),
                    "fd00:8::/64",
                );
                (network(n), (ranges.0, ranges.1.parse().unwrap()))
            })
            .collect(),
    })
}

fn any_promised() -> impl Strategy<Value = Promised> {
    let held_by = prop::option::of(any_node());
    ("[a-z]{1,9}", 0u32..5, held_by, any_nets()).prop_map(|(label, host, held_by, prefixes)| {
        Promised {
            label: label.parse().unwrap(),
            ipv4: Ipv4Addr::from(0x0a07_0001 + host),
            ipv6: Ipv6Addr::from(0xfd00_0007_u128 << 96 | u128::from(host)),
            held_by,
            prefixes,
        }
    })
}

fn any_records() -> impl Strategy<Value = Records> {
    let members = prop::collection::btree_map(any_node(), any_promised(), 0..5);
    (any_here(), members).prop_map(|(here, members)| Records { here, members })
}

fn any_lines(records: &Records) -> history::Lines {
    let verdicts = grid_promises::network::accept::decide(records, None);
    history::lines(&verdicts)
}

fn any_decision() -> impl Strategy<Value = Decision> {
    let judge = prop::option::of((0u8..3).prop_map(|n| ContentId::of(&[n])));
    let failure = prop::option::of("[a-z ]{1,20}");
    (any_records(), judge, failure).prop_map(|(records, judge, failure)| Decision {
        at: Timestamp(0),
        judge,
        failure: failure.map(|why| Reason::new(&why)),
        lines: any_lines(&records),
        records,
    })
}

/// A file, and the decisions that it holds.
fn written(decisions: Vec<Decision>) -> (Vec<u8>, Vec<Decision>, Vec<usize>) {
    let (mut writer, mut file, mut ends) = (Writer::default(), Vec::new(), Vec::new());
    let mut held: Vec<Decision> = Vec::new();
    for (index, mut decision) in decisions.into_iter().enumerate() {
        decision.at = Timestamp(100 + 10 * index as u64);
        if let Some(entry) = writer.write(decision.clone()) {
            assert_eq!(entry.is_whole, held.is_empty());
            file.extend(entry.bytes);
            ends.push(file.len());
            held.push(decision);
        }
    }
    (file, held, ends)
}

proptest! {
    #[test]
    fn records_read_back(records in any_records()) {
        let bytes = records.encode();
        prop_assert_eq!(Records::decode(&bytes), Ok(records));
        for cut in 0..bytes.len() {
            prop_assert!(Records::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_judgement_answers_every_question_once(records in any_records(), extra in 0usize..2) {
        let asked = records.questions().count();
        let opinion = |index: usize| Opinion {
            accepts: index.is_multiple_of(2),
            why: Reason::new(&index.to_string()),
        };
        let opinions: Vec<Opinion> = (0..asked + extra).map(opinion).collect();
        let read = judgement::read(&judgement::encode(&opinions), &records);
        if extra == 0 {
            let expected: BTreeMap<_, _> = records.questions().zip(opinions).collect();
            prop_assert_eq!(read, Ok(expected));
        } else {
            let found = asked + extra;
            prop_assert_eq!(read, Err(JudgementError::Count { found, asked }));
        }
    }

    /// What a history says about any moment is what the last decision before it said.
    #[test]
    fn a_history_reads_back_at_any_moment(
        decisions in prop::collection::vec(any_decision(), 1..6),
        before in 0u64..3,
    ) {
        let (file, held, _) = written(decisions);
        for (index, decision) in held.iter().enumerate() {
            let until = held.get(index + 1).map(|next| next.at);
            let expected = Ok(Moment { decision: decision.clone(), until });
            for at in [decision.at, Timestamp(decision.at.0 + 9)] {
                prop_assert_eq!(history::at(&[&file], at), expected.clone());
            }
        }
        let early = history::at(&[&file], Timestamp(99 - before));
        prop_assert_eq!(early, Err(HistoryError::TooEarly { begins: Timestamp(100) }));
    }

    /// A file that was cut off holds the decisions whose entries are whole; damage never panics.
    #[test]
    fn a_history_that_was_cut_off_ends_there(
        decisions in prop::collection::vec(any_decision(), 1..4),
        at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let (mut file, held, ends) = written(decisions);
        for cut in 0..=file.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let sound = history::sound_length(&file[..cut]);
            prop_assert_eq!(sound, whole.checked_sub(1).map_or(0, |last| ends[last]));
            let read = history::at(&[&file[..cut]], Timestamp(u64::MAX));
            let last = whole.checked_sub(1).map(|last| held[last].clone());
            prop_assert_eq!(read.ok().map(|moment| moment.decision), last);
        }
        let at = at.index(file.len());
        file[at] ^= flip;
        let whole = ends.iter().filter(|end| **end <= at).count();
        prop_assert_eq!(history::sound_length(&file), whole.checked_sub(1).map_or(0, |last| ends[last]));
    }
}

#[test]
fn the_same_decision_is_written_once() {
    let mut writer = Writer::default();
    assert!(writer.write(decision("a")).unwrap().is_whole);
    let again = Decision {
        at: Timestamp(2),
        ..decision("a")
    };
    assert_eq!(writer.write(again), None);
    assert!(!writer.write(decision("b")).unwrap().is_whole);
}

#[test]
fn a_file_can_begin_again_now_and_then() {
    let mut writer = Writer::default();
    let (mut files, mut longest) = (vec![Vec::new()], 0);
    for n in 0..8000_u64 {
        let next = Decision {
            at: Timestamp(n),
            ..decision(&format!("n{n}"))
        };
        let entry = writer.write(next).unwrap();
        if entry.is_whole && n > 0 {
            files.push(Vec::new());
        }
        files.last_mut().unwrap().extend(entry.bytes);
        longest = longest.max(files.last().unwrap().len());
    }
    assert!(files.len() > 2, "{}", files.len());
    assert!(longest < 300 * 1024, "{longest}");
    // Each stands alone.
    let last = files.last().unwrap();
    let moment = history::at(&[last], Timestamp(u64::MAX)).unwrap();
    assert_eq!(moment.decision.at, Timestamp(7999));
    let all: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let moment = history::at(&all, Timestamp(7)).unwrap();
    let expected = Decision {
        at: Timestamp(7),
        ..decision("n7")
    };
    assert_eq!(
        (moment.decision, moment.until),
        (expected, Some(Timestamp(8)))
    );
    assert_eq!(history::at(&[], Timestamp(1)), Err(HistoryError::Empty));
}

#[test]
fn a_reason_is_one_short_line() {
    let long = Reason::new(&"\u{1b}[31mé\n".repeat(100));
    assert!(long.as_str().len() <= Reason::MAX_LEN);
    assert!(!long.as_str().chars().any(char::is_control));
    assert_eq!(Reason::new(" a ").as_str(), "a");
}

#[test]
fn records_of_another_order_are_refused() {
    let mut bytes = decision("a").records.encode();
    assert!(Records::decode(&bytes).is_ok());
    // Version 2.
    bytes[1] = 2;
    assert!(Records::decode(&bytes).is_err());
}
