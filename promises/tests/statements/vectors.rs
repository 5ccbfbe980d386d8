//! The wire format, pinned: fixed keys give these bytes. Whoever changes one of them changes the
//! protocol, and `docs/wire.md` with it.

use grid_promises::network::AdmissionRule;
use grid_promises::network::code::Code;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::Ipv6Claim;
use grid_promises::network::statement::Kind;

use crate::common::{INVITES, Net, T0, key, one_of_each};

const fn pinned(kind: Kind) -> &'static str {
    match kind {
        Kind::Charter => include_str!("../vectors/charter.hex"),
        Kind::Grant => include_str!("../vectors/grant.hex"),
        Kind::GrantUse => include_str!("../vectors/use.hex"),
        Kind::Member => include_str!("../vectors/member.hex"),
        Kind::Receipt => include_str!("../vectors/receipt.hex"),
        Kind::Request => include_str!("../vectors/request.hex"),
        Kind::Act => include_str!("../vectors/act.hex"),
        Kind::Trace => include_str!("../vectors/trace.hex"),
    }
}

#[test]
fn statements_have_the_pinned_bytes() {
    for (kind, bytes) in one_of_each() {
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        assert_eq!(hex, pinned(kind).trim_end(), "{kind:?}");
    }
}

/// For a change of the protocol: what is pinned is what the kit makes then.
#[test]
#[ignore = "writes the statements' vectors"]
#[allow(clippy::disallowed_methods)]
fn write_the_statements() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for (kind, bytes) in one_of_each() {
        let name = match kind {
            Kind::GrantUse => "use",
            Kind::Request => "request",
            Kind::Act => "act",
            Kind::Trace => "trace",
            Kind::Charter => "charter",
            Kind::Grant => "grant",
            Kind::Member => "member",
            Kind::Receipt => "receipt",
        };
        let line = data_encoding::HEXLOWER.encode(&bytes) + "\n";
        std::fs::write(folder.join(name).with_extension("hex"), line).unwrap();
    }
}

#[test]
fn an_invite_has_the_pinned_text() {
    let net = Net::new(AdmissionRule::Invite);
    let member = net.joined(&net.founder(), INVITES, 5, 1);
    let text = net.invite(&member, INVITES + 1, 1).to_text();
    let pinned = include_str!("../vectors/invite.txt");
    assert_eq!(*text, pinned.trim_end());
    assert!(Invite::from_text(pinned).is_ok());
}

/// Numbers and names that enter the signed bytes.
#[test]
fn kinds_keep_their_numbers_and_names() {
    let kinds: Vec<(u8, &str)> = Kind::ALL
        .iter()
        .map(|kind| (*kind as u8, kind.name()))
        .collect();
    assert_eq!(
        kinds,
        [
            (1, "charter"),
            (2, "invite grant"),
            (3, "invite use"),
            (4, "act"),
            (5, "member promise"),
            (6, "receipt"),
            (7, "admission request"),
            (8, "trace"),
        ]
    );
}

/// What follows from hashes: two nodes with other results could not talk to each other.
#[test]
fn derived_values_are_pinned() {
    let net = Net::new(AdmissionRule::Invite);
    let mut lines = vec![
        format!("network {}", net.id()),
        format!("founder {}", key(0).id()),
        format!("founder code {}", Code::of(&net.id(), &key(0).id())),
        format!("ipv6 prefix {}", net.charter.ipv6),
    ];
    for n in 0..2 {
        let id = key(n).id();
        let Ipv6Claim { address, modifier } = net.ipv6(&id);
        lines.push(format!("node {n} ipv6 {address} by {modifier}"));
        for k in [0, 1, 65_536] {
            lines.push(format!("node {n} candidate {k} {}", net.candidate(&id, k)));
        }
    }
    let founder = net.founder();
    let member = net.joined(&founder, INVITES, 5, 1);
    let mut ledger = net.ledger_of([&founder, &member]);
    let revocation = net.revoke(&net.admitted(2));
    ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    lines.push(format!(
        "root {}",
        data_encoding::HEXLOWER.encode(&ledger.root())
    ));
    lines.push(String::new());
    assert_eq!(lines.join("\n"), include_str!("../vectors/derived.txt"));
}

/// The page that describes the format names all that is signed or hashed, and every vector.
#[test]
fn the_page_names_all_of_it() {
    let page = include_str!("../../../docs/wire.md");
    for kind in Kind::ALL {
        let start = format!("| {} | `{}` |", *kind as u8, kind.name());
        let row = page.lines().find(|line| line.starts_with(&start)).unwrap();
        assert_eq!(row.ends_with("| yes |"), kind.is_state(), "{row}");
        let title = format!("### {} {}", *kind as u8, kind.name());
        assert!(page.contains(&title), "{title}");
    }
    for source in [
        include_str!("../../src/network/act.rs"),
        include_str!("../../src/network/address.rs"),
        include_str!("../../src/network/admission.rs"),
        include_str!("../../src/network/charter.rs"),
        include_str!("../../src/network/invite.rs"),
        include_str!("../../src/network/ledger.rs"),
        include_str!("../../src/network/membership.rs"),
        include_str!("../../src/network/rank.rs"),
        include_str!("../../src/network/uses.rs"),
        include_str!("../../src/network/view.rs"),
    ] {
        let domains = source.split('"').filter(|text| text.starts_with("grid/1 "));
        for domain in domains {
            assert!(page.contains(&format!("| `{domain}` |")), "{domain}");
        }
    }
}
