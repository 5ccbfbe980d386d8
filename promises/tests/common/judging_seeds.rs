//! Fixed decisions for tests, and the seeds of the fuzz corpora made of them.
// Each test program uses a part of it; helpers of tests may panic as the tests do.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use grid_keys::NodeId;
use grid_promises::network::NetworkId;
use grid_promises::network::accept::{self, Action, Rule};
use grid_promises::network::history::{self, Decision, Writer};
use grid_promises::network::judgement::{self, Opinion, Reason};
use grid_promises::network::records::{Here, Promised, Records};
use grid_promises::{ContentId, Timestamp};

/// One input: its target, its name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let plain = decision("a").records;
    for (name, records) in [("one-member", plain), ("everything", full())] {
        let yes = judgement(&records, 0);
        seeds.push(("records", name.to_owned(), judged(&records, &[])));
        seeds.push(("records", format!("{name}-judged"), judged(&records, &yes)));
        let more = judged(&records, &judgement(&records, 1));
        seeds.push(("records", format!("{name}-judged-too-much"), more));
    }
    let file = history();
    let cut = file[..file.len() - 3].to_vec();
    seeds.push(("history", "three-entries".to_owned(), file.clone()));
    seeds.push(("history", "cut".to_owned(), cut));
    // Changes to what is not there.
    let first = usize::try_from(u32::from_be_bytes(*file.first_chunk().unwrap())).unwrap();
    seeds.push((
        "history",
        "no-beginning".to_owned(),
        file[first + 12..].to_vec(),
    ));
    seeds
}

/// The form of the target `records`.
fn judged(records: &Records, judgement: &[u8]) -> Vec<u8> {
    let bytes = records.encode();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend(bytes);
    out.extend(judgement);
    out
}

fn judgement(records: &Records, extra: usize) -> Vec<u8> {
    let opinion = |index: usize| Opinion {
        accepts: !index.is_multiple_of(3),
        why: Reason::new(&format!("number {index}")),
    };
    let count = records.questions().count() + extra;
    judgement::encode(&(0..count).map(opinion).collect::<Vec<_>>())
}

/// Three decisions: the first whole, then what changed.
fn history() -> Vec<u8> {
    let mut writer = Writer::default();
    let mut file = Vec::new();
    let full = Decision {
        lines: history::lines(&accept::decide(&full(), None)),
        records: full(),
        judge: Some(ContentId::of(b"a judge")),
        failure: Some(Reason::new("it loops")),
        at: Timestamp(3),
    };
    for next in [decision("a"), full, decision("b")] {
        file.extend(writer.write(next).unwrap().bytes);
    }
    file
}

pub fn network(n: u8) -> NetworkId {
    NetworkId(ContentId::of(&[n]))
}

/// A decision about one member that promises nothing but its addresses.
pub fn decision(label: &str) -> Decision {
    let here = Here {
        network: network(1),
        ipv4: "10.7.0.0/16".parse().unwrap(),
        ipv6: "fd00:7::/64".parse().unwrap(),
        own: NodeId([9; 32]),
        rules: vec![],
        connected: [].into(),
        others: [].into(),
    };
    let records = Records {
        here,
        members: [(NodeId([1; 32]), promised(label, 1, &[]))].into(),
    };
    Decision {
        at: Timestamp(1),
        judge: None,
        failure: None,
        lines: history::lines(&accept::decide(&records, None)),
        records,
    }
}

fn promised(label: &str, host: u8, prefixes: &[&str]) -> Promised {
    Promised {
        label: label.parse().unwrap(),
        ipv4: [10, 7, 0, host].into(),
        ipv6: format!("fd00:7::{host}").parse().unwrap(),
        held_by: None,
        prefixes: prefixes
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect(),
    }
}

/// Records in which every field has something.
fn full() -> Records {
    let rule = |action, prefix: &str, from| Rule {
        action,
        prefix: prefix.parse().unwrap(),
        from,
    };
    let mut records = decision("a").records;
    let one = NodeId([1; 32]);
    records.here.rules = vec![
        rule(Action::Accept, "192.168.7.0/24", Some(one)),
        rule(Action::Reject, "::/0", None),
    ];
    records.here.connected = ["192.168.1.0/24".parse().unwrap()].into();
    let ranges = (
        "10.8.0.0/16".parse().unwrap(),
        "fd00:8::/64".parse().unwrap(),
    );
    records.here.others = [(network(2), ranges)].into();
    let subnets = ["0.0.0.0/0", "192.168.1.0/25", "192.168.7.0/24", "fd01::/48"];
    records.members = [
        (one, promised("gateway-a", 1, &subnets)),
        (
            NodeId([2; 32]),
            Promised {
                held_by: Some(one),
                ..promised("b", 1, &["10.8.1.0/24", "192.168.7.0/24"])
            },
        ),
    ]
    .into();
    records
}
