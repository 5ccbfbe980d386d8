//! The bytes that were allowed, where nobody can exchange them before they run.
//!
//! A file could be replaced or written to between being checked and being executed. So the bytes are
//! checked in memory, copied into a file without a name (`memfd_create`), which is then sealed against
//! writing, growing, shrinking and further seals: from then on the kernel refuses every change, also
//! to this process. That file is executed, by its descriptor (`/proc/self/fd/N`, which is how the C
//! library's `fexecve` does it where `execveat` is not at hand).
//!
//! What the executable loads in turn (an interpreter, shared libraries) is the system's, not covered
//! by the content id. A script's interpreter must be able to open the descriptor, so a script inherits
//! it; a binary does not.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use grid_promises::ContentId;
use grid_promises::content_id::VerifyError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::allowed::Allowed;
use crate::execute::limits::MAX_EXECUTABLE;

/// `MFD_EXEC` (Linux 6.3): says that the file is to be executed. Older kernels take every memfd for
/// that, and refuse the flag.
const MFD_EXEC: u32 = 0x10;

/// An allowed executable, ready to run.
#[derive(Debug)]
pub struct Sealed {
    id: ContentId,
    file: OwnedFd,
    script: bool,
}

impl Sealed {
    /// Checks the bytes, and seals them.
    ///
    /// # Errors
    /// They are not what was allowed, are too long, or the system refuses. Nothing was changed.
    pub fn new(allowed: Allowed, bytes: &[u8]) -> Result<Self, SealError> {
        if bytes.len() > MAX_EXECUTABLE {
            return Err(SealError::TooLong {
                found: bytes.len(),
                max: MAX_EXECUTABLE,
            });
        }
        allowed.id().verify(bytes)?;
        Ok(Self {
            id: *allowed.id(),
            file: seal(bytes).map_err(SealError::System)?,
            script: bytes.starts_with(b"#!"),
        })
    }

    /// The executable's content id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// What the bytes are open as.
    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// A command that runs exactly these bytes, under a name of the caller's choice (`argv[0]`). It
    /// must be started while this value lives.
    pub(super) fn command(&self, name: &OsStr) -> Command {
        let descriptor = self.file.as_raw_fd();
        let mut command = Command::new(format!("/proc/self/fd/{descriptor}"));
        command.arg0(name);
        if self.script {
            let keep_open = move || {
                // SAFETY: only borrowed for this call, in the child, which has a copy of every
                // descriptor; `self.file` is open in the parent for as long as it starts children.
                #[allow(unsafe_code)]
                let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
                fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
                Ok(())
            };
            // SAFETY: the closure runs between fork and exec. It makes one system call, allocates
            // nothing and takes no lock.
            #[allow(unsafe_code)]
            unsafe {
                command.pre_exec(keep_open);
            }
        }
        command
    }

    /// What an error of the system at the start means.
    pub(super) fn why_not(&self, error: &io::Error) -> String {
        let advice = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOEXEC) => {
                "; it is not an executable of this kind of machine, nor a script with `#!`"
            }
            Some(Errno::ENOENT) => {
                "; /proc is not mounted, or the interpreter or loader that it names is not there"
            }
            Some(Errno::EACCES) => "; the sysctl vm.memfd_noexec may forbid it",
            _ => "",
        };
        format!("{error}{advice}")
    }
}

fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = flags | MFdFlags::from_bits_retain(MFD_EXEC);
    let descriptor = match memfd_create(c"grid-executable", executable) {
        Err(Errno::EINVAL) => memfd_create(c"grid-executable", flags)?,
        other => other?,
    };
    let mut file = File::from(descriptor);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// An executable that cannot be made ready. It was not run.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Other bytes than were allowed: hostile, or a damaged store. Fetch the object again.
    #[error("{0}; fetch the executable again")]
    NotTheObject(#[from] VerifyError),
    /// Longer than an executable may be.
    #[error("the executable has {found} bytes, more than the {max} allowed")]
    TooLong {
        /// Its length, in bytes.
        found: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The system gives no memory for it.
    #[error("cannot make the executable ready: {0}; try again when there is more memory")]
    System(io::Error),
}

#[cfg(test)]
mod tests {
    use super::super::allowed::AllowList;
    use super::*;
    use std::io::Seek as _;

    fn sealed(bytes: &[u8]) -> Sealed {
        let id = ContentId::of(bytes);
        Sealed::new(AllowList::new([id]).check(&id).unwrap(), bytes).unwrap()
    }

    #[test]
    fn other_bytes_than_the_allowed_ones_are_refused() {
        let id = ContentId::of(b"#!/bin/sh\n");
        let allowed = AllowList::new([id]).check(&id).unwrap();
        let error = Sealed::new(allowed, b"#!/bin/sh\nrm -rf /\n").unwrap_err();
        assert!(matches!(error, SealError::NotTheObject(_)));
    }

    #[test]
    fn what_is_sealed_cannot_be_changed() {
        let sealed = sealed(b"#!/bin/sh\nexit 3\n");
        let mut file = File::from(sealed.file.try_clone().unwrap());
        file.rewind().unwrap();
        let error = file.write_all(b"#!/bin/no").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(1000).is_err());
        let path = format!("/proc/self/fd/{}", sealed.file.as_raw_fd());
        assert!(std::fs::write(path, b"x").is_err());
        let status = sealed.command(OsStr::new("x")).status().unwrap();
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_binary_does_not_inherit_the_descriptor() {
        let bytes = std::fs::read("/bin/ls").unwrap();
        let output = sealed(&bytes)
            .command(OsStr::new("ls"))
            .args(["-l", "/proc/self/fd"])
            .output()
            .unwrap();
        let open = String::from_utf8(output.stdout).unwrap();
        assert!(open.contains(" 0 -> "), "{open}");
        assert!(!open.contains("grid-executable"), "{open}");
    }

    #[test]
    fn what_is_no_executable_is_said_to_be_none() {
        let sealed = sealed(b"hello");
        let error = sealed.command(OsStr::new("x")).status().unwrap_err();
        assert!(
            sealed.why_not(&error).contains("not an executable"),
            "{error}"
        );
    }
}
