//! Where the kernels are: in a folder outside of every checkout, so that they are built only once.
//!
//! A user-mode kernel is called `uml-HASH-VERSION`: the first twelve digits of the SHA-256 of its
//! configuration, and the version of the source package. `integration/kernel/build` makes it, and
//! names it in the same way. This module only looks it up.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use grid_promises::ContentId;

use crate::Missing;

/// Names a user-mode kernel to use instead of the one in the cache.
pub const UML_KERNEL: &str = "GRID_LAB_KERNEL";
/// What is added to the smallest configuration of a user-mode kernel.
const FRAGMENT: &str = include_str!("../../kernel/uml.config");

/// `$GRID_LAB_CACHE`, else `$XDG_CACHE_HOME/grid-lab`, else `~/.cache/grid-lab`.
#[must_use]
pub fn folder() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(own) = absolute("GRID_LAB_CACHE") {
        return own;
    }
    let home = || absolute("HOME").unwrap_or_else(|| PathBuf::from("/root"));
    absolute("XDG_CACHE_HOME")
        .unwrap_or_else(|| home().join(".cache"))
        .join("grid-lab")
}

/// The user-mode kernel: [`UML_KERNEL`], or the newest one in the cache that was built with this
/// configuration.
///
/// # Errors
/// [`Missing`], with the command that builds one.
pub fn uml() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(UML_KERNEL) {
        let path = PathBuf::from(path);
        return if runs(&path) {
            Ok(path.canonicalize()?)
        } else {
            let path = path.display();
            Err(Missing(format!("{UML_KERNEL} names {path}, which cannot be run")).into())
        };
    }
    uml_in(&folder()).ok_or_else(|| {
        Missing(format!(
            "there is no user-mode kernel in {}: `integration/kernel/build` builds it \
             once, in about ten minutes (on Debian; an ordinary user is told which packages to install)",
            folder().display()
        ))
        .into()
    })
}

fn uml_in(folder: &Path) -> Option<PathBuf> {
    let prefix = format!("uml-{}-", configuration());
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok());
    let fitting = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(&prefix) && !name.ends_with(".new")) && runs(path)
    });
    fitting.max_by_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok())
}

/// The first twelve digits of the configuration's hash.
fn configuration() -> String {
    let id = ContentId::of(FRAGMENT.as_bytes());
    let mut digits = data_encoding::HEXLOWER.encode(id.digest());
    digits.truncate(12);
    digits
}

fn runs(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_this_configuration_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(uml_in(dir.path()), None);
        let make = |name: String, mode: u32, age: u64| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
            path
        };
        let hash = configuration();
        make("uml-000000000000-6.1.1-1".to_owned(), 0o755, 0);
        make(format!("uml-{hash}-6.1.3-1.new"), 0o755, 1);
        make(format!("uml-{hash}-6.1.4-1"), 0o644, 2);
        let newest = make(format!("uml-{hash}-6.1.2-1"), 0o755, 3);
        make(format!("uml-{hash}-6.1.1-1"), 0o755, 4);
        assert_eq!(uml_in(dir.path()), Some(newest));
    }

    #[test]
    fn the_script_names_kernels_by_the_same_hash() {
        let fragment = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel/uml.config");
        let output = std::process::Command::new("sha256sum")
            .arg(fragment)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.get(..12), Some(configuration().as_str()));
    }
}
