//! The first process of a kernel: mounts a writable root, runs the command, reports how it ended, and
//! switches the machine off.
//!
//! What the command writes goes to memory: an overlay over the root of the machine outside. It has its
//! own kernel file systems and its own `/run`, and the loopback interface is up.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use grid_netlink::Netlink;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{self, SetArg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chroot, sethostname};

use super::channels::{EXIT, FAILED, NAMES};
use super::initrd;
use super::job::Job;
use super::request::INSIDE;
use crate::link;
use crate::output::say;

/// Where the new root is assembled.
const STAGE: &str = "/run";

/// Acts as process 1 of a kernel: does the job in `folder` and never returns.
pub fn first_process(folder: &OsStr) -> ! {
    match do_job(Path::new(folder)) {
        Ok(never) => match never {},
        Err(error) => say(&format!("lab: {error:#}")),
    }
    power_off()
}

fn do_job(folder: &Path) -> Result<Infallible> {
    let in_qemu = initrd::start()?;
    let old = if in_qemu { initrd::HOST } else { "/" };
    let job = Job::read(&Path::new(old).join(folder.strip_prefix("/").unwrap_or(folder)))?;
    change_root(old, &job)?;
    let [stdout, stderr, mut status] = open_channels(&job)?;
    let word = match run(&job, stdout.try_clone()?, stderr.try_clone()?) {
        Ok(ended) => {
            let code = ended.code().or(ended.signal().map(|signal| 128 + signal));
            format!("{EXIT}{}\n", code.unwrap_or(1))
        }
        Err(error) => format!("{FAILED}{error:#}\n"),
    };
    for line in [&stdout, &stderr] {
        drain(line);
    }
    status.write_all(word.as_bytes())?;
    drain(&status);
    power_off()
}

fn power_off() -> ! {
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // It returns only if it is not allowed; a kernel also stops when its first process ends.
    std::process::exit(1)
}

/// Puts an overlay in memory over `old`, fills it with the kernel's file systems, and makes it the
/// root.
fn change_root(old: &str, job: &Job) -> Result<()> {
    let stage = Path::new(STAGE);
    mount_at("tmpfs", stage, Some("mode=0755,size=75%"))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| stage.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let layers = format!(
        "lowerdir={old},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount_at("overlay", &root, Some(&layers))?;
    for (kind, on) in [
        ("proc", "proc"),
        ("sysfs", "sys"),
        ("devtmpfs", "dev"),
        ("tmpfs", "run"),
    ] {
        let on = root.join(on);
        fs::create_dir_all(&on)?;
        mount_at(kind, &on, (kind == "tmpfs").then_some("mode=0755"))?;
    }
    for (kind, on, options) in [
        ("devpts", "dev/pts", "ptmxmode=0666"),
        ("tmpfs", "dev/shm", "mode=1777"),
    ] {
        let on = root.join(on);
        fs::create_dir_all(&on)?;
        mount_at(kind, &on, Some(options))?;
    }
    devices(&root.join("dev"))?;
    for (number, dir) in job.writable.iter().enumerate() {
        share(job, &root, number, dir)?;
    }
    if let Some(modules) = &job.modules {
        let release = nix::sys::utsname::uname()?.release().to_owned();
        let on = root.join("usr/lib/modules").join(&release);
        fs::create_dir_all(&on)?;
        let from = root.join(modules.strip_prefix("/").unwrap_or(modules));
        bind(&from.join(&release), &on)?;
    }
    // Moved, not just entered: a process whose root is not that of its mount namespace may not make
    // user namespaces.
    std::env::set_current_dir(&root)?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE).context("cannot move the root")?;
    chroot(".").context("cannot enter the new root")?;
    std::env::set_current_dir("/")?;
    sethostname("grid-lab")?;
    // An ordinary machine has these set during boot.
    let mut netlink = Netlink::route().context("cannot open a netlink socket")?;
    link::index_of("lo").and_then(|lo| link::set_up(&mut netlink, lo, true))?;
    Ok(())
}

const NONE: Option<&str> = None;

fn mount_at(kind: &str, on: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(kind), on, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("cannot mount {kind} on {}", on.display()))
}

fn bind(what: &Path, on: &Path) -> Result<()> {
    mount(Some(what), on, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("cannot show {} at {}", what.display(), on.display()))
}

/// What a distribution's boot adds to the kernel's own device nodes.
fn devices(dev: &Path) -> Result<()> {
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name))?;
    }
    let tun = dev.join("net/tun");
    if tun.exists() {
        fs::set_permissions(tun, Permissions::from_mode(0o666))?;
    }
    Ok(())
}

/// Makes a folder of the machine outside writable.
fn share(job: &Job, root: &Path, number: usize, dir: &Path) -> Result<()> {
    let on = root.join(dir.strip_prefix("/").unwrap_or(dir));
    fs::create_dir_all(&on)?;
    let (kind, source, options) = if job.uml {
        ("hostfs", "none".to_owned(), dir.to_str())
    } else {
        ("virtiofs", format!("writable{number}"), None)
    };
    mount(
        Some(source.as_str()),
        &on,
        Some(kind),
        MsFlags::empty(),
        options,
    )
    .with_context(|| format!("cannot make {} writable", dir.display()))
}

fn open_channels(job: &Job) -> Result<[File; 3]> {
    let paths: Vec<PathBuf> = if job.uml {
        (0..NAMES.len())
            .map(|n| format!("/dev/ttyS{n}").into())
            .collect()
    } else {
        initrd::ports(&NAMES)?
    };
    let open = |path: &PathBuf| -> Result<File> {
        let file = File::options()
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if job.uml {
            let mut settings = termios::tcgetattr(&file)?;
            termios::cfmakeraw(&mut settings);
            termios::tcsetattr(&file, SetArg::TCSANOW, &settings)?;
        }
        Ok(file)
    };
    let [a, b, c] = paths.as_slice() else {
        anyhow::bail!("there are {} channels, not 3", paths.len());
    };
    Ok([open(a)?, open(b)?, open(c)?])
}

/// Waits until a serial line has sent everything. On other channels there is nothing to wait for.
fn drain(line: &File) {
    let _ = termios::tcdrain(line);
}

fn run(job: &Job, stdout: File, stderr: File) -> Result<ExitStatus> {
    let (program, arguments) = job.command.split_first().context("no command is named")?;
    let path = job.environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, value)| value.to_string_lossy().into_owned());
    let path = format!(
        "{}:/usr/sbin:/sbin",
        path.unwrap_or("/usr/bin:/bin".to_owned())
    );
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .env("PATH", path)
        .env(INSIDE, if job.uml { "uml" } else { "unmodified" })
        .current_dir(&job.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    let pumps = [
        pump(child.stdout.take(), stdout),
        pump(child.stderr.take(), stderr),
    ];
    let status = reap_until(&child)?;
    for done in pumps {
        // Processes that it left behind may hold its output open; they end with the kernel.
        let _ = done.recv_timeout(Duration::from_secs(1));
    }
    Ok(status)
}

/// Waits for `child`, and reaps orphans meanwhile.
fn reap_until(child: &Child) -> Result<ExitStatus> {
    let wanted = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == wanted => {
                return Ok(ExitStatus::from_raw(code << 8));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == wanted => {
                return Ok(ExitStatus::from_raw(signal as i32));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}

fn pump(from: Option<impl Read + Send + 'static>, mut to: File) -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 12];
        let mut from = from;
        while let Some(Ok(length @ 1..)) = from.as_mut().map(|from| from.read(&mut buffer)) {
            if to
                .write_all(buffer.get(..length).unwrap_or_default())
                .is_err()
            {
                break;
            }
        }
        let _ = sender.send(());
    });
    receiver
}
