//! The distribution's unmodified kernel in qemu, emulated: hardware virtualisation is not used, because
//! many machines that offer it do not support it. The kernel sees this machine's root file system
//! through virtiofs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::SigSet;
use nix::unistd::geteuid;

use super::cache;
use super::channels::{NAMES, channels};
use super::initrd;
use super::job;
use super::request::Run;
use super::watch::{self, Helper, Machine};
use crate::Missing;

const QEMU: &str = "qemu-system-x86_64";
/// Where Debian puts it, outside of the PATH.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

/// Where this kernel's modules are.
pub(super) fn modules() -> Result<PathBuf> {
    Ok(unpacked()?.join("modules"))
}

/// The newest kernel that `integration/kernel/unmodified` has unpacked.
fn unpacked() -> Result<PathBuf> {
    let folder = cache::folder();
    let entries = fs::read_dir(&folder).into_iter().flatten();
    let fitting = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| name.starts_with("unmodified-") && !name.ends_with(".new"))
                && initrd::is_own(path)
        });
    fitting
        .max_by_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok())
        .ok_or_else(|| {
            Missing(format!(
                "there is no unmodified kernel in {}: `integration/kernel/unmodified` fetches \
                 Debian's and unpacks it there",
                folder.display()
            ))
            .into()
        })
}

/// The virtual machine that does the job in `folder`, and its helpers.
pub(super) fn machine(run: &Run, folder: &Path) -> Result<Machine> {
    require()?;
    if run.simulated_time {
        bail!("time can be simulated only in user-mode Linux: leave out --unmodified");
    }
    let unpacked = unpacked()?;
    let release = only_entry(&unpacked.join("modules"))?;
    let archive = folder.join("initrd");
    initrd::write(&archive, &release)?;
    let (readers, writers) = channels()?;
    let console = folder.join("console");
    let mut command = Command::new(QEMU);
    let memory = run.memory_mib;
    command
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ])
        .args(["-smp", "2", "-m", &format!("{memory}M")])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        // The file server shares the guest's memory.
        .args([
            "-object",
            &format!("memory-backend-memfd,id=memory,size={memory}M,share=on"),
        ])
        .args(["-numa", "node,memdev=memory"])
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-device", "virtio-serial-pci"]);
    for (name, number) in NAMES.iter().zip(writers.numbers()) {
        command
            .args([
                "-chardev",
                &format!("file,id={name},path=/proc/self/fd/{number}"),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev={name},name={name}"),
            ]);
    }
    let mut helpers = Vec::new();
    let writable = run.writable.iter().enumerate();
    let shares = std::iter::once(("host".to_owned(), Path::new("/"), "always"))
        .chain(writable.map(|(n, dir)| (format!("writable{n}"), dir.as_path(), "auto")));
    for (tag, source, cache) in shares {
        let socket = folder.join(format!("{tag}.sock"));
        helpers.push(serve(folder, &tag, source, cache, &socket)?);
        command
            .args([
                "-chardev",
                &format!("socket,id={tag},path={}", socket.display()),
            ])
            .args([
                "-device",
                &format!("vhost-user-fs-pci,chardev={tag},tag={tag}"),
            ]);
    }
    let command_line = format!(
        "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=1 rdinit=/init \
         -- {} {}",
        job::COMMAND,
        folder.display()
    );
    let log = File::create(folder.join("qemu.log"))?;
    command
        .arg("-kernel")
        .arg(unpacked.join("vmlinuz"))
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", &command_line])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(Machine {
        command,
        readers,
        writers,
        console,
        helpers,
    })
}

fn require() -> Result<()> {
    let missing = |text: String| -> Result<()> { Err(Missing(text).into()) };
    if !geteuid().is_root() {
        return missing(
            "the unmodified kernel needs root (for virtiofsd); user-mode Linux does not".to_owned(),
        );
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(QEMU).is_file()) {
        return missing(format!(
            "{QEMU} is not installed: `apt-get install --no-install-recommends qemu-system-x86`"
        ));
    }
    if !Path::new(VIRTIOFSD).is_file() {
        return missing(format!(
            "{VIRTIOFSD} does not exist: `apt-get install qemu-system-common` (Debian 12)"
        ));
    }
    Ok(())
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(dir)
        .ok()
        .and_then(|mut entries| entries.next());
    let entry = entry.with_context(|| format!("there is nothing in {}", dir.display()))?;
    Ok(entry?.path())
}

/// Starts the server of one folder and waits until it listens.
fn serve(folder: &Path, tag: &str, source: &Path, cache: &str, socket: &Path) -> Result<Helper> {
    let log = folder.join(format!("{tag}.log"));
    let mut command = Command::new(VIRTIOFSD);
    command
        .arg(format!("--socket-path={}", socket.display()))
        .args(["-o", &format!("source={}", source.display())])
        .args([
            "-o",
            "sandbox=chroot",
            "-o",
            &format!("cache={cache}"),
            "-o",
            "log_level=err",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?);
    watch::tie(&mut command, SigSet::thread_get_mask()?);
    let child = command.spawn().context("cannot start virtiofsd")?;
    let mut helper = Helper(child);
    let until = Instant::now() + Duration::from_secs(5);
    while !socket.exists() {
        if helper.0.try_wait()?.is_some() || Instant::now() > until {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("virtiofsd does not serve {}: {said}", source.display());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(helper)
}
