//! The TUN device: the kernel's end of a userspace interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::error::Error;
use crate::if_name::IfName;

const PATH: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF`: creates an interface and binds the file to it.
    tunsetiff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);

/// Checks that the TUN driver can be opened.
pub(super) fn check() -> Result<(), Error> {
    open().map(drop)
}

/// Creates the interface, which lives as long as the file is open. An existing device of that name is
/// never taken over.
pub(super) fn create(name: &IfName) -> Result<File, Error> {
    let file = open()?;
    // One packet per read, no header before it, and exclusive: we must not attach to a persistent
    // device that somebody left under this name.
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::from_ne_bytes(low_half(flags));
    bind(&file, &request).map_err(|source| Error::os(format!("creating {name}"), source))?;
    Ok(file)
}

fn open() -> Result<File, Error> {
    // Reads and writes must never block the one thread that serves the device.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(PATH)
        .map_err(Error::NoTun)
}

/// `ifr_flags` has 16 bits; the flags above fit.
fn low_half(flags: libc::c_int) -> [u8; 2] {
    let [b0, b1, _, _] = flags.to_le_bytes();
    u16::from_le_bytes([b0, b1]).to_ne_bytes()
}

fn empty_request() -> libc::ifreq {
    libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_map: no_map() },
    }
}

/// The largest member of the union, which initialises every byte of it.
fn no_map() -> libc::__c_anonymous_ifru_map {
    libc::__c_anonymous_ifru_map {
        mem_start: 0,
        mem_end: 0,
        base_addr: 0,
        irq: 0,
        dma: 0,
        port: 0,
    }
}

#[allow(unsafe_code)]
fn bind(file: &File, request: &libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open for the duration of the call, and the request is an
    // initialised ifreq that the kernel reads and does not keep. The name ends with a zero,
    // because an IfName is shorter than the field.
    unsafe { tunsetiff(file.as_raw_fd(), request) }?;
    Ok(())
}
