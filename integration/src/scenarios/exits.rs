//! Where routes through an interface go: everything through one member, other tables and metrics,
//! and interfaces in another network namespace. All of it ends with the promise or the network.

mod scene;
mod subnet;

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;
use grid_wg::ownership::PROTOCOL;
use ipnet::IpNet;

use self::scene::{Scene, is_our_rule, met_outside, same, seen_by, set};
use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::link;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::snapshot;
use crate::wait::wait_until;

const DEFAULTS: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// TEST-NET-2 of RFC 5737: unused in the lab.
const SUBNET: &str = "198.51.100.0/24";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "everything_goes_through_an_exit_but_the_tunnel_itself",
        run: |lab| exit(lab, "userspace"),
    },
    Scenario {
        name: "a_member_inside_a_subnet_that_is_accepted_stays_in_touch",
        run: subnet::run,
    },
    Scenario {
        name: "routes_go_where_they_are_told",
        run: tables,
    },
    Scenario {
        name: "an_interface_lives_in_another_namespace",
        run: |lab| namespace(lab, "userspace"),
    },
    Scenario {
        name: "an_interface_is_adopted_only_by_word",
        run: adopt,
    },
];

/// Run by this group in user space, and by the group `kernel` in the kernel.
pub(super) fn exit(lab: &Lab, backend: &str) -> Result<()> {
    let mut scene = Scene::new(lab, backend)?;
    scene.seen_directly()?;
    set(&scene.exit, "net/ipv4/ip_forward", "0")?;
    let said = scene.exit.grid_ok(&["promise", "foo", DEFAULTS[0]], "")?;
    ensure!(said.contains("net.ipv4.ip_forward"), "{said}");
    scene.make_forwarding()?;
    let said = scene.exit.grid_ok(&["promise", "foo", DEFAULTS[1]], "")?;
    ensure!(!said.contains("forward"), "{said}");
    scene.mesh.wait_whole(PATIENCE)?;
    // A promise alone changes nothing.
    scene.seen_directly()?;
    for prefix in DEFAULTS {
        let accept = ["accept", "foo", prefix, "--from", "exit"];
        scene.traveller.grid_ok(&accept, "")?;
    }
    strict_is_said(&scene)?;
    scene.seen_as_exit()?;
    what_is_near_stays_near(&scene)?;
    newcomers_are_met_outside(lab, &mut scene)?;
    rules_are_put_right(&scene)?;
    the_server_dies(&scene, backend)?;
    what_is_left_is_taken_down(&scene)?;
    ends(&mut scene)
}

/// A host with strict reverse path filtering drops the tunnel's answers, and is told so.
fn strict_is_said(scene: &Scene) -> Result<()> {
    let node = &scene.traveller;
    wait_until("`status` to say what is in the way", PATIENCE, || {
        let status = seen::status(node, "foo")?;
        let hint = status["networks"][0]["hint"].as_str().unwrap_or_default();
        Ok(hint.contains("rp_filter") && hint.contains("eth0"))
    })?;
    let shown = node.grid_ok(&["status", "foo"], "")?;
    ensure!(
        shown.contains("rp_filter") && shown.contains("0.0.0.0/0 through exit"),
        "{shown}"
    );
    set(node, "net/ipv4/conf/all/rp_filter", "2")
}

fn what_is_near_stays_near(scene: &Scene) -> Result<()> {
    let to = scene.neighbour.ipv4()?.into();
    let seen = seen_by(&scene.neighbour, &scene.traveller, to)?;
    ensure!(
        seen == Some(scene.traveller.ipv4()?.into()),
        "the neighbour sees {seen:?}"
    );
    Ok(())
}

/// A member that joins now is reached by QUIC and WireGuard outside of the tunnel: inside it,
/// packets to the exit would be sent to the exit for ever, and no session would come about.
fn newcomers_are_met_outside(lab: &Lab, scene: &mut Scene) -> Result<()> {
    let newcomer = lab.add_node("newcomer")?;
    scene.mesh.join(&newcomer)?;
    scene.mesh.wait_whole(PATIENCE)?;
    met_outside(scene, &[&newcomer, &scene.exit])?;
    scene.seen_as_exit()
}

fn rules_are_put_right(scene: &Scene) -> Result<()> {
    let node = &scene.traveller;
    let whole = snapshot::of(node)?;
    let removed = node.namespaces().in_net(|| -> io::Result<usize> {
        link::remove_rules(&mut Netlink::route()?, PROTOCOL)
    })??;
    ensure!(removed == 4, "{removed} rules were ours");
    wait_until("the rules to be put back", Duration::from_secs(4), || {
        Ok(snapshot::of(node)? == whole)
    })
    .with_context(|| node.server_log_tail(20))?;
    // By the guard, which calls it a foreign change, or with the next planned change.
    let said = node.server_log()?;
    ensure!(
        said.matches("lookup main suppress_prefixlength 0").count() >= 4,
        "{said}"
    );
    scene.seen_as_exit()
}

fn the_server_dies(scene: &Scene, backend: &str) -> Result<()> {
    server::kill_9(&scene.traveller)?;
    if backend == "userspace" {
        // The interface ends with the process, and the rules then lead to an empty table.
        scene.seen_directly()?;
    } else {
        scene.seen_as_exit()?;
    }
    seen::start(&scene.traveller)?;
    scene.mesh.wait_whole(PATIENCE)?;
    scene.seen_as_exit()
}

/// What a dead server leaves: rules and, in the kernel, the interface.
fn what_is_left_is_taken_down(scene: &Scene) -> Result<()> {
    let node = &scene.traveller;
    server::kill_9(node)?;
    ensure!(
        snapshot::of(node)?.iter().any(|line| is_our_rule(line)),
        "nothing was left"
    );
    node.grid_ok(&["stop-server", "--down"], "")?;
    same(node, &scene.before)?;
    scene.seen_directly()?;
    // It is still a member. And a server that runs is stopped first.
    seen::start(node)?;
    scene.mesh.wait_whole(PATIENCE)?;
    scene.seen_as_exit()?;
    node.grid_ok(&["stop-server", "--down"], "")?;
    same(node, &scene.before)?;
    seen::start(node)?;
    scene.mesh.wait_whole(PATIENCE)?;
    scene.seen_as_exit()
}

fn ends(scene: &mut Scene) -> Result<()> {
    let node = scene.traveller.clone();
    for prefix in DEFAULTS {
        scene.exit.grid_ok(&["withdraw", "foo", prefix], "")?;
    }
    scene.seen_directly()?;
    ensure!(
        !snapshot::of(&node)?.iter().any(|line| is_our_rule(line)),
        "rules are left"
    );
    for prefix in DEFAULTS {
        scene.exit.grid_ok(&["promise", "foo", prefix], "")?;
    }
    scene.seen_as_exit()?;
    scene.mesh.leave(&node)?;
    seen::stopped(&node)?;
    same(&node, &scene.before)?;
    scene.seen_directly()
}

/// The routes go into the table that was chosen, with the metric, and no rule leads there.
fn tables(lab: &Lab) -> Result<()> {
    let founder = lab.add_node("exit")?;
    let options = MeshOptions {
        backend: Some("userspace".to_owned()),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::found(&founder, "foo", options)?;
    for prefix in [SUBNET, DEFAULTS[0]] {
        founder.grid_ok(&["promise", "foo", prefix], "")?;
    }
    for (name, said, expected) in [
        ("numbered", &["--table", "4711", "--metric", "50"][..], 4),
        ("off", &["--table", "off"], 0),
    ] {
        let node = lab.add_node(name)?;
        let mut join = vec!["join-wireguard-net", "foo", "-", "--backend", "userspace"];
        join.extend(said);
        let before = snapshot::of(&node)?;
        node.grid_ok(&join, &mesh.invite_from(&founder)?)?;
        for prefix in [SUBNET, DEFAULTS[0]] {
            node.grid_ok(&["accept", "foo", prefix, "--from", "exit"], "")?;
        }
        // The network's own two prefixes, and the accepted one.
        let routes = || -> Result<usize> {
            let now = snapshot::of(&node)?;
            let made = now.difference(&before);
            let of_person = |line: &&String| {
                line.starts_with("route") && line.contains("4711") && line.contains("Priority(50)")
            };
            Ok(made.filter(of_person).count())
        };
        wait_until("the routes to be made", PATIENCE, || {
            let count = routes()?;
            let peer = &seen::network(&node, "foo")?.peers;
            let accepted = peer.iter().any(|peer| peer.allowed_ips.len() == 4);
            ensure!(accepted, "they are not accepted");
            ensure!(
                count == expected,
                "{count} routes in {:#?}",
                snapshot::of(&node)?
            );
            Ok(true)
        })?;
        let now = snapshot::of(&node)?;
        ensure!(
            !now.iter().any(|line| is_our_rule(line)),
            "rules were made: {now:#?}"
        );
        // It outlives the process.
        server::kill_9(&node)?;
        seen::start(&node)?;
        wait_until("the routes to come back", PATIENCE, || {
            Ok(routes()? == expected)
        })
        .with_context(|| format!("{:#?}", snapshot::of(&node)))
        .with_context(|| node.server_log_tail(20))?;
    }
    mesh.forget(&founder);
    Ok(())
}

/// The interface is inside, its sockets outside: programs inside reach the mesh and nothing else.
/// Run by this group in user space, and by the group `kernel` in the kernel.
pub(super) fn namespace(lab: &Lab, backend: &str) -> Result<()> {
    let options = MeshOptions {
        backend: Some(backend.to_owned()),
        ..MeshOptions::default()
    };
    let founder = lab.add_node("a")?;
    let mesh = Mesh::found(&founder, "foo", options)?;
    let (outside, inside) = (lab.add_node("outside")?, lab.add_unplugged("inside")?);
    let (before, empty) = (snapshot::at_rest(&outside)?, snapshot::of(&inside)?);
    let netns = format!("/proc/{}/ns/net", inside.holder());
    let missing = ["join-wireguard-net", "foo", "-", "--netns", "no-such"];
    let said = seen::refused(&outside, &missing, &mesh.invite_from(&founder)?, &[1, 2, 4])?;
    ensure!(said.contains("no-such"), "{said}");
    let join = [
        "join-wireguard-net",
        "foo",
        "-",
        "--backend",
        backend,
        "--netns",
        &netns,
    ];
    outside.grid_ok(&join, &mesh.invite_from(&founder)?)?;
    same(&outside, &before)?;
    ensure!(seen::has_interface(&inside, "foo")?, "it is not inside");
    let shown = outside.grid_ok(&["status", "foo"], "")?;
    ensure!(shown.contains(&netns), "{shown}");
    let reach_one_another = || -> Result<()> {
        for to in seen::identity(&founder, "foo")?.addresses {
            seen::reaches(&inside, to.parse::<IpNet>()?.addr(), PATIENCE)?;
        }
        for to in seen::identity(&outside, "foo")?.addresses {
            seen::reaches(&founder, to.parse::<IpNet>()?.addr(), PATIENCE)?;
        }
        Ok(())
    };
    reach_one_another()?;
    ensure!(
        seen_by(&founder, &inside, founder.ipv4()?.into())?.is_none(),
        "the inside has another way out"
    );
    forwarding_counts_inside(&outside, &inside, &netns)?;
    // Changes made there are noticed there.
    let whole = snapshot::of(&inside)?;
    inside.namespaces().in_net(|| {
        let mut netlink = Netlink::route()?;
        link::set_mtu(&mut netlink, link::index_of("foo")?, 1300)
    })??;
    wait_until("the MTU to be put right", Duration::from_secs(4), || {
        Ok(snapshot::of(&inside)? == whole)
    })
    .with_context(|| outside.server_log_tail(20))?;
    server::kill_9(&outside)?;
    seen::start(&outside)?;
    reach_one_another()?;
    outside.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    seen::stopped(&outside)?;
    same(&inside, &empty)?;
    same(&outside, &before)?;
    Ok(())
}

/// Whoever promises a subnet is told if packets are not forwarded in the interface's namespace; the
/// setting in the sockets' namespace does not matter.
fn forwarding_counts_inside(outside: &Node, inside: &Node, netns: &str) -> Result<()> {
    for (forwarding, there) in [("1", "0"), ("0", "1")] {
        set(outside, "net/ipv4/ip_forward", forwarding)?;
        set(inside, "net/ipv4/ip_forward", there)?;
        let said = outside.grid_ok(&["promise", "foo", SUBNET], "")?;
        let expected = format!("`nsenter --net={netns} sysctl -w net.ipv4.ip_forward=1`");
        ensure!(said.contains(&expected) == (there == "0"), "{said}");
        outside.grid_ok(&["withdraw", "foo", SUBNET], "")?;
    }
    Ok(())
}

/// In user space nothing can be adopted; the program says why, and changes nothing. In the kernel:
/// `kernel/adopting.rs`.
fn adopt(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(|| -> io::Result<()> {
        link::create_bridge(&mut Netlink::route()?, "foo").map(drop)
    })??;
    let before = snapshot::at_rest(&node)?;
    for extra in [&[][..], &["--adopt"]] {
        let mut create = vec!["create-wireguard-net", "foo", "--backend", "userspace"];
        create.extend(extra);
        seen::refused(&node, &create, "", &[1, 4])?;
        ensure!(snapshot::of(&node)? == before, "the bridge was changed");
    }
    Ok(())
}
