//! What an executable is kept from when it runs for a peer: the files of the home, its control socket, the powers of
//! this process, and living on after its call.
//!
//! | by | is kept from it |
//! |---|---|
//! | another user, if this process may become one | what is not for everybody |
//! | landlock, if the kernel has it | all files but the system's programs and libraries, and a folder of its own; signals and traces of processes beside it |
//! | seccomp | Unix sockets, leaving its process group, namespaces of its own, tracing |
//! | no capabilities, no new privileges | what only root may do |
//! | limits of resources | core dumps, memory, large files, many descriptors and processes |
//!
//! Network sockets are left to it: a person allowed it, and a program may have its data elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::Duration;

use grid_promises::ContentId;
use landlock::{
    ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
    path_beneath_rules,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, chown, geteuid, mkdtemp, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use tracing::warn;

/// What is read and executed: nothing here is anybody's in particular.
const READABLE: [&str; 23] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
/// The newest interface of landlock that is used; of an older one, what it has.
const LANDLOCK: ABI = ABI::V7;
/// The most data of one process, and the longest file, in bytes.
const MAX_DATA: u64 = 1 << 30;
const MAX_FILE: u64 = 64 << 20;
const MAX_DESCRIPTORS: u64 = 256;
/// The most processes of one executable, where it has a user of its own.
const MAX_PROCESSES: u64 = 64;
/// Users of executables: nobody is given these numbers (systemd reserves what lies below and above).
const FIRST_USER: u32 = 0x7772_0000;
/// Where that number has no meaning, as in a container: the user that owns nothing.
const NOBODY: u32 = 65534;
/// The capabilities without which this process cannot make another one another user's: chown, setgid, setuid.
const TO_CHANGE_USER: u64 = 1 | 1 << 6 | 1 << 7;
/// On x86-64, calls of the x32 interface have this bit.
const X32: i64 = 0x4000_0000;

/// How one executable is confined.
#[derive(Clone, Debug)]
pub struct Confinement {
    user: Option<u32>,
    filter: Arc<BpfProgram>,
    hidden: PathBuf,
}

/// The folder of one call, for its user alone. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct CallFolder(PathBuf);

impl Drop for CallFolder {
    fn drop(&mut self) {
        // What cannot be removed was made so by the executable; nobody misses it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Confinement {
    /// For an executable. What `hidden` lies in is out of its reach, even if other folders there would not be.
    ///
    /// # Errors
    /// This machine's architecture has no filter.
    pub fn new(program: &ContentId, hidden: &Path) -> io::Result<Self> {
        Ok(Self {
            user: user_of(program),
            filter: Arc::new(filter().map_err(io::Error::other)?),
            hidden: hidden.to_owned(),
        })
    }

    /// As this process's own user, as it is where this process may not become another one. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn of_the_same_user(self) -> Self {
        Self { user: None, ..self }
    }

    /// Has a command start confined, in an empty folder that goes with what is returned. `keep` is a descriptor that
    /// it needs.
    pub(super) fn apply(
        &self,
        command: &mut Command,
        keep: RawFd,
        time: Duration,
    ) -> io::Result<CallFolder> {
        let folder = CallFolder(mkdtemp(&std::env::temp_dir().join("grid-call-XXXXXX"))?);
        if let Some(user) = self.user {
            chown(
                &folder.0,
                Some(Uid::from_raw(user)),
                Some(Gid::from_raw(user)),
            )?;
        }
        let rules = self.rules(&folder.0).map_err(io::Error::other)?;
        if rules.is_none() && self.user.is_none() {
            say_that_files_are_open();
        }
        let (user, filter) = (self.user, Arc::clone(&self.filter));
        let confine = move || {
            limit(user.is_some(), time);
            close_descriptors(keep);
            if let Some(user) = user {
                become_user(user)?;
            }
            drop_capabilities()?;
            prctl::set_no_new_privs()?;
            if let Some(rules) = &rules {
                restrict(rules)?;
            }
            // Its error would have to be allocated.
            apply_filter(&filter).map_err(|_| io::Error::from(Errno::EPERM))
        };
        command.current_dir(&folder.0);
        // SAFETY: the closure runs between fork and exec. It makes system calls with what was made before, allocates
        // nothing and takes no lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(confine);
        }
        Ok(folder)
    }

    fn readable(&self) -> impl Iterator<Item = &'static Path> {
        let all = READABLE.iter().map(Path::new);
        all.filter(|base| !self.hidden.starts_with(base))
    }

    /// The rules of landlock; `None` if the kernel has none.
    fn rules(&self, folder: &Path) -> Result<Option<OwnedFd>, landlock::RulesetError> {
        let devices = AccessFs::ReadFile | AccessFs::WriteFile;
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .add_rules(path_beneath_rules(
                self.readable(),
                AccessFs::from_read(LANDLOCK),
            ))?
            .add_rules(path_beneath_rules(DEVICES, devices))?
            .add_rules(path_beneath_rules([folder], AccessFs::from_all(LANDLOCK)))?;
        Ok(rules.into())
    }
}

fn say_that_files_are_open() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        warn!(
            "executables that peers call can read what this server can: its kernel has no landlock, and it is not \
             root, so it cannot run them as another user"
        );
    });
}

/// Another user, if this process may become one: each executable has its own, so that they are strangers to each other.
fn user_of(program: &ContentId) -> Option<u32> {
    if !geteuid().is_root() || capabilities()? & TO_CHANGE_USER != TO_CHANGE_USER {
        return None;
    }
    let digest = program.to_bytes();
    let last = digest.last_chunk::<2>().copied()?;
    let own = FIRST_USER | u32::from(u16::from_be_bytes(last));
    let is_mapped = |user: &u32| {
        ["uid_map", "gid_map"].iter().all(|map| {
            let map = fs::read_to_string(format!("/proc/self/{map}"));
            map.is_ok_and(|map| maps(&map, *user))
        })
    };
    [own, NOBODY].into_iter().find(is_mapped)
}

/// The capabilities that this process can use.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether a map of users has this one: each line is its first, what that is outside, and how many follow.
fn maps(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(_), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(user))
    })
}

/// What no executable may ask the kernel for. It learns that the kernel does not have it: for `clone3`, whose flags
/// cannot be seen, the C library then takes `clone`.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let when = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![condition])?])
    };
    let new_user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let local = u64::from(libc::AF_UNIX.unsigned_abs());
    let mut rules = BTreeMap::from([
        (libc::SYS_socket, when(0, SeccompCmpOp::Eq, local)?),
        (
            libc::SYS_clone,
            when(0, SeccompCmpOp::MaskedEq(new_user), new_user)?,
        ),
    ]);
    for call in [
        libc::SYS_clone3,
        libc::SYS_io_uring_setup,
        libc::SYS_kcmp,
        libc::SYS_pidfd_getfd,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_setns,
        libc::SYS_setpgid,
        libc::SYS_setsid,
        libc::SYS_unshare,
    ] {
        rules.insert(call, Vec::new());
    }
    if cfg!(target_arch = "x86_64") {
        let again = rules.clone().into_iter();
        rules.extend(again.map(|(call, rule)| (call | X32, rule)));
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let errno = libc::ENOSYS.unsigned_abs();
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        arch,
    )?
    .try_into()
}

/// In the child. What the system does not limit, it does not.
fn limit(has_own_user: bool, time: Duration) {
    let seconds = time.as_secs() + 1;
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_CPU, seconds),
        (Resource::RLIMIT_DATA, MAX_DATA),
        (Resource::RLIMIT_FSIZE, MAX_FILE),
        (Resource::RLIMIT_NOFILE, MAX_DESCRIPTORS),
    ] {
        let _ = setrlimit(resource, most, most);
    }
    if has_own_user {
        let _ = setrlimit(Resource::RLIMIT_NPROC, MAX_PROCESSES, MAX_PROCESSES);
    }
}

/// In the child: nothing that this process has open is open in the executable. All of it is marked so already; this
/// is for what a library forgot. A kernel before 5.11 cannot.
fn close_descriptors(keep: RawFd) {
    let keep = keep.unsigned_abs();
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: a system call that takes three numbers, and marks descriptors of this process.
            #[allow(unsafe_code)]
            unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    first,
                    last,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
        }
    }
}

/// In the child.
fn become_user(user: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// In the child: with no new privileges, what is given up here does not come back by an exec.
fn drop_capabilities() -> nix::Result<()> {
    #[repr(C)]
    struct Header(u32, i32);
    // The third version, for 64 capabilities: effective, permitted, inheritable, twice.
    let (header, none) = (Header(0x2008_0522, 0), [0_u32; 6]);
    // SAFETY: the kernel reads a header and six numbers, which live for as long as the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    Errno::result(result).map(drop)
}

/// In the child.
fn restrict(rules: &OwnedFd) -> nix::Result<()> {
    // SAFETY: a system call that takes two numbers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_in_the_map() {
        let whole = "         0          0 4294967295\n";
        assert!(maps(whole, NOBODY) && maps(whole, FIRST_USER));
        let container = "0 100000 65536\n";
        assert!(maps(container, NOBODY) && !maps(container, FIRST_USER));
        let two = "0 1000 1\n1 100000 10\n";
        assert!(maps(two, 10) && !maps(two, 11) && !maps("", 0) && !maps("junk", 0));
    }

    #[test]
    fn folders_that_hold_the_hidden_one_are_left_out() {
        for (hidden, is_left_out) in [("/usr/home/cache", true), ("/var/cache", false)] {
            let confinement = Confinement::new(&ContentId::of(b"it"), Path::new(hidden)).unwrap();
            let mut readable = confinement.readable();
            assert_eq!(!readable.any(|base| base == Path::new("/usr")), is_left_out);
        }
    }
}
