//! `grid status [NET]`: what is promised, accepted and kept; for people in aligned lines, with no colours
//! and nothing that a pipe would have to strip.

use std::fmt::Write as _;
use std::io::{self, Write};

use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::node::status::{BrokenReport, ClockReport, NetworkReport, PeerReport, StatusReport};
use crate::node::{NodeHandle, Progress};
use crate::store::{Loaded, Store};
use crate::symbols;
use crate::values::units::{bytes, span};
use crate::values::{moment, text};

/// Show this node's networks and peers: what is promised, accepted and kept
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this network
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    net: Option<NetworkName>,
}

impl Args {
    /// Of one network, or of all.
    #[must_use]
    pub const fn of(net: Option<NetworkName>) -> Self {
        Self { net }
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if let Some(client) = Client::connect(caller.home())? {
            return asking::ask_through(client, caller, &self);
        }
        let mut report = idle(caller.home())?.ok_or_else(|| asking::no_server(caller))?;
        if let Some(net) = &self.net {
            report.only(net)?;
        }
        caller.show(&report)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::STATUS;
    type Report = StatusReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<StatusReport> {
        let mut status = node.measured_status().await?;
        status.home = Some(node.home().path().display().to_string());
        if let Some(net) = &self.net {
            status.only(net)?;
        }
        // Without its name, a judge is shown by its id.
        let _ = name_judges(&mut status.networks, node.home());
        Ok(status)
    }
}

/// Adds the names that stand for the judges of these networks.
///
/// # Errors
/// The table of names cannot be read.
fn name_judges(networks: &mut [NetworkReport], home: &Home) -> Outcome {
    let mut judged = networks
        .iter_mut()
        .filter(|network| network.judge.is_some());
    let Some(first) = judged.next() else {
        return Ok(());
    };
    let symbols = symbols::open(home, &Store::look(home).config()?)?;
    for network in std::iter::once(first).chain(judged) {
        let code = network.judge.as_ref().and_then(|id| id.parse().ok());
        network.judge_name = match code {
            Some(code) => symbols::name_of(&symbols, &code)?,
            None => None,
        };
    }
    Ok(())
}

/// The status of a home without a server, if that is how it should be: it is in no network.
///
/// # Errors
/// It cannot be read, or the person probably means another home.
fn idle(home: &Home) -> Outcome<Option<StatusReport>> {
    if home.is_beside_the_machines() {
        return Ok(None);
    }
    if home.is_named() && !home.path().exists() {
        return Err(Failure::new(
            Exit::NoServer,
            format!(
                "there is no {}; check --home and GRID_HOME",
                home.path().display()
            ),
        ));
    }
    let store = Store::look(home);
    let mut report = StatusReport {
        home: Some(home.path().display().to_string()),
        ..StatusReport::default()
    };
    for loaded in store.networks()? {
        match loaded {
            Loaded::Whole(stored) if stored.record.is_left() => {
                report.left.push(stored.record.name().to_string());
            }
            Loaded::Whole(_) => return Ok(None),
            Loaded::Broken { name, error } => report.broken.push(BrokenReport {
                name,
                error: error.to_string(),
            }),
        }
    }
    if let Some(key) = store.node_key()? {
        report.node = key.id().to_string();
    }
    Ok(Some(report))
}

impl Report for StatusReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let believed = self.clock.map(|clock| clock.believed);
        let now = believed.unwrap_or_else(|| moment::now().0);
        out.write_all(status_at(self, now).as_bytes())
    }
}

fn status_at(report: &StatusReport, now: u64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if !report.node.is_empty() {
        let _ = writeln!(text, "node {}", report.node);
    }
    if let Some(why) = &report.unwritable {
        let _ = writeln!(
            text,
            "the home takes no changes: {why}; {}",
            advice::takes_changes_again()
        );
    }
    if let Some(clock) = report.clock.filter(ClockReport::is_wrong) {
        let way = if clock.ahead > 0 {
            "ahead of"
        } else {
            "behind"
        };
        let _ = writeln!(
            text,
            "this machine's clock is {} {way} the time that this node believes; {}",
            span(clock.ahead.unsigned_abs()),
            advice::sets_the_clock()
        );
    }
    if let Some(contradicted) = report.clock.and_then(|clock| clock.contradicted()) {
        let _ = writeln!(text, "{contradicted}");
    }
    for network in &report.networks {
        text.push('\n');
        write_network(&mut text, network, now);
    }
    for broken in &report.broken {
        let _ = writeln!(text, "\n{}: not started: {}", broken.name, broken.error);
    }
    if !report.left.is_empty() {
        let _ = writeln!(
            text,
            "\nleft: {} ({})",
            report.left.join(", "),
            advice::join_again()
        );
    }
    if report.networks.is_empty() && report.broken.is_empty() {
        let _ = writeln!(
            text,
            "This node{} is in no network. {}.",
            home_of(report),
            advice::founds_or_joins()
        );
    }
    text
}

/// Whose home it is that was asked for: root has another than the user.
fn home_of(report: &StatusReport) -> String {
    let home = report.home.as_ref();
    home.map(|home| format!(" ({home})")).unwrap_or_default()
}

/// Through whom everything goes that no other route is for.
fn exits(network: &NetworkReport) -> impl Iterator<Item = String> {
    let is_default = |prefix: &&String| prefix.ends_with("/0");
    network.peers.iter().flat_map(move |peer| {
        let accepted = peer.accepted.iter().filter(is_default);
        accepted.map(|prefix| format!("{prefix} through {}", peer.name))
    })
}

fn write_network(text: &mut String, network: &NetworkReport, now: u64) {
    let _ = writeln!(text, "{}", network.name);
    let standing = match (network.standing.as_str(), &network.why) {
        ("joining", _) => "joining: looking for members".to_owned(),
        ("waiting", _) => match &network.code {
            Some(code) => format!("waiting for an owner to accept this node, whose code is {code}"),
            None => "waiting for an owner to admit this node".to_owned(),
        },
        ("expelled", Some(why)) => format!("no longer a member: {why}"),
        (standing, _) => format!("{standing}{}", if network.owner { ", owner" } else { "" }),
    };
    let backend = match &network.backend_reason {
        Some(reason) => format!("{} ({reason})", network.backend),
        None => network.backend.clone(),
    };
    let about = format!(", UDP {}, {backend}", network.listen_port);
    let mut rows = vec![
        ("id", network.id.clone()),
        ("standing", standing),
        ("admission", network.admission.clone()),
        (
            "interface",
            match &network.netns {
                Some(netns) => format!("{} in the namespace {netns}{about}", network.interface),
                None => format!("{}{about}", network.interface),
            },
        ),
        (
            "addresses",
            match network.addresses.as_slice() {
                [] => "none yet".to_owned(),
                addresses => addresses.join(", "),
            },
        ),
    ];
    if network.owner && !network.recovery_key {
        rows.push((
            "recovery",
            "none: if the founder's key is lost, nobody can replace it".to_owned(),
        ));
    }
    if let Some(problem) = &network.problem {
        rows.push(("problem", problem.clone()));
    }
    rows.extend(network.hint.iter().map(|hint| ("problem", hint.clone())));
    rows.extend(exits(network).map(|exit| ("exit", exit)));
    if !network.promised.is_empty() {
        rows.push(("promises", network.promised.join(", ")));
    }
    rows.extend(network.rules.iter().map(|rule| ("rule", rule.clone())));
    rows.extend(network.judge.iter().map(|judge| {
        let judge = match &network.judge_name {
            Some(name) => format!("{name} ({judge})"),
            None => judge.clone(),
        };
        ("judge", judge)
    }));
    if let Some(why) = &network.judge_failure {
        rows.push(("", format!("it failed: {why}; its earlier verdicts stand")));
    }
    if let Some(lack) = &network.lack {
        rows.push(("damaged", lack.clone()));
    }
    for node in &network.forked {
        let mut offices = network.owners.iter();
        let name = offices.find(|office| office.node == *node && !office.name.is_empty());
        let who = match name {
            Some(office) => format!("{} ({})", office.name, short(node)),
            None => short(node),
        };
        let branches = advice::are_branches(&network.name, &short(node), network.recovery_key);
        rows.push(("branches", format!("{who}: {branches}")));
    }
    if network.awaited > 0 {
        rows.push(("incomplete", advice::awaits_acts(network.awaited)));
    }
    if let Some(elsewhere) = &network.elsewhere {
        rows.push(("copy", elsewhere.why.clone()));
    }
    for moved in &network.moves {
        rows.push((
            "moved",
            format!(
                "from {} to {}, {} ago: {} has the older claim",
                moved.from,
                moved.to,
                span(now.saturating_sub(moved.at)),
                short(&moved.holder)
            ),
        ));
    }
    // Members pass such requests on, and admit nobody.
    for asking in network.asking.iter().filter(|_| network.owner) {
        rows.push((
            "asks",
            format!(
                "{} with the code {}; {}",
                asking.name,
                asking.code,
                advice::admits(&network.name, &asking.code)
            ),
        ));
    }
    for expected in &network.expected {
        let left = span(expected.until.saturating_sub(now));
        rows.push((
            "expects",
            format!("the code {}, for another {left}", expected.code),
        ));
    }
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:9}  {value}");
    }
    write_peers(text, &network.peers, now);
}

fn write_peers(text: &mut String, peers: &[PeerReport], now: u64) {
    if peers.is_empty() {
        let _ = writeln!(text, "  no other members");
        return;
    }
    let mut table = vec![
        [
            "PEER",
            "NODE",
            "ADDRESS",
            "PATH",
            "HANDSHAKE",
            "RECEIVED",
            "SENT",
            "PROMISED",
            "ACCEPTED",
            "KEPT",
        ]
        .map(str::to_owned),
    ];
    let mut peers: Vec<&PeerReport> = peers.iter().collect();
    peers.sort_by_key(|peer| (&peer.name, &peer.node));
    table.extend(peers.iter().map(|peer| row(peer, now)));
    let mut widths = [0; 10];
    for row in &table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &table {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for peer in peers {
        for refused in &peer.refused {
            let _ = writeln!(
                text,
                "  {} promises {}, not accepted: {}",
                peer.name, refused.prefix, refused.why
            );
        }
    }
}

fn row(peer: &PeerReport, now: u64) -> [String; 10] {
    [
        peer.name.clone(),
        short(&peer.node),
        peer.addresses.join(","),
        match &peer.endpoint {
            Some(endpoint) => format!("{endpoint} ({})", peer.path),
            None => peer.path.clone(),
        },
        match peer.latest_handshake {
            Some(at) => format!("{} ago", span(now.saturating_sub(at))),
            None => "never".to_owned(),
        },
        bytes(peer.rx_bytes),
        bytes(peer.tx_bytes),
        peer.promised.len().to_string(),
        peer.accepted.len().to_string(),
        match peer.kept.reachable {
            Some(true) => "answers".to_owned(),
            Some(false) => "no answer".to_owned(),
            None => "unknown".to_owned(),
        },
    ]
}

fn short(node: &str) -> String {
    node.chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::node::status::{
        AskingReport, ExpectedReport, KeptReport, MoveReport, OwnerReport, RefusedReport,
    };

    fn peer(name: &str, handshake: Option<u64>) -> PeerReport {
        PeerReport {
            node: format!("{name}aaaaaaaaaaaaaaaaaaaa"),
            name: name.to_owned(),
            addresses: ["10.9.0.2", "fd00::2"].map(str::to_owned).into(),
            public_key: "k".to_owned(),
            endpoint: handshake.map(|_| "192.0.2.12:51820".to_owned()),
            path: "local".to_owned(),
            allowed_ips: Vec::new(),
            latest_handshake: handshake,
            rx_bytes: 148,
            tx_bytes: 5_600_000,
            promised: ["10.9.0.2/32", "fd00::2/128", "8.8.8.8/32"]
                .map(str::to_owned)
                .into(),
            accepted: ["10.9.0.2/32", "fd00::2/128"].map(str::to_owned).into(),
            refused: vec![RefusedReport {
                prefix: "8.8.8.8/32".to_owned(),
                why: "no local rule accepts it".to_owned(),
            }],
            kept: KeptReport {
                reachable: handshake.map(|_| true),
                ..KeptReport::default()
            },
            expires: 0,
        }
    }

    fn network() -> NetworkReport {
        NetworkReport {
            name: "foo".to_owned(),
            id: "bafy".to_owned(),
            interface: "foo".to_owned(),
            backend: "userspace".to_owned(),
            backend_reason: None,
            netns: None,
            listen_port: 51820,
            addresses: ["10.9.0.1/16", "fd00::1/64"].map(str::to_owned).into(),
            up: true,
            public_key: None,
            standing: "member".to_owned(),
            why: None,
            admission: "approve".to_owned(),
            owner: true,
            recovery_key: false,
            owners: Vec::new(),
            promised: Vec::new(),
            rules: vec!["reject ::/0".to_owned()],
            judge: None,
            judge_name: None,
            judge_failure: None,
            awaited: 0,
            elsewhere: None,
            moves: vec![MoveReport {
                at: 940,
                from: "10.9.0.7".to_owned(),
                to: "10.9.0.1".to_owned(),
                holder: "hhhhhhhhhhhhhhhh".to_owned(),
            }],
            asking: vec![AskingReport {
                node: "nnnn".to_owned(),
                name: "newcomer".to_owned(),
                code: "4K7J-2M3P-QR8T".to_owned(),
            }],
            code: None,
            expected: vec![ExpectedReport {
                code: "0000-0000-0001".to_owned(),
                until: 1030,
            }],
            problem: None,
            lack: None,
            forked: Vec::new(),
            hint: None,
            peers: vec![peer("b", Some(995)), peer("longer", None)],
            labels: std::collections::BTreeMap::new(),
        }
    }

    /// The names of all fields, wherever they are.
    fn fields(value: &serde_json::Value, names: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (name, value) in object {
                    names.insert(name.clone());
                    fields(value, names);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, names)),
            _ => {}
        }
    }

    #[test]
    fn the_page_names_every_field() {
        let some = || Some("x".to_owned());
        let network = NetworkReport {
            backend_reason: some(),
            netns: some(),
            code: some(),
            public_key: some(),
            why: some(),
            judge: some(),
            judge_name: some(),
            judge_failure: some(),
            lack: some(),
            problem: some(),
            hint: some(),
            ..network()
        };
        let report = StatusReport {
            unwritable: None,
            home: some(),
            clock: Some(ClockReport {
                believed: 1000,
                ahead: 0,
                confirmed: true,
                ahead_of_members: Some(0),
            }),
            node: "own".to_owned(),
            networks: vec![network],
            left: vec!["old".to_owned()],
            broken: vec![BrokenReport {
                name: "bad".to_owned(),
                error: "x".to_owned(),
            }],
        };
        let mut names = BTreeSet::new();
        fields(&serde_json::to_value(&report).unwrap(), &mut names);
        let page = include_str!("../../docs/cli.md");
        let section = page
            .split("\n## ")
            .find(|part| part.starts_with("Status as JSON"));
        let section = section.unwrap();
        for name in names {
            let is_named = [format!("\"{name}\":"), format!("`{name}`")];
            assert!(is_named.iter().any(|form| section.contains(form)), "{name}");
        }
    }

    #[test]
    fn a_wrong_clock_is_named_and_one_that_is_a_little_off_is_not() {
        let said = |ahead| {
            let clock = ClockReport {
                believed: 1000,
                ahead,
                confirmed: true,
                ahead_of_members: None,
            };
            let report = StatusReport {
                clock: Some(clock),
                ..StatusReport::default()
            };
            status_at(&report, 1000)
        };
        assert!(said(10800).starts_with("this machine's clock is 3h00m ahead of the time"));
        assert!(
            said(-10800).contains("3h00m behind the time"),
            "{}",
            said(-10800)
        );
        assert!(!said(300).contains("clock"));
    }

    #[test]
    fn what_members_say_against_the_clock_is_shown() {
        let said = |ahead| {
            let clock = ClockReport {
                believed: 1000,
                ahead: 0,
                confirmed: false,
                ahead_of_members: Some(ahead),
            };
            clock.contradicted().unwrap()
        };
        assert!(said(7200).starts_with("members say that it is 2h00m earlier than this machine's"));
        assert!(said(-400).contains("later than"), "{}", said(-400));
        let report = StatusReport {
            clock: Some(ClockReport {
                believed: 1000,
                ahead: 0,
                confirmed: false,
                ahead_of_members: Some(7200),
            }),
            ..StatusReport::default()
        };
        assert!(status_at(&report, 1000).contains(&said(7200)));
    }

    #[test]
    fn what_may_be_missing_and_branches_are_shown() {
        let owner = OwnerReport {
            node: format!("b{}", "x".repeat(20)),
            name: "b".to_owned(),
            office: "0b".to_owned(),
            depth: 2,
            above: None,
            since: Some(5),
            live: true,
            acts: 2,
            heads: vec!["0c".to_owned(), "0d".to_owned()],
        };
        let shown = |network: NetworkReport| {
            let report = StatusReport {
                networks: vec![network],
                ..StatusReport::default()
            };
            status_at(&report, 1000)
        };
        let plain = shown(network());
        for word in ["damaged", "branches"] {
            assert!(!plain.contains(word), "{plain}");
        }
        let text = shown(NetworkReport {
            lack: Some("statements is cut".to_owned()),
            forked: vec![owner.node.clone()],
            owners: vec![owner],
            ..network()
        });
        assert!(
            text.contains("\n  damaged    statements is cut\n"),
            "{text}"
        );
        let line = "\n  branches   b (bxxxxxxxxx): two branches of its acts are known";
        assert!(text.contains(line), "{text}");
        let ends =
            "`grid dismiss-owner foo bxxxxxxxxx --restate --dry-run` on an owner above it says";
        assert!(text.contains(ends), "{text}");
    }

    #[test]
    fn only_an_owner_is_told_how_to_admit() {
        let report = |owner| StatusReport {
            networks: vec![NetworkReport { owner, ..network() }],
            ..StatusReport::default()
        };
        assert!(status_at(&report(true), 1000).contains("\n  asks "));
        assert!(!status_at(&report(false), 1000).contains("\n  asks "));
    }

    #[test]
    fn status_is_aligned_and_says_why_not() {
        let report = StatusReport {
            unwritable: None,
            home: None,
            clock: None,
            node: "own".to_owned(),
            networks: vec![network()],
            left: vec!["old".to_owned()],
            broken: vec![BrokenReport {
                name: "bad".to_owned(),
                error: "x is damaged".to_owned(),
            }],
        };
        assert_eq!(
            status_at(&report, 1000),
            "\
node own

foo
  id         bafy
  standing   member, owner
  admission  approve
  interface  foo, UDP 51820, userspace
  addresses  10.9.0.1/16, fd00::1/64
  recovery   none: if the founder's key is lost, nobody can replace it
  rule       reject ::/0
  moved      from 10.9.0.7 to 10.9.0.1, 1m00s ago: hhhhhhhhhh has the older claim
  asks       newcomer with the code 4K7J-2M3P-QR8T; `grid accept foo 4K7J-2M3P-QR8T` admits it
  expects    the code 0000-0000-0001, for another 30s
  PEER    NODE        ADDRESS           PATH                      HANDSHAKE  RECEIVED  SENT     PROMISED  ACCEPTED  KEPT
  b       baaaaaaaaa  10.9.0.2,fd00::2  192.0.2.12:51820 (local)  5s ago     148 B     5.3 MiB  3         2         answers
  longer  longeraaaa  10.9.0.2,fd00::2  local                     never      148 B     5.3 MiB  3         2         unknown
  b promises 8.8.8.8/32, not accepted: no local rule accepts it
  longer promises 8.8.8.8/32, not accepted: no local rule accepts it

bad: not started: x is damaged

left: old (`grid join-wireguard-net NET` joins it again)
"
        );
    }

    #[test]
    fn an_empty_status_says_what_to_do_next() {
        let text = status_at(&StatusReport::default(), 0);
        assert!(text.contains("grid create-wireguard-net"), "{text}");
    }
}
