//! Networks whose owner accepts each node: by the code that both see, before and after the node asks.

use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use grid_promises::network::NetworkId;
use grid_promises::network::code::Code;
use ipnet::IpNet;

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::tap::QUIC_PORT;
use crate::wait::{wait_for, wait_until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "an_owner_admits_by_the_code_that_the_newcomer_shows",
        run: by_code,
    },
    Scenario {
        name: "an_admission_is_carried_to_its_node",
        run: carried,
    },
];

const FOUND: [&str; 4] = ["create-wireguard-net", "foo", "--admission", "approve"];
const JOIN: [&str; 4] = ["join-wireguard-net", "foo", "--wait", "60s"];

fn by_code(lab: &Lab) -> Result<()> {
    let (a, b, c) = (lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?);
    a.grid_ok(&FOUND, "")?;
    exchange(&b, &a)?;
    let said = thread::scope(|scope| {
        let join = scope.spawn(|| b.grid(&JOIN));
        let shown = wait_for("b to show its code", PATIENCE, || {
            let status = seen::status(&b, "foo");
            let code = status
                .ok()
                .map(|status| status["networks"][0]["code"].clone());
            Ok(code.and_then(|code| code.as_str().map(str::to_owned)))
        });
        let admitted = shown.and_then(|code| {
            wait_until("a to list that code", PATIENCE, || {
                let asking = &seen::status(&a, "foo")?["networks"][0]["asking"];
                Ok(asking[0]["code"] == code.as_str() && asking[1].is_null())
            })?;
            ensure!(a.grid_ok(&["status", "foo"], "")?.contains(&code));
            // Whatever the case, and without the hyphens.
            let typed = code.to_ascii_lowercase().replace('-', "");
            a.grid_ok(&["accept", "foo", &typed], "")?;
            Ok(code)
        });
        let joined = join
            .join()
            .map_err(|_| anyhow::anyhow!("the join panicked"))??;
        let said = String::from_utf8_lossy(&joined.stderr).into_owned();
        ensure!(joined.status.success(), "{said}");
        Ok(said.contains(&admitted?))
    })?;
    ensure!(said, "the join did not say the code");
    accepted_before(&a, &c)
}

/// The owner accepts the code of c, and is killed, before c has ever asked.
fn accepted_before(a: &Node, c: &Arc<Node>) -> Result<()> {
    let network: NetworkId = NetworkId(seen::network(a, "foo")?.id.parse()?);
    c.grid_ok(&["generate-keys"], "")?;
    let code = Code::of(&network, &seen::identity_of(c)?.parse()?).to_string();
    let said = a.grid_ok(&["accept", "foo", &code], "")?;
    ensure!(said.contains("within an hour"), "{said}");
    server::kill_9(a)?;
    seen::start(a)?;
    let expected = &seen::status(a, "foo")?["networks"][0]["expected"];
    ensure!(expected[0]["code"] == code.as_str(), "{expected}");
    exchange(c, a)?;
    c.grid_ok(&JOIN, "")?;
    let status = seen::status(a, "foo")?;
    let expected = status["networks"][0]["expected"].as_array();
    ensure!(expected.is_some_and(Vec::is_empty), "{status}");
    Ok(())
}

/// b knows nobody, and c waits already. Neither can use the other's admission.
fn carried(lab: &Lab) -> Result<()> {
    let (a, b, c) = (lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?);
    a.grid_ok(&FOUND, "")?;
    exchange(&c, &a)?;
    seen::refused(&c, &["join-wireguard-net", "foo", "--wait", "2s"], "", &[5])?;
    b.grid_ok(&["generate-keys"], "")?;
    let print = |node: &Node| {
        let id = seen::identity_of(node)?;
        a.grid_ok(&["accept", "foo", &id, "--print"], "")
    };
    let text = print(&b)?;
    let take = ["join-wireguard-net", "foo", "-"];
    let said = seen::refused(&c, &take, &text, &[4])?;
    ensure!(said.contains(&seen::identity_of(&b)?), "{said}");
    ensure!(seen::status(&c, "foo")?["networks"][0]["standing"] == "waiting");
    b.grid_ok(&take, &text)?;
    let before = seen::status(&c, "foo")?["networks"][0]["listen_port"].clone();
    c.grid_ok(&take, &print(&c)?)?;
    let after = seen::status(&c, "foo")?["networks"][0].clone();
    ensure!(
        after["standing"] == "member" && after["listen_port"] == before,
        "{after}"
    );
    server::kill_9(&c)?;
    seen::start(&c)?;
    for (from, to) in [(&a, &b), (&b, &c), (&c, &a)] {
        let address: IpNet = seen::identity(to, "foo")?
            .addresses
            .first()
            .context("no address")?
            .parse()?;
        seen::reaches(from, address.addr(), PATIENCE)?;
    }
    Ok(())
}

fn exchange(from: &Node, to: &Node) -> Result<()> {
    let place = format!("{}:{QUIC_PORT}", to.ipv4()?);
    from.grid_ok(&["exchange-keys", &place], "")
        .map(drop)
        .context("no peer")
}
