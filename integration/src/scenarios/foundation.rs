//! The lab tests itself: it is isolated, it connects, and it cuts what it says it cuts.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::Ipv4Net;
use nix::mount::{MsFlags, mount};
use nix::sys::stat;

use crate::lab::Lab;
use crate::nft::Nat;
use crate::node::Node;
use crate::ping::{Pinger, matrix, nobody, ping};
use crate::requirements::{Missing, SKIPPED};
use crate::scenario::Scenario;
use crate::supervise::LAB_DIR;
use crate::tap::{QUIC_PORT, Tap, WIREGUARD_PORT};
use crate::wait::wait_until;

const SHORT: Duration = Duration::from_millis(300);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "nodes_are_isolated",
        run: nodes_are_isolated,
    },
    Scenario {
        name: "nodes_reach_one_another",
        run: nodes_reach_one_another,
    },
    Scenario {
        name: "a_cut_node_comes_back",
        run: a_cut_node_comes_back,
    },
    Scenario {
        name: "a_partition_splits_and_heals",
        run: partition_and_heal,
    },
    Scenario {
        name: "lost_packets_are_lost",
        run: lost_packets_are_lost,
    },
    Scenario {
        name: "a_router_hides_what_is_behind_it",
        run: one_router,
    },
    Scenario {
        name: "two_routers_hide_twice",
        run: two_routers,
    },
    Scenario {
        name: "a_symmetric_nat_shows_another_port",
        run: symmetric_nat,
    },
    Scenario {
        name: "the_tap_counts_what_a_node_sends",
        run: tap_counts,
    },
    Scenario {
        name: "a_removed_node_takes_its_processes_along",
        run: removed_node,
    },
    Scenario {
        name: "thirty_nodes_fit",
        run: thirty_nodes_fit,
    },
    Scenario {
        name: "a_closed_tun_device_is_explained",
        run: closed_tun,
    },
];

fn nodes_are_isolated(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    for (node, other) in [(&a, &b), (&b, &a)] {
        let named = node.tool(&["uname", "-n"], "", SHORT * 10)?;
        ensure!(
            named.stdout == format!("{}\n", node.name()).as_bytes(),
            "{named:?}"
        );
        // In each of a node's private folders, one of them also under its other name.
        for (dir, seen_as) in [
            ("/run/wireguard", "/var/run/wireguard"),
            ("/run/grid-lab/node/home", "/run/grid-lab/node/home"),
        ] {
            let file = format!("mark-of-{}", node.name());
            let touched = node.tool(&["touch", &format!("{dir}/{file}")], "", SHORT * 10)?;
            ensure!(touched.status.success(), "{touched:?}");
            let own = node.tool(&["ls", seen_as], "", SHORT * 10)?;
            ensure!(
                String::from_utf8_lossy(&own.stdout).contains(&file),
                "{own:?}"
            );
            ensure!(
                node.path(dir).join(&file).exists(),
                "the lab does not see {dir}/{file}"
            );
            ensure!(
                !other.path(dir).join(&file).exists(),
                "{} sees {file}",
                other.name()
            );
            let lab_sees = fs::exists(format!("{dir}/{file}"))?;
            ensure!(!lab_sees, "the lab's own {dir} has {file}");
        }
    }
    let bind = |node: &Node| {
        node.namespaces()
            .in_net(|| std::net::TcpListener::bind("127.0.0.1:4000"))
    };
    let _held = bind(&a)?.context("cannot listen on the loopback of a")?;
    let _also = bind(&b)?.context("the loopback of b is not its own")?;
    let mut names = a.namespaces().in_net(|| -> nix::Result<Vec<String>> {
        let all = nix::net::if_::if_nameindex()?;
        Ok(all
            .iter()
            .map(|link| link.name().to_string_lossy().into_owned())
            .collect())
    })??;
    // Kernels with tunnel modules loaded put their fallback interfaces into every namespace.
    names.retain(|name| !name.ends_with('0') || name == "eth0");
    ensure!(
        names == ["lo", "eth0"],
        "node a has the interfaces {names:?}"
    );
    Ok(())
}

fn nodes_reach_one_another(lab: &Lab) -> Result<()> {
    let nodes = [lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?];
    let refs: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
    for v6 in [false, true] {
        let to: Vec<IpAddr> = refs
            .iter()
            .map(|n| {
                Ok(if v6 {
                    n.ipv6()?.into()
                } else {
                    n.ipv4()?.into()
                })
            })
            .collect::<Result<_>>()?;
        let times = matrix(&refs, &to, Duration::from_secs(1))?;
        ensure!(
            times.iter().flatten().all(Option::is_some),
            "some are lost to {to:?}: {times:?}"
        );
        let gateway = if v6 {
            lab.internet()
                .gateway6()
                .context("the internet has no IPv6")?
                .into()
        } else {
            IpAddr::from(lab.internet().gateway4())
        };
        gets_through(refs[0], gateway).context("the gateway")?;
    }
    // Conversely, an address that no machine has does not answer.
    ensure!(ping(refs[0], nobody().0, SHORT)?.is_none());
    ensure!(ping(refs[0], nobody().1, SHORT)?.is_none());
    // It goes by the default route to a gateway that forwards nothing, not out of the lab.
    ensure!(ping(refs[0], IpAddr::from([198, 51, 100, 1]), SHORT)?.is_none());
    Ok(())
}

fn a_cut_node_comes_back(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    expect(&a, &b, true, "at first")?;
    lab.unplug(&b)?;
    expect(&a, &b, false, "while b is unplugged")?;
    ensure!(carrier(&b)? == "0", "an unplugged cable has a carrier");
    lab.heal(&b)?;
    expect(&a, &b, true, "after b was plugged in again")?;
    lab.silence(&b)?;
    expect(&a, &b, false, "while b is cut off")?;
    ensure!(carrier(&b)? == "1", "a silent cut can be seen");
    lab.heal(&b)?;
    expect(&a, &b, true, "after b was connected again")
}

fn partition_and_heal(lab: &Lab) -> Result<()> {
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| lab.add_node(name));
    let (a, b, c, d, e) = (a?, b?, c?, d?, e?);
    lab.partition(&[&[&a, &b], &[&c]])?;
    for (from, to, reached) in [
        (&a, &b, true),
        (&d, &e, true),
        (&a, &c, false),
        (&a, &d, false),
        (&c, &d, false),
    ] {
        expect(from, to, reached, "in the partition")?;
        expect(to, from, reached, "in the partition")?;
    }
    lab.heal_all()?;
    for to in [&b, &c, &d, &e] {
        expect(&a, to, true, "after the partition")?;
    }
    // Healing has undone the old partition: another can be made.
    lab.partition(&[&[&e]])?;
    expect(&a, &e, false, "in the second partition")?;
    expect(&a, &c, true, "in the second partition")
}

fn lost_packets_are_lost(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    expect(&a, &b, true, "before")?;
    let answered = |count: u32| -> Result<u32> {
        let to = b.ipv4()?.into();
        let mut pinger = Pinger::on(&a, to)?;
        let mut answered = 0;
        for _ in 0..count {
            answered += u32::from(pinger.ping(to, Duration::from_millis(20))?.is_some());
        }
        Ok(answered)
    };
    lab.lose(&b, 300)?;
    // Of 200 with a chance of 0.7 each: outside 100 to 180 once in more than a billion runs. A
    // machine that answers later than 20 ms lowers the count.
    let some = answered(200)?;
    ensure!(
        (100..=180).contains(&some),
        "{some} of 200 were answered at 30% loss"
    );
    lab.lose(&b, 1000)?;
    ensure!(answered(5)? == 0, "something got through at 100% loss");
    lab.lose(&b, 0)?;
    expect(&a, &b, true, "after the loss ended")
}

fn one_router(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let router = lab.add_router(
        "router",
        lab.internet(),
        net("192.168.1.0/24")?,
        Nat::KeepsPorts,
    )?;
    let (c, d) = (
        lab.add_node_on("c", &router.inside)?,
        lab.add_node_on("d", &router.inside)?,
    );
    gets_through(&c, a.ipv4()?)?;
    gets_through(&c, d.ipv4()?)?;
    ensure!(!reaches(&a, c.ipv4()?)?, "a reaches behind the router");
    let from = seen_by(&a, &c, 5000)?;
    ensure!(
        from == SocketAddr::new(router.node.ipv4()?.into(), 5000),
        "c is seen as {from}"
    );
    unsolicited_is_dropped(&a, &c, &router.node)
}

fn two_routers(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let outer = lab.add_router(
        "outer",
        lab.internet(),
        net("10.64.0.0/24")?,
        Nat::KeepsPorts,
    )?;
    let inner = lab.add_router(
        "inner",
        &outer.inside,
        net("192.168.1.0/24")?,
        Nat::KeepsPorts,
    )?;
    let c = lab.add_node_on("c", &inner.inside)?;
    gets_through(&c, a.ipv4()?)?;
    ensure!(!reaches(&a, c.ipv4()?)?, "a reaches behind the routers");
    let from = seen_by(&a, &c, 5000)?;
    ensure!(from.ip() == outer.node.ipv4()?, "c is seen as {from}");
    let between = lab.add_node_on("between", &outer.inside)?;
    let from = seen_by(&between, &c, 5001)?;
    ensure!(
        from.ip() == inner.node.ipv4()?,
        "between the routers c is seen as {from}"
    );
    Ok(())
}

fn symmetric_nat(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let router = lab.add_router(
        "router",
        lab.internet(),
        net("192.168.1.0/24")?,
        Nat::RandomPorts,
    )?;
    let c = lab.add_node_on("c", &router.inside)?;
    let (first, second) = (seen_by(&a, &c, 5000)?, seen_by(&b, &c, 5000)?);
    ensure!(
        first.ip() == second.ip() && first.ip() == router.node.ipv4()?,
        "{first} {second}"
    );
    ensure!(
        first.port() != second.port(),
        "both destinations see port {}",
        first.port()
    );
    Ok(())
}

fn tap_counts(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    expect(&a, &b, true, "before")?;
    let tap = Tap::keep(&[&a, &b], 1 << 20)?;
    let socket = a.namespaces().in_net(|| UdpSocket::bind("[::]:5000"))??;
    let v4 = IpAddr::V6(b.ipv4()?.to_ipv6_mapped());
    for _ in 0..10 {
        socket.send_to(&[7; 100], (v4, QUIC_PORT))?;
        socket.send_to(&[7; 50], (IpAddr::V6(b.ipv6()?), WIREGUARD_PORT))?;
    }
    let (quic, wireguard) = (10 * (100 + 28), 10 * (50 + 48));
    wait_until("the tap to hear 20 packets", Duration::from_secs(5), || {
        let sent = tap.sent("a");
        if sent.quic >= quic && sent.wireguard >= wireguard {
            Ok(true)
        } else {
            bail!("{sent:?}")
        }
    })?;
    let sent = tap.sent("a");
    ensure!((sent.quic, sent.wireguard) == (quic, wireguard), "{sent:?}");
    ensure!(sent.quic_packets == 10, "{sent:?}");
    // b has no socket there: it only says that the port is unreachable.
    let back = tap.sent("b");
    ensure!(
        (back.quic, back.wireguard) == (0, 0) && back.other > 0,
        "{back:?}"
    );
    let (frames, lost) = tap.take_frames();
    let ours = frames
        .iter()
        .filter(|frame| frame.ends_with(&[7; 50]))
        .count();
    ensure!(
        lost == 0 && ours >= 20,
        "{ours} frames of ours were kept, {lost} lost"
    );
    Ok(())
}

fn removed_node(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let mut child = a
        .command("sh")
        .args(["-c", "sleep 1000 & sleep 1000 & wait"])
        .stdin(Stdio::null())
        .spawn()?;
    wait_until("three processes on a", Duration::from_secs(5), || {
        Ok(a.processes().len() == 3)
    })?;
    ensure!(b.processes().is_empty(), "b runs {:?}", b.processes());
    lab.remove_node(&a);
    child.wait()?;
    ensure!(a.processes().is_empty(), "{:?} are left", a.processes());
    ensure!(!reaches(&b, a.ipv4()?)?, "a still answers");
    // Its name and its addresses are free again, and no trace of the old cable is left.
    let again = lab.add_node("a")?;
    ensure!(
        again.ports()[0].ipv4 == a.ports()[0].ipv4,
        "{:?}",
        again.ports()
    );
    expect(&b, &again, true, "after a was made anew")
}

fn thirty_nodes_fit(lab: &Lab) -> Result<()> {
    let nodes = (0..30)
        .map(|n| lab.add_node(&format!("n{n}")))
        .collect::<Result<Vec<_>>>()?;
    let first = nodes.first().context("no nodes")?;
    for node in &nodes {
        expect(first, node, true, "among thirty")?;
    }
    Ok(())
}

/// Mounts a device node that only root may open over /dev/net/tun, in the lab's mounts only, and
/// runs `lab check` as another user.
fn closed_tun(_: &Lab) -> Result<()> {
    let nobody = 65534;
    let map = fs::read_to_string("/proc/self/uid_map")?;
    if map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"] {
        return Err(Missing("changing to another user needs root".to_owned()).into());
    }
    crate::requirements::wireguard()?;
    if crate::link::kernel_has_wireguard(&mut grid_netlink::Netlink::route()?) {
        return Err(
            Missing("with WireGuard in the kernel no tun device is needed".to_owned()).into(),
        );
    }
    let dir = format!("{LAB_DIR}/tun");
    fs::create_dir(&dir)?;
    let none = None::<&str>;
    mount(
        Some("tun"),
        dir.as_str(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )?;
    let device = format!("{dir}/tun");
    let mode = stat::Mode::S_IRUSR | stat::Mode::S_IWUSR;
    stat::mknod(
        device.as_str(),
        stat::SFlag::S_IFCHR,
        mode,
        stat::makedev(10, 200),
    )?;
    mount(
        Some(device.as_str()),
        crate::requirements::TUN,
        none,
        MsFlags::MS_BIND,
        none,
    )?;
    let check = |uid: u32| {
        Command::new("/proc/self/exe")
            .arg("check")
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::null())
            .output()
    };
    let output = match check(nobody) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Missing("other users may not run this executable".to_owned()).into());
        }
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("user namespaces are not available") {
        return Err(Missing(said.trim().to_owned()).into());
    }
    ensure!(output.status.code() == Some(SKIPPED.into()), "{output:?}");
    for part in ["/dev/net/tun", "owner uid", "0600", "as root", "sudo chmod"] {
        ensure!(said.contains(part), "{part:?} is missing in {said:?}");
    }
    let root = check(0)?;
    ensure!(root.status.success(), "root may open it: {root:?}");
    Ok(())
}

fn expect(from: &Node, to: &Node, reached: bool, when: &str) -> Result<()> {
    for address in [IpAddr::from(to.ipv4()?), to.ipv6()?.into()] {
        let what = format!(
            "{} {} {address} {when}",
            from.name(),
            if reached { "to reach" } else { "to lose" }
        );
        if reached {
            gets_through(from, address).context(what)?;
        } else {
            ensure!(!reaches(from, address)?, "wanted {what}");
        }
    }
    Ok(())
}

/// Waits, because a cable that was just plugged in takes a moment, and so does a busy machine.
fn gets_through(from: &Node, to: impl Into<IpAddr>) -> Result<()> {
    let to = to.into();
    let what = format!("{to} to answer {}", from.name());
    wait_until(&what, Duration::from_secs(5), || reaches(from, to))
}

fn reaches(from: &Node, to: impl Into<IpAddr>) -> Result<bool> {
    Ok(ping(from, to, SHORT)?.is_some())
}

fn carrier(node: &Node) -> Result<String> {
    // sysfs shows the namespace in which it was mounted: the node's own mount of it.
    let output = node.tool(&["cat", "/sys/class/net/eth0/carrier"], "", SHORT * 10)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn net(text: &str) -> Result<Ipv4Net> {
    Ok(text.parse()?)
}

/// The address from which `to` sees a packet that `from` sends from UDP port `port`.
fn seen_by(to: &Node, from: &Node, port: u16) -> Result<SocketAddr> {
    let receiver = to
        .namespaces()
        .in_net(|| UdpSocket::bind("0.0.0.0:7000"))??;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let sender = from
        .namespaces()
        .in_net(|| UdpSocket::bind(("0.0.0.0", port)))??;
    sender.send_to(b"hello", (to.ipv4()?, 7000))?;
    let (_, seen) = receiver
        .recv_from(&mut [0; 16])
        .context("the packet did not arrive")?;
    receiver.send_to(b"hello yourself", seen)?;
    sender.set_read_timeout(Some(Duration::from_secs(2)))?;
    sender
        .recv_from(&mut [0; 16])
        .context("the answer did not come back")?;
    Ok(seen)
}

/// A packet from a port that `inside` has never sent to does not pass `router`.
fn unsolicited_is_dropped(outside: &Node, inside: &Node, router: &Node) -> Result<()> {
    let listener = inside
        .namespaces()
        .in_net(|| UdpSocket::bind("0.0.0.0:5002"))??;
    let asked = outside
        .namespaces()
        .in_net(|| UdpSocket::bind("0.0.0.0:7001"))??;
    let stranger = outside
        .namespaces()
        .in_net(|| UdpSocket::bind("0.0.0.0:7002"))??;
    listener.send_to(b"open", (outside.ipv4()?, 7001))?;
    listener.set_read_timeout(Some(SHORT))?;
    let hole = (router.ipv4()?, 5002);
    asked.send_to(b"answer", hole)?;
    let (length, _) = listener
        .recv_from(&mut [0; 16])
        .context("the answer did not come in")?;
    ensure!(length == 6);
    stranger.send_to(b"knock", hole)?;
    ensure!(
        listener.recv_from(&mut [0; 16]).is_err(),
        "an unsolicited packet came in"
    );
    Ok(())
}
