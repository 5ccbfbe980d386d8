//! The first root of a virtual machine, in memory: this executable, and the modules that are needed
//! to see the machine outside. Written outside as the archive that kernels unpack (cpio's `newc`);
//! started from inside.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// Where the root of the machine outside is first mounted.
pub(super) const HOST: &str = "/host";
const MODULES: &str = "/lab-modules";
/// What the root, the channels and the overlay need. Some kernels have some of them built in.
const NEEDED: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// Writes the archive to `to`, with modules from `tree`, a folder with a `modules.dep`.
pub(super) fn write(to: &Path, tree: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(to)?));
    for dir in ["dev", "proc", "sys", "run", "host", "lab-modules", "lib"] {
        archive.entry(dir, 0o040_755, &[])?;
    }
    // Executables name their loader in /lib64; where it looks for libraries differs.
    archive.entry("lib64", 0o120_777, b"lib")?;
    let own = std::env::current_exe().context("cannot find this executable")?;
    archive.entry("init", 0o100_755, &fs::read(&own)?)?;
    for library in libraries()? {
        let name = library.file_name().context("a library without a name")?;
        let bytes = fs::read(&library)?;
        let name = format!("lib/{}", name.to_string_lossy());
        archive.entry(&name, 0o100_755, &bytes)?;
    }
    for (number, module) in load_order(tree)?.iter().enumerate() {
        let name = format!("lab-modules/{number:02}");
        archive.entry(&name, 0o100_644, &fs::read(tree.join(module))?)?;
    }
    archive.finish()
}

/// The shared libraries that this process has mapped, the loader among them.
fn libraries() -> Result<Vec<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// The files of [`NEEDED`] and their dependencies, in an order in which they can be loaded.
fn load_order(tree: &Path) -> Result<Vec<String>> {
    let path = tree.join("modules.dep");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut order: Vec<String> = Vec::new();
    for wanted in NEEDED {
        let line = text.lines().find_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let name = Path::new(file).file_name()?.to_str()?.split_once('.')?.0;
            (name.replace('-', "_") == wanted).then_some((file, needs))
        });
        let Some((file, needs)) = line else {
            continue;
        };
        // The last one listed needs none of the others.
        for file in needs.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    if let Some(packed) = order.iter().find(|file| !file.ends_with(".ko")) {
        bail!("the module {packed} is compressed, which this kernel lab cannot read");
    }
    Ok(order)
}

struct Archive<W: Write> {
    to: W,
    number: u32,
}

impl<W: Write> Archive<W> {
    fn new(to: W) -> Self {
        Self { to, number: 0 }
    }

    /// Thirteen numbers of eight hexadecimal digits after the magic, then name and content, each
    /// padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.number += 1;
        let size = u32::try_from(bytes.len()).context("a file is too large for the archive")?;
        let name_size = u32::try_from(name.len() + 1)?;
        write!(self.to, "070701")?;
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        for field in fields {
            write!(self.to, "{field:08x}")?;
        }
        self.to.write_all(name.as_bytes())?;
        self.to.write_all(&[0])?;
        self.pad(110 + name.len() + 1)?;
        self.to.write_all(bytes)?;
        self.pad(bytes.len())?;
        Ok(())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeros = [0; 3];
        let count = written.next_multiple_of(4) - written;
        self.to.write_all(zeros.get(..count).unwrap_or_default())
    }

    fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(())
    }
}

/// In a virtual machine: loads the modules and mounts the root of the machine outside, read-only, on
/// [`HOST`]. Returns false if this kernel started with that root.
pub(super) fn start() -> Result<bool> {
    if !Path::new(MODULES).exists() {
        return Ok(false);
    }
    for (kind, on) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(Some(kind), on, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {kind}"))?;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(MODULES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    for file in files {
        match finit_module(File::open(&file)?, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => bail!("cannot load module {}: {error}", file.display()),
        }
    }
    mount(
        Some("host"),
        HOST,
        Some("virtiofs"),
        MsFlags::MS_RDONLY,
        None::<&str>,
    )
    .context("cannot mount the root of the machine outside")?;
    Ok(true)
}

/// The devices of the serial ports with these names. They come up a moment after their module.
pub(super) fn ports(names: &[&str]) -> Result<Vec<PathBuf>> {
    let find = |name: &str| -> Option<PathBuf> {
        let entries = fs::read_dir("/sys/class/virtio-ports").ok()?;
        let mut dirs = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let dir = dirs.find(|dir| {
            fs::read_to_string(dir.join("name")).is_ok_and(|found| found.trim() == name)
        })?;
        Some(Path::new("/dev").join(dir.file_name()?))
    };
    for _ in 0..250 {
        let found: Option<Vec<PathBuf>> = names.iter().map(|name| find(name)).collect();
        if let Some(found) = found.filter(|found| found.iter().all(|path| path.exists())) {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("the virtual machine has no serial ports")
}

/// Whether only its owner may change `path`: what is unpacked there runs as the kernel.
pub(super) fn is_own(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let text = "kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/v/virtio.ko kernel/v/ring.ko\n\
                    kernel/fs/fuse/fuse.ko:\n\
                    kernel/v/virtio-pci.ko: kernel/v/virtio.ko kernel/v/ring.ko\n\
                    kernel/net/wireguard.ko: kernel/x.ko\n";
        fs::write(dir.path().join("modules.dep"), text).unwrap();
        assert_eq!(
            load_order(dir.path()).unwrap(),
            [
                "kernel/v/ring.ko",
                "kernel/v/virtio.ko",
                "kernel/v/virtio-pci.ko",
                "kernel/fs/fuse/fuse.ko",
                "kernel/fs/fuse/virtiofs.ko"
            ]
        );
        fs::write(dir.path().join("modules.dep"), "kernel/overlay.ko.xz:\n").unwrap();
        assert!(load_order(dir.path()).is_err());
    }

    #[test]
    fn an_archive_has_aligned_entries_and_an_end() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.entry("lib", 0o040_755, b"").unwrap();
        archive.entry("lib/x.so", 0o100_755, b"12345").unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let at: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(at.len(), 3, "folder, file, end");
        assert!(at.iter().all(|at| at % 4 == 0), "{at:?}");
        assert!(text.contains("lib/x.so\0") && text.contains("12345\0"));
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
