//! `grid install-service`: units for systemd. What is to be changed is planned first, from what is there, and
//! printed; then it is done, change by change, and doing it again is safe.
//!
//! It refuses to touch a unit or a link that it did not write, and leaves homes and invites alone.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::home::{Home, SYSTEM_HOME};

/// How every unit begins that this program wrote.
const MARK: &str = "# Written by `grid install-service`";
/// What stands for the program in the templates.
const PROGRAM: &str = "@GRID@";
/// The units: name, text, and what wants them.
const UNITS: [(&str, &str, &str); 2] = [
    (
        SERVICE,
        include_str!("../service/grid.service"),
        "multi-user.target",
    ),
    (
        ONLINE,
        include_str!("../service/grid-wait-online.service"),
        "network-online.target",
    ),
];
const SERVICE: &str = "grid.service";
const ONLINE: &str = "grid-wait-online.service";
/// Where this program's units lie.
const OWN: &str = "etc/systemd/system";
/// Where those of packages lie.
const PACKAGED: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];
/// What the service cannot see, or what does not outlive a boot.
const UNSEEN: [&str; 5] = ["/home", "/root", "/run", "/tmp", "/var/tmp"];

/// Run a node on this machine as a systemd service, from boot
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop the service and remove its units; the node's home stays
    #[arg(long)]
    remove: bool,

    /// The program that the service runs [default: this one]
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    program: Option<PathBuf>,

    /// Install into the system with this root folder, such as an image; start nothing
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is changed, or would be.
#[derive(Debug, Serialize)]
struct InstallReport {
    changes: Vec<String>,
    dry_run: bool,
}

impl Report for InstallReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        self.changes
            .iter()
            .try_for_each(|change| writeln!(out, "{change}"))
    }
}

/// One change of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Write(PathBuf, String),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    Systemctl(Vec<&'static str>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path, _) => write!(f, "write {}", path.display()),
            Self::Link(path, to) => write!(f, "link {} to {}", path.display(), to.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::Systemctl(words) => write!(f, "systemctl {}", words.join(" ")),
        }
    }
}

/// What systemd does at present, where it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Systemd {
    /// It does not run, or another root is meant.
    Silent,
    /// It runs, and whether the service does.
    Runs { service: bool },
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let root = self.root.clone().unwrap_or_else(|| "/".into());
        let systemd = match self.root {
            None => ask_systemd(),
            Some(_) => Systemd::Silent,
        };
        let changes = if self.remove {
            removal(&root, systemd)?
        } else {
            check_systemd(&root)?;
            let program = match self.program {
                Some(program) => program,
                None => std::env::current_exe().map_err(|error| {
                    Failure::failed(format!(
                        "cannot locate this program's own executable: {error}"
                    ))
                })?,
            };
            installation(&root, program_name(&program)?, systemd)?
        };
        caller.show(&InstallReport {
            changes: changes.iter().map(ToString::to_string).collect(),
            dry_run: self.dry_run,
        })?;
        if changes.is_empty() {
            output::say("nothing is to be changed");
        }
        if self.dry_run {
            return Ok(());
        }
        for change in &changes {
            make(change)?;
        }
        if !self.remove {
            advise(caller.home(), self.root.is_some(), systemd);
        }
        Ok(())
    }
}

/// What a person should know after an installation.
fn advise(home: &Home, elsewhere: bool, systemd: Systemd) {
    if elsewhere {
        return;
    }
    if systemd == Systemd::Silent {
        output::say("systemd does not run here at present: it starts the service at the next boot");
    }
    let others = fs::read_dir(home.nets()).is_ok_and(|mut nets| nets.next().is_some());
    if home.path() != Path::new(SYSTEM_HOME) && others {
        output::say(&format!(
            "the service has a home of its own, {SYSTEM_HOME}; the networks of {} are not in it",
            home.path().display()
        ));
    }
}

fn ask_systemd() -> Systemd {
    // As sd_booted(3) does.
    if !Path::new("/run/systemd/system").is_dir() {
        return Systemd::Silent;
    }
    let active = std::process::Command::new("systemctl")
        .args(["is-active", "--quiet", SERVICE])
        .status();
    Systemd::Runs {
        service: active.is_ok_and(|status| status.success()),
    }
}

fn check_systemd(root: &Path) -> Outcome {
    if PACKAGED.iter().any(|folder| root.join(folder).is_dir()) {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} has no systemd; nothing was changed. docs/service.md shows how OpenRC or a plain init \
         starts a node",
        root.display()
    )))
}

/// The program as it stands in a unit.
fn program_name(program: &Path) -> Outcome<&str> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "{} {why}; install it first, for example with `install -m 0755 {0} /usr/local/bin/grid`, \
             and run it from there",
            program.display()
        ))
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    let name = program
        .to_str()
        .filter(|name| name.starts_with('/') && name.bytes().all(plain))
        .ok_or_else(|| {
            wrong("cannot stand in a unit: an absolute path of a-z, 0-9 and ._+- can")
        })?;
    if UNSEEN.iter().any(|folder| program.starts_with(folder)) {
        return Err(wrong("is where a service cannot read it"));
    }
    Ok(name)
}

fn installation(root: &Path, program: &str, systemd: Systemd) -> Outcome<Vec<Change>> {
    let mut changes = Vec::new();
    for (name, template, target) in UNITS {
        for folder in PACKAGED {
            let packaged = root.join(folder).join(name);
            if packaged.exists() {
                return Err(refuse(
                    &packaged,
                    "comes from a package: `systemctl enable --now grid.service` is all it takes",
                ));
            }
        }
        let path = root.join(OWN).join(name);
        let text = template.replace(PROGRAM, program);
        if unit(&path)?.as_ref() != Some(&text) {
            changes.push(Change::Write(path, text));
        }
        if link(root, name, target)?.is_none() {
            let (link, to) = link_of(root, name, target);
            changes.push(Change::Link(link, to));
        }
    }
    if let Systemd::Runs { service } = systemd {
        let wrote = changes
            .iter()
            .any(|change| matches!(change, Change::Write(..)));
        if !changes.is_empty() {
            changes.push(Change::Systemctl(vec!["daemon-reload"]));
        }
        match (service, wrote) {
            (true, true) => changes.push(Change::Systemctl(vec!["restart", SERVICE])),
            (true, false) => {}
            (false, _) => changes.push(Change::Systemctl(vec!["start", SERVICE])),
        }
    }
    Ok(changes)
}

fn removal(root: &Path, systemd: Systemd) -> Outcome<Vec<Change>> {
    let mut changes = Vec::new();
    for (name, _, target) in UNITS {
        if let Some(link) = link(root, name, target)? {
            changes.push(Change::Remove(link));
        }
        let path = root.join(OWN).join(name);
        if unit(&path)?.is_some() {
            changes.push(Change::Remove(path));
        }
    }
    if let Systemd::Runs { service } = systemd
        && !changes.is_empty()
    {
        if service {
            changes.insert(0, Change::Systemctl(vec!["stop", SERVICE, ONLINE]));
        }
        changes.push(Change::Systemctl(vec!["daemon-reload"]));
    }
    Ok(changes)
}

/// What a unit says that this program wrote; `None` if there is none.
fn unit(path: &Path) -> Outcome<Option<String>> {
    let is_file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other
            .map_err(|error| failed("read", path, &error))?
            .is_file(),
    };
    // A unit that is masked is a link to /dev/null.
    if !is_file {
        return Err(refuse(path, "was not written by this program"));
    }
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    if !text.starts_with(MARK) {
        return Err(refuse(path, "was not written by this program"));
    }
    Ok(Some(text))
}

/// Where the link lies that has a unit started, and where it leads.
fn link_of(root: &Path, name: &str, target: &str) -> (PathBuf, PathBuf) {
    let link = root.join(OWN).join(format!("{target}.wants")).join(name);
    (link, Path::new("/").join(OWN).join(name))
}

/// The link that has a unit started, if it is there.
fn link(root: &Path, name: &str, target: &str) -> Outcome<Option<PathBuf>> {
    let (link, to) = link_of(root, name, target);
    match fs::read_link(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(found) if found == to || found == Path::new("..").join(name) => Ok(Some(link)),
        Ok(_) => Err(refuse(&link, "leads to another unit")),
        Err(error) => Err(failed("read", &link, &error)),
    }
}

fn refuse(path: &Path, why: &str) -> Failure {
    Failure::refused(format!(
        "{} {why}; it is left alone, and nothing was changed. Move it away if it is not needed",
        path.display()
    ))
}

fn make(change: &Change) -> Outcome {
    match change {
        Change::Write(path, text) => {
            write(path, text).map_err(|error| failed("write", path, &error))
        }
        Change::Link(path, to) => in_its_folder(path, || symlink(to, path))
            .map_err(|error| failed("make the link", path, &error)),
        Change::Remove(path) => in_its_folder(path, || fs::remove_file(path))
            .map_err(|error| failed("remove", path, &error)),
        Change::Systemctl(words) => systemctl(words),
    }
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("service.tmp");
    in_its_folder(path, || {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&unfinished)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })
}

/// Changes a folder, which is made if there is none, and makes that durable.
fn in_its_folder(path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    fs::create_dir_all(folder)?;
    change()?;
    File::open(folder)?.sync_all()
}

fn systemctl(words: &[&str]) -> Outcome {
    let ended = std::process::Command::new("systemctl").args(words).status();
    let why = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("cannot be run: {error}"),
    };
    Err(Failure::failed(format!(
        "the units are written, but `systemctl {}` {why}; `journalctl -u {SERVICE}` says more",
        words.join(" ")
    )))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let root = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root",
        _ => "",
    };
    Failure::failed(format!("cannot {what} {}: {error}{root}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(changes: &[Change], root: &Path) -> Vec<String> {
        let root = root.display().to_string();
        changes
            .iter()
            .map(|change| change.to_string().replace(&root, ""))
            .collect()
    }

    #[test]
    fn a_plan_is_made_once_and_taken_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let run = |service| Systemd::Runs { service };
        let plan = installation(root, "/usr/bin/grid", run(false)).unwrap();
        assert_eq!(
            lines(&plan, root),
            [
                "write /etc/systemd/system/grid.service",
                "link /etc/systemd/system/multi-user.target.wants/grid.service to \
                 /etc/systemd/system/grid.service",
                "write /etc/systemd/system/grid-wait-online.service",
                "link /etc/systemd/system/network-online.target.wants/grid-wait-online.service to \
                 /etc/systemd/system/grid-wait-online.service",
                "systemctl daemon-reload",
                "systemctl start grid.service",
            ]
        );
        for change in &plan {
            if !matches!(change, Change::Systemctl(_)) {
                make(change).unwrap();
            }
        }
        assert_eq!(installation(root, "/usr/bin/grid", run(true)), Ok(vec![]));
        assert_eq!(
            installation(root, "/usr/bin/grid", Systemd::Silent),
            Ok(vec![])
        );
        let moved = installation(root, "/usr/local/bin/grid", run(true)).unwrap();
        assert_eq!(
            lines(&moved, root),
            [
                "write /etc/systemd/system/grid.service",
                "write /etc/systemd/system/grid-wait-online.service",
                "systemctl daemon-reload",
                "systemctl restart grid.service",
            ]
        );
        let back = removal(root, run(true)).unwrap();
        let stop = Change::Systemctl(vec!["stop", SERVICE, ONLINE]);
        assert_eq!(back.first(), Some(&stop));
        for change in removal(root, Systemd::Silent).unwrap() {
            make(&change).unwrap();
        }
        assert_eq!(removal(root, run(true)), Ok(vec![]));
    }

    #[test]
    fn what_others_wrote_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let own = root.join(OWN);
        fs::create_dir_all(own.join("multi-user.target.wants")).unwrap();
        let unit = own.join(SERVICE);
        fs::write(&unit, "[Unit]\n").unwrap();
        let both = || {
            let failure = installation(root, "/usr/bin/grid", Systemd::Silent).unwrap_err();
            assert_eq!(failure, removal(root, Systemd::Silent).unwrap_err());
            assert_eq!(failure.exit, crate::exit::Exit::Refused);
            failure.text
        };
        assert!(both().contains("was not written by this program"));
        // Masked.
        fs::remove_file(&unit).unwrap();
        symlink("/dev/null", &unit).unwrap();
        both();
        fs::remove_file(&unit).unwrap();
        let link = own.join("multi-user.target.wants").join(SERVICE);
        symlink("/opt/other/grid.service", &link).unwrap();
        assert!(both().contains("another unit"));
        fs::remove_file(&link).unwrap();
        let packaged = root.join(PACKAGED[0]);
        fs::create_dir_all(&packaged).unwrap();
        fs::write(packaged.join(SERVICE), "[Unit]\n").unwrap();
        let failure = installation(root, "/usr/bin/grid", Systemd::Silent).unwrap_err();
        assert!(failure.text.contains("package"), "{failure}");
        assert_eq!(removal(root, Systemd::Silent), Ok(vec![]));
    }

    #[test]
    fn a_service_runs_only_what_it_can_see() {
        for good in ["/usr/bin/grid", "/opt/grid-1.0/grid", "/homes/grid"] {
            assert_eq!(program_name(Path::new(good)), Ok(good));
        }
        for bad in [
            "grid",
            "/home/me/grid",
            "/root/.cargo/bin/grid",
            "/opt/my grid",
            "/opt/%h/grid",
            "/usr/bin/grid (deleted)",
        ] {
            assert!(program_name(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_templates_are_marked_and_name_the_program() {
        for (name, text, target) in UNITS {
            assert!(text.starts_with(MARK), "{name}");
            assert_eq!(text.matches(PROGRAM).count(), 1, "{name}");
            assert!(text.contains(&format!("\nWantedBy={target}\n")), "{name}");
            assert!(
                text.contains(&format!("\nEnvironment=GRID_HOME={SYSTEM_HOME}\n")),
                "{name}"
            );
        }
    }
}
