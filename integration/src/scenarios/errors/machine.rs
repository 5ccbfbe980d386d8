//! Files, capabilities, devices, ports, interfaces and ranges that are missing, taken or wrong.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::mount::MsFlags;

use super::super::seen::{self, PATIENCE};
use super::must_fail::{MustFail, exit, prepare};
use crate::lab::Lab;
use crate::link::{self, LinkIndex};
use crate::mesh::{Mesh, MeshOptions};
use crate::mounted;
use crate::node::Node;
use crate::server;
use crate::tap::{QUIC_PORT, WIREGUARD_PORT};
use crate::wait::wait_until;

/// `linux/capability.h`.
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_NET_ADMIN: u32 = 12;

const CREATE: &[&str] = &["create-wireguard-net", "foo"];
const START: &[&str] = &["start-server"];
const START_BEHIND: &[&str] = &["start-server", "--background"];

pub(super) fn bad_files(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    prepare(&node)?;
    let whole = Files::read(&node)?;
    let config = |text: &str| whole.with("config", text.as_bytes(), 0o600);
    let key = |text: &[u8], mode| whole.with("keys/node.key", text, mode);
    let seed = whole.content("keys/node.key")?.to_vec();
    let half = seed.get(..20).context("the key is short")?;
    let secret = &["holds a secret, and others can open it", "chmod 600"][..];
    let empty = &["is damaged: it is empty", "restore it from a copy"][..];
    let another = "grid generate-keys --new";
    let cut_key = &["is damaged", "cut short", "from a backup", another][..];
    let empty_key = &["is damaged: it is empty", "from a backup", another][..];
    for (files, says) in [
        (config("listen = \"[::]:518"), &["config:1:"][..]),
        (config("listen = 7\n"), &["config:1:", "listen"]),
        (config(""), empty),
        (key(&seed, 0o640), secret),
        (key(&seed, 0o604), secret),
        (key(b"", 0o600), empty_key),
        (key(half, 0o600), cut_key),
    ] {
        files.write(&node)?;
        MustFail::new(START, exit::FAILED, says).run_on(&node)?;
        MustFail::new(START_BEHIND, exit::NO_SERVER, says).run_on(&node)?;
        MustFail::new(CREATE, exit::NO_SERVER, says).run_on(&node)?;
        ensure!(server::pid(&node).is_none(), "a server runs");
    }
    for (file, path) in [("config", "config"), ("keys/node.key", "node.key")] {
        whole.with(file, &whole.content(file)?, 0).write(&node)?;
        let says = &["cannot read", path, "ermission denied"];
        MustFail::new(CREATE, exit::NO_SERVER, says)
            .without(&[CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH])
            .run_on(&node)?;
    }
    // With the files restored, the node starts, and is the same node.
    whole.write(&node)?;
    node.grid_ok(START_BEHIND, "")?;
    MustFail::new(
        START,
        exit::FAILED,
        &["another server holds", "grid stop-server"],
    )
    .run_on(&node)?;
    ensure!(node.grid(&["status"])?.status.success());
    Ok(())
}

/// The contents and modes of two files of a home.
struct Files(Vec<(&'static str, Vec<u8>, u32)>);

impl Files {
    fn read(node: &Node) -> Result<Self> {
        let read = |name| -> Result<_> { Ok((name, fs::read(node.home().join(name))?, 0o600)) };
        Ok(Self(vec![read("config")?, read("keys/node.key")?]))
    }

    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.0.iter().find(|(other, ..)| *other == name);
        found
            .map(|(_, content, _)| content.clone())
            .context("no such file")
    }

    fn with(&self, name: &str, content: &[u8], mode: u32) -> Self {
        let changed = self.0.iter().map(|(other, was, usual)| {
            if *other == name {
                (*other, content.to_vec(), mode)
            } else {
                (*other, was.clone(), *usual)
            }
        });
        Self(changed.collect())
    }

    fn write(&self, node: &Node) -> Result<()> {
        for (name, content, mode) in &self.0 {
            let path = node.home().join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(*mode))?;
        }
        Ok(())
    }
}

pub(super) fn bad_network_file(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    let options = || MeshOptions {
        ipv4: Some("10.91.0.0/24".to_owned()),
        ..MeshOptions::default()
    };
    Mesh::found(&node, "foo", options())?;
    node.grid_ok(&["stop-server"], "")?;
    let path = node.home().join("nets/foo/wireguard.key");
    let whole = fs::read(&path)?;
    for (content, mode, says) in [
        (whole.as_slice(), 0o640, "others can open it"),
        (b"", 0o600, "it is empty"),
        (&whole[..20], 0o600, "cut short"),
    ] {
        fs::write(&path, content)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        node.grid_ok(START_BEHIND, "")?;
        let shown = node.grid_ok(&["status"], "")?;
        ensure!(shown.contains(says) && shown.contains("foo"), "{shown}");
        let refused = &["could not be started", says, "move"];
        MustFail::new(CREATE, exit::REFUSED, refused).run_on(&node)?;
        node.grid_ok(&["stop-server"], "")?;
    }
    fs::write(&path, &whole)?;
    node.grid_ok(START_BEHIND, "")?;
    wait_until(
        "the network to be there again",
        Duration::from_secs(10),
        || Ok(node.grid(&["status", "foo"])?.status.success()),
    )
}

pub(super) fn lacking(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.namespaces().in_net(crate::requirements::wireguard)??;
    for backend in ["auto", "userspace"] {
        prepare(&a)?;
        let create = [CREATE, &["--backend", backend]].concat();
        MustFail::new(&create, exit::FAILED, &["CAP_NET_ADMIN", "run it as root"])
            .without(&[CAP_NET_ADMIN])
            .run_on(&a)?;
        // The server that it started lacks the capability too.
        a.grid_ok(&["stop-server"], "")?;
    }
    prepare(&b)?;
    mounted::on(&b, c"tmpfs", c"/dev/net", MsFlags::empty(), c"")?;
    let create = [CREATE, &["--backend", "userspace"]].concat();
    let says = &["/dev/net/tun", "modprobe tun"];
    MustFail::new(&create, exit::FAILED, says).run_on(&b)?;
    a.grid_ok(CREATE, "").map(drop)
}

pub(super) fn taken(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(crate::requirements::wireguard)??;
    prepare(&node)?;
    let held = hold(&node, QUIC_PORT)?;
    let says = &["51821", "in use by", "--listen"];
    MustFail::new(START, exit::FAILED, says).run_on(&node)?;
    MustFail::new(CREATE, exit::NO_SERVER, says).run_on(&node)?;
    drop(held);
    node.grid_ok(START_BEHIND, "")?;
    let held = hold(&node, WIREGUARD_PORT)?;
    let says = &["51820", "in use by", "--port"];
    MustFail::new(CREATE, exit::FAILED, says).run_on(&node)?;
    drop(held);
    let create = [CREATE, &["--port", "51821"]].concat();
    let says = &["this node's QUIC listens on UDP port 51821", "--port"];
    MustFail::new(&create, exit::FAILED, says).run_on(&node)?;
    let foreign = plug_in(lab, &node, "foo")?;
    let says = &[
        "the interface foo exists and is not ours",
        "choose another name",
    ];
    for backend in ["auto", "userspace"] {
        let create = [CREATE, &["--backend", backend]].concat();
        MustFail::new(&create, exit::REFUSED, says).run_on(&node)?;
    }
    link::delete(&mut lab.netlink(), foreign)?;
    node.grid_ok(CREATE, "").map(drop)
}

/// A network whose port is taken when the server starts.
pub(super) fn taken_for_a_while(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(crate::requirements::wireguard)??;
    node.grid_ok(CREATE, "")?;
    node.grid_ok(&["stop-server"], "")?;
    let state = Files::read(&node)?;
    let verbose = [state.content("config")?, b"\nlog = \"debug\"\n".to_vec()].concat();
    state.with("config", &verbose, 0o600).write(&node)?;
    let held = hold(&node, WIREGUARD_PORT)?;
    node.grid_ok(START_BEHIND, "")?;
    let tries = || -> Result<usize> {
        let log = node.server_log()?;
        let (_, since) = log.rsplit_once("listens on UDP").context("no server")?;
        Ok(since.matches("create the interface").count())
    };
    wait_until("the port to be missed", PATIENCE, || Ok(tries()? > 0))?;
    // Retried once when the server checks its own configuration.
    thread::sleep(Duration::from_secs(8));
    let tried = tries()?;
    ensure!(tried <= 3, "the interface was tried {tried} times");
    drop(held);
    plug_in(lab, &node, "other")?;
    // Sooner than by the timer.
    wait_until("the interface", Duration::from_secs(10), || {
        seen::has_interface(&node, "foo")
    })
    .with_context(|| node.server_log_tail(20))?;
    wait_until("the problem to be over", PATIENCE, || {
        Ok(seen::status(&node, "foo")?["networks"][0]["problem"].is_null())
    })
}

/// Takes a UDP port until the socket is dropped.
fn hold(node: &Node, port: u16) -> Result<UdpSocket> {
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
    Ok(node.namespaces().in_net(bind)??)
}

/// Gives the node one more interface, and returns its other end.
fn plug_in(lab: &Lab, node: &Node, name: &str) -> Result<LinkIndex> {
    let bridge = node.ports().first().context("no plug")?.bridge;
    let (netlink, net) = (&mut lab.netlink(), node.namespaces().net());
    Ok(link::create_veth(netlink, "foreign", name, net, bridge)?)
}

/// `create-config` with and without a server: to standard output, and through links.
pub(super) fn configuration(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(crate::requirements::wireguard)??;
    node.grid_ok(CREATE, "")?;
    let folder = node.home().join("elsewhere");
    fs::create_dir(&folder)?;
    let (file, link, device) = (
        folder.join("foo.conf"),
        folder.join("link"),
        folder.join("null"),
    );
    symlink("foo.conf", &link)?;
    symlink("/dev/null", &device)?;
    for runs in [true, false] {
        if !runs {
            node.grid_ok(&["stop-server"], "")?;
        }
        let printed = node.grid_ok(&["create-config", "foo", "--output", "-"], "")?;
        ensure!(
            printed.contains("PrivateKey = "),
            "no configuration was printed"
        );
        for place in [&link, &device] {
            let place = place.to_str().context("not UTF-8")?;
            let said = node.grid_ok(&["create-config", "foo", "--output", place], "")?;
            ensure!(said.trim_end() == place, "{said}");
            ensure!(
                fs::symlink_metadata(place)?.is_symlink(),
                "{place} was replaced"
            );
        }
        ensure!(fs::read_to_string(&file)? == printed, "the file is another");
        ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
        ensure!(fs::metadata("/dev/null")?.file_type().is_char_device());
        fs::remove_file(&file)?;
    }
    ensure!(!node.home().join("-").exists());
    ensure!(fs::read_dir(&folder)?.count() == 2);
    Ok(())
}

/// On a machine with IPv6 switched off.
pub(super) fn without_ipv6(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(crate::requirements::wireguard)??;
    switch_ipv6(&node, false)?;
    let created = node.grid_ok(CREATE, "")?;
    // Not by "fd", which may stand in the id of the network.
    ensure!(!created.contains("/64"), "{created}");
    let network = || -> Result<_> { Ok(seen::status(&node, "foo")?["networks"][0].take()) };
    let told = network()?;
    let addresses = told["addresses"].as_array().context("no addresses")?;
    ensure!(addresses.len() == 1 && told["up"] == true, "{told}");
    let hint = told["hint"].as_str().unwrap_or_default();
    let says = "IPv6 is switched off on this host; left out: add address fd";
    ensure!(hint.contains(says), "{told}");
    let shown = node.grid_ok(&["status"], "")?;
    ensure!(shown.contains(says), "{shown}");
    let online = node.grid_ok(&["wait-online", "--timeout", "5s"], "")?;
    ensure!(!online.contains(':'), "{online}");
    switch_ipv6(&node, true)?;
    wait_until("the IPv6 address", PATIENCE, || {
        let told = network()?;
        let addresses = told["addresses"].as_array().context("no addresses")?;
        Ok(addresses.len() == 2 && told["hint"].is_null())
    })?;
    let online = node.grid_ok(&["wait-online", "--timeout", "5s"], "")?;
    ensure!(online.contains(":"), "{online}");
    Ok(())
}

/// Switches IPv6 on all interfaces of a node, those to come too.
fn switch_ipv6(node: &Node, on: bool) -> Result<()> {
    let off = if on { "0" } else { "1" };
    let write = || {
        ["all", "default"]
            .iter()
            .try_for_each(|of| fs::write(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"), off))
    };
    Ok(node.namespaces().in_net(write)??)
}

pub(super) fn full_range(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        ipv4: Some("10.99.0.0/30".to_owned()),
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", 2, options)?;
    let c = lab.add_node("c")?;
    c.grid_ok(START_BEHIND, "")?;
    let join = ["join-wireguard-net", "foo", "-"];
    let says = &["every address of 10.99.0.0/30 is held", "a wider range"];
    MustFail::new(&join, exit::FAILED, says)
        .input(mesh.invite())
        .run_on(&c)?;
    mesh.wait_whole(Duration::from_secs(10))
}
