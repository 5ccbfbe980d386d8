//! A server as a service manager sees it, and invites that were left for it in a folder: a machine
//! that boots has its addresses before any other node is up, and the same ones every time.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::seen::{self, PATIENCE};
use crate::holder::TEMPORARY;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::snapshot;
use crate::wait::{wait_for, wait_until};

/// How long a server may take to be ready when its networks can be configured.
const READY: Duration = Duration::from_secs(10);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "an_invite_in_the_folder_joins_and_is_used_up",
        run: joins,
    },
    Scenario {
        name: "addresses_are_up_before_any_peer_is_there",
        run: alone,
    },
    Scenario {
        name: "an_invite_waits_for_members_and_survives_a_kill",
        run: waits,
    },
    Scenario {
        name: "invites_that_cannot_be_used_are_set_aside",
        run: set_aside,
    },
    Scenario {
        name: "the_watchdog_is_fed_by_the_driver",
        run: watchdog,
    },
    Scenario {
        name: "who_waits_to_be_online_waits_no_longer_than_asked",
        run: waits_online,
    },
    Scenario {
        name: "the_service_manager_is_told_what_becomes_of_the_networks",
        run: told,
    },
];

fn joins(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let mesh = Mesh::found(&a, "foo", MeshOptions::default())?;
    let machine = Machine::new(&b)?;
    machine.leave("image.invite", mesh.invite(), 0o600)?;
    let mut running = machine.boot(None)?;
    running.ready()?;
    machine.is_used_up()?;
    let identity = seen::identity(&b, "foo")?;
    for (from, to) in [(&a, &b), (&b, &a)] {
        for address in addresses(to)? {
            seen::reaches(from, ip(&address)?, PATIENCE)?;
        }
    }
    running.stop()?;
    // The image boots again, and the invite is gone.
    let mut again = machine.boot(None)?;
    again.ready()?;
    let after = seen::identity(&b, "foo")?;
    ensure!(after == identity, "{identity:?} came back as {after:?}");
    again.stop()
}

fn alone(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 2, MeshOptions::default())?;
    let (a, b) = (&mesh.members()[0], &mesh.members()[1]);
    let before = seen::identity(b, "foo")?;
    for node in [a, b] {
        server::kill_9(node)?;
    }
    let machine = Machine::new(b)?;
    for _ in 0..2 {
        let mut running = machine.boot(None)?;
        let said = running.ready()?;
        // What is on the interface at that moment, according to the kernel, not the server.
        let up: BTreeSet<IpAddr> = snapshot::addresses(b, "foo")?.into_iter().collect();
        for address in &before.addresses {
            ensure!(up.contains(&ip(address)?), "{address} is not among {up:?}");
            ensure!(said.contains(address.as_str()), "it said {said}");
        }
        let online = b.grid_ok(&["wait-online", "--timeout", "1s"], "")?;
        ensure!(online.contains(&before.addresses[0]), "{online}");
        b.grid_ok(&["wait-online", "foo", "--timeout", "1s"], "")?;
        let after = seen::identity(b, "foo")?;
        ensure!(after == before, "{before:?} came back as {after:?}");
        running.stop()?;
    }
    Ok(())
}

fn waits(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let mesh = Mesh::found(&a, "foo", MeshOptions::default())?;
    server::kill_9(&a)?;
    let machine = Machine::new(&b)?;
    machine.leave("image.invite", mesh.invite(), 0o600)?;
    let mut running = machine.boot(None)?;
    // No other node is up; it claims an address all the same, and is ready.
    running.ready()?;
    let before = seen::identity(&b, "foo")?;
    ensure!(before.addresses.len() == 2, "{before:?}");
    ensure!(machine.names()? == ["image.invite"], "it is gone already");
    // Killed in between: the network is on disk, but the invite is not used up yet.
    running.kill()?;
    let mut again = machine.boot(None)?;
    again.ready()?;
    let after = seen::identity(&b, "foo")?;
    ensure!(after == before, "{before:?} came back as {after:?}");
    ensure!(machine.names()? == ["image.invite"], "it is gone already");
    seen::start(&a)?;
    machine.is_used_up()?;
    for address in addresses(&b)? {
        seen::reaches(&a, ip(&address)?, PATIENCE)?;
    }
    again.stop()
}

fn set_aside(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        uses: 1,
        ..MeshOptions::default()
    };
    let (a, b, c) = (lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?);
    let mut mesh = Mesh::found(&a, "foo", options)?;
    mesh.join(&c)?;
    mesh.wait_whole(PATIENCE)?;
    let spent = mesh.invite();
    let short = a.grid_ok(&["invite", "foo", "--expires", "1s"], "")?;
    let good = a.grid_ok(&["invite", "foo"], "")?;
    let cut = good.get(..good.len() - 10).context("the invite is short")?;
    let machine = Machine::new(&b)?;
    machine.leave("spent.invite", spent, 0o600)?;
    machine.leave("expired.invite", &short, 0o600)?;
    machine.leave("cut.invite", cut, 0o600)?;
    machine.leave("none.invite", "hello\n", 0o600)?;
    machine.leave("empty.invite", "", 0o600)?;
    machine.leave("open.invite", &good, 0o644)?;
    machine.leave("notes.txt", "hello\n", 0o600)?;
    std::thread::sleep(Duration::from_millis(2500));
    let mut running = machine.boot(None)?;
    running.ready()?;
    let left = [
        "cut.invite.refused",
        "empty.invite.refused",
        "expired.invite.refused",
        "none.invite.refused",
        "notes.txt",
        "open.invite",
        "spent.invite.refused",
    ];
    wait_until("the invites to be set aside", PATIENCE, || {
        Ok(machine.names()? == left)
    })
    .with_context(|| b.server_log_tail(30))?;
    let log = b.server_log()?;
    for (file, why) in [
        ("cut.invite", "incomplete or was altered"),
        ("empty.invite", "it is empty"),
        ("expired.invite", "the invite expired"),
        ("none.invite", "this is not an invite"),
        ("open.invite", "others can open it (mode 0644)"),
        ("spent.invite", "used up by others"),
    ] {
        let said = log
            .lines()
            .any(|line| line.contains(file) && line.contains(why));
        ensure!(said, "no line names {file} and says \"{why}\":\n{log}");
    }
    // Errors quote the prefix of invites, and nothing that follows it.
    let parts = [spent, &short, &good].map(|invite| invite.trim().as_bytes());
    for part in parts
        .iter()
        .flat_map(|invite| invite.chunks_exact(16).skip(1))
    {
        let part = std::str::from_utf8(part)?;
        ensure!(!log.contains(part), "the log holds a part of an invite");
    }
    let networks = seen::identity_of(&b).and_then(|_| b.grid_ok(&["status", "--json"], ""))?;
    ensure!(networks.contains("\"networks\":[]"), "{networks}");
    // With the mode that it asks for, the invite is accepted when the server next starts.
    running.stop()?;
    machine.leave("open.invite", &good, 0o600)?;
    let mut again = machine.boot(None)?;
    wait_until("the invite to be used up", PATIENCE, || {
        Ok(!machine.names()?.contains(&"open.invite".to_owned()))
    })?;
    seen::identity(&b, "foo")?;
    again.stop()
}

fn watchdog(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let machine = Machine::new(&a)?;
    let mut running = machine.boot(Some(Duration::from_millis(400)))?;
    running.ready()?;
    let begun = Instant::now();
    for _ in 0..5 {
        running.hear("WATCHDOG=1", Duration::from_secs(2))?;
    }
    let took = begun.elapsed();
    ensure!(
        took >= Duration::from_millis(700),
        "five pings in {took:?}: it does not keep to half of 400 ms"
    );
    ensure!(
        took <= Duration::from_secs(2),
        "five pings in {took:?}: a manager would have ended it"
    );
    running.stop()
}

fn waits_online(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let wait = ["wait-online", "foo", "--timeout", "1s"];
    let said = seen::refused(&a, &wait, "", &[3])?;
    ensure!(said.contains("no server is running"), "{said}");
    seen::start(&a)?;
    // There is nothing to wait for; but a network that is named is waited for.
    a.grid_ok(&["wait-online", "--timeout", "1s"], "")?;
    let begun = Instant::now();
    seen::refused(&a, &wait, "", &[5])?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(1), "it waited for {took:?}");
    ensure!(took < Duration::from_secs(4), "it waited for {took:?}");
    a.grid_ok(&["create-wireguard-net", "foo"], "")?;
    let online = a.grid_ok(&wait, "")?;
    ensure!(online.contains(&addresses(&a)?[0]), "{online}");
    Ok(())
}

fn told(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let machine = Machine::new(&a)?;
    let mut running = machine.boot(None)?;
    let said = running.ready()?;
    ensure!(said.contains("in no network"), "{said}");
    a.grid_ok(&["create-wireguard-net", "foo"], "")?;
    let said = running.hear("STATUS=foo ", PATIENCE)?;
    for address in addresses(&a)? {
        ensure!(
            said.contains(&address),
            "{address} is up, and it said {said}"
        );
    }
    a.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    running.hear("STATUS=in no network", PATIENCE)?;
    running.stop()
}

/// A node with the folders of a machine, and a service manager that listens.
struct Machine<'a> {
    node: &'a Node,
}

impl<'a> Machine<'a> {
    fn new(node: &'a Node) -> Result<Self> {
        fs::create_dir_all(node.path(&folder()))?;
        Ok(Self { node })
    }

    /// Puts an invite into the folder.
    fn leave(&self, name: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.place().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    }

    fn place(&self) -> PathBuf {
        self.node.path(&folder())
    }

    /// What is in the folder, in ascending order.
    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.place())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn is_used_up(&self) -> Result<()> {
        wait_until("the invite to be used up", PATIENCE * 3, || {
            Ok(self.names()?.is_empty())
        })
        .with_context(|| self.node.server_log_tail(20))
    }

    /// Starts the server as the service manager would.
    fn boot(&self, watchdog: Option<Duration>) -> Result<Running<'a>> {
        let socket = format!("{TEMPORARY}/notify");
        let place = self.node.path(&socket);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listening = UnixDatagram::bind(&place)?;
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.node.home().join("server.log"))?;
        let mut command = self.node.command("grid");
        command
            .args(["start-server", "--join-dir", &folder()])
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let child = command.spawn()?;
        Ok(Running {
            node: self.node,
            child,
            listening,
        })
    }
}

fn folder() -> String {
    format!("{TEMPORARY}/join.d")
}

/// A server under a service manager. Killed with its node.
struct Running<'a> {
    node: &'a Node,
    child: Child,
    listening: UnixDatagram,
}

impl Running<'_> {
    /// Waits for a datagram that starts with this, and returns it.
    fn hear(&self, begin: &str, within: Duration) -> Result<String> {
        let until = Instant::now() + within;
        let mut heard = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "the service manager heard no {begin}, but {heard:?}\n{}",
                    self.node.server_log_tail(20)
                );
            }
            self.listening.set_read_timeout(Some(left))?;
            let mut room = [0; 4096];
            let length = match self.listening.recv(&mut room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            let text = String::from_utf8_lossy(room.get(..length).unwrap_or_default());
            if text.starts_with(begin) {
                return Ok(text.into_owned());
            }
            heard.push(text.into_owned());
        }
    }

    fn ready(&mut self) -> Result<String> {
        self.hear("READY=1", READY)
    }

    fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        self.hear("STOPPING=1", PATIENCE)?;
        self.ended()
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.ended()
    }

    fn ended(&mut self) -> Result<()> {
        wait_for("the server to end", PATIENCE, || {
            Ok(self.child.try_wait()?)
        })
        .map(drop)
    }
}

fn addresses(node: &Node) -> Result<Vec<String>> {
    Ok(seen::identity(node, "foo")?.addresses)
}

fn ip(address: &str) -> Result<IpAddr> {
    Ok(address.parse::<ipnet::IpNet>()?.addr())
}
