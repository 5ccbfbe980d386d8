//! What decides about promises: records, judgements of them, and histories of decisions.

use grid_promises::Timestamp;
use grid_promises::network::accept;
use grid_promises::network::history::{self, Decision, Writer};
use grid_promises::network::judgement::{self, Reason};
use grid_promises::network::records::Records;

use crate::promises::Target;

/// All targets of this file.
pub const TARGETS: &[Target] = &[("records", records), ("history", history)];

/// A first length of two bytes says how much of the rest are records; what follows is a judgement of
/// them. Records encode to the bytes that they were read from; a judgement answers all their questions;
/// what no rule can accept is not accepted, whatever the judge says.
pub fn records(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (bytes, judgement) = rest.split_at(length);
    let Ok(records) = Records::decode(bytes) else {
        return;
    };
    assert_eq!(records.encode(), bytes);
    let verdicts = accept::decide(&records, None);
    let count: usize = verdicts.values().map(Vec::len).sum();
    assert_eq!(count, records.questions().count());
    let Ok(opinions) = judgement::read(judgement, &records) else {
        return;
    };
    // A node that promises a prefix twice asks about it twice.
    assert!(opinions.len() <= count);
    let judged = accept::decide(&records, Some(&opinions));
    for (node, prefix) in records.questions() {
        let opinion = &opinions[&(node, prefix)];
        assert!(opinion.why.as_str().len() <= Reason::MAX_LEN);
        let verdict = judged[&node]
            .iter()
            .find(|verdict| verdict.prefix == prefix);
        let accepted = verdict.is_some_and(|verdict| verdict.verdict.is_ok());
        assert!(!accepted || opinion.accepts);
    }
}

/// Files are read to their last sound entry, alone and one after the other; what was read can be
/// written again, and reads as it was.
pub fn history(data: &[u8]) {
    let sound = history::sound_length(data);
    assert_eq!(history::sound_length(&data[..sound]), sound);
    let end = Timestamp(u64::MAX);
    let read = history::at(&[data], end);
    assert_eq!(history::at(&[&data[..sound]], end), read);
    assert_eq!(history::at(&[data, &data[sound..]], end), read);
    let _ = history::at(&[data], Timestamp(1));
    if let Ok(moment) = read {
        let decision = Decision {
            lines: moment.decision.decide_again(None),
            ..moment.decision
        };
        let entry = Writer::default().write(decision.clone());
        let entry = entry.map(|entry| entry.bytes).unwrap_or_default();
        let again = history::at(&[&entry], end).map(|moment| moment.decision);
        assert_eq!(again, Ok(decision));
    }
}
