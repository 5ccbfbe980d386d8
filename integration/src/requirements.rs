//! What the lab needs from a machine, and what to say when the machine lacks it.
//!
//! This module only checks: it changes nothing and enters nothing.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use grid_netlink::Netlink;
use nix::errno::Errno;

use crate::link;

/// The device through which WireGuard in user space makes its interface.
pub const TUN: &str = "/dev/net/tun";

/// The exit code that says: not done, because the machine lacks something.
pub const SKIPPED: u8 = 77;

/// Why something cannot run on this machine: a test that meets this is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// Says why a user namespace could not be made or used, from the sysctls that forbid them.
///
/// `error` is what `unshare` returned.
#[must_use]
pub fn explain_user_namespace(error: Errno) -> Missing {
    explain_user_namespace_at(Path::new("/proc/sys"), error)
}

fn explain_user_namespace_at(sysctl: &Path, error: Errno) -> Missing {
    let value = |name: &str| {
        fs::read_to_string(sysctl.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let advice = if value("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "this system denies them to ordinary users: run the lab as root, or allow them with \
         `sudo sysctl kernel.unprivileged_userns_clone=1`"
    } else if value("user/max_user_namespaces").as_deref() == Some("0") {
        "this system allows none at all: run the lab as root, or allow some with \
         `sudo sysctl user.max_user_namespaces=15000`"
    } else if value("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "AppArmor takes the capabilities away from them: run the lab as root, or allow them with \
         `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if error == Errno::EPERM {
        "a container or a security policy forbids it: run the lab as root on the host, or start \
         the container with `--privileged`"
    } else if error == Errno::ENOSPC || error == Errno::EUSERS {
        "the limit is reached (sysctl user.max_user_namespaces and the other user.max_* limits, \
         or 32 levels of nesting): end what uses them, or run the lab as root"
    } else {
        "run the lab as root"
    };
    Missing(format!(
        "user namespaces are not available ({error}): {advice}"
    ))
}

/// Checks that WireGuard can run in the network namespace of the calling thread: either the kernel
/// has it, or `/dev/net/tun` can be opened for WireGuard in user space.
///
/// # Errors
/// [`Missing`], with what to do.
pub fn wireguard() -> Result<(), Missing> {
    let kernel = Netlink::route().is_ok_and(|mut netlink| link::kernel_has_wireguard(&mut netlink));
    if kernel { Ok(()) } else { tun(Path::new(TUN)) }
}

/// Checks that the tun device `path` can be opened for reading and writing.
///
/// # Errors
/// [`Missing`], with the device's owner and mode where it exists, and what to do.
pub fn tun(path: &Path) -> Result<(), Missing> {
    let error = match fs::File::options().read(true).write(true).open(path) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let path = path.display();
    let why = "this kernel has no WireGuard, and WireGuard in user space needs";
    let Ok(about) = fs::metadata(path.to_string()) else {
        return Err(Missing(format!(
            "{why} {path}, which does not exist: load the module with `sudo modprobe tun`, or give \
             the container the device"
        )));
    };
    if !about.file_type().is_char_device() {
        return Err(Missing(format!("{why} {path}, which is not a device here")));
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Err(Missing(format!(
            "{why} {path}, which this user may not open (owner uid {}, mode {:04o}): run the lab as \
             root, or open the device with `sudo chmod 0666 {path}`",
            about.uid(),
            about.mode() & 0o7777,
        )));
    }
    Err(Missing(format!(
        "{why} {path}, which cannot be opened ({error}): load the module with `sudo modprobe tun`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_sysctl(name: &str, value: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
        dir
    }

    #[test]
    fn each_sysctl_that_forbids_user_namespaces_is_named_with_its_remedy() {
        for (name, value, remedy) in [
            (
                "kernel/unprivileged_userns_clone",
                "0\n",
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                "user/max_user_namespaces",
                "0\n",
                "user.max_user_namespaces=15000",
            ),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        ] {
            let dir = with_sysctl(name, value);
            let text = explain_user_namespace_at(dir.path(), Errno::EPERM).to_string();
            assert!(text.contains(remedy), "{text}");
            assert!(text.contains("as root"), "{text}");
        }
    }

    #[test]
    fn allowed_by_every_sysctl_the_policy_is_blamed() {
        let dir = with_sysctl("kernel/unprivileged_userns_clone", "1\n");
        let text = explain_user_namespace_at(dir.path(), Errno::EPERM).to_string();
        assert!(text.contains("--privileged"), "{text}");
        let text = explain_user_namespace_at(dir.path(), Errno::ENOSPC).to_string();
        assert!(text.contains("user.max_user_namespaces"), "{text}");
    }

    #[test]
    fn a_missing_tun_device_and_a_plain_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tun");
        assert!(tun(&path).unwrap_err().to_string().contains("modprobe tun"));
        fs::create_dir(&path).unwrap();
        assert!(tun(&path).unwrap_err().to_string().contains("not a device"));
    }
}
