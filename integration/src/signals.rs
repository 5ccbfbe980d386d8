//! The signals by which a lab is ended from outside, read in a loop instead of handled.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Requests to end. `SIGCHLD` comes along, so that one wait is enough for both.
const REQUESTS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The requests to end and `SIGCHLD` are held back from this thread until this is dropped.
pub(crate) struct Blocked {
    signals: SigSet,
    before: SigSet,
}

impl Blocked {
    /// Holds them back from now on.
    pub(crate) fn new() -> Result<Self> {
        let signals: SigSet = REQUESTS.into_iter().chain([Signal::SIGCHLD]).collect();
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { signals, before })
    }

    /// What was held back before: a child process starts with that.
    pub(crate) fn before(&self) -> SigSet {
        self.before
    }

    /// Starts to read the signals.
    pub(crate) fn listen(&self) -> Result<Listener> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Listener(SignalFd::with_flags(&self.signals, flags)?))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Fails for no mask that the kernel has given us.
        let _ = self.before.thread_set_mask();
    }
}

/// Becomes readable when a signal has arrived.
pub(crate) struct Listener(SignalFd);

impl Listener {
    /// Takes all signals that have arrived. Returns the number of the last one that asks to end.
    pub(crate) fn request_to_end(&self) -> Option<i32> {
        let mut request = None;
        while let Ok(Some(info)) = self.0.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if number != Signal::SIGCHLD as i32 {
                request = Some(number);
            }
        }
        request
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own, where signals to the thread are nobody else's.
    #[test]
    fn a_request_to_end_is_told_from_the_end_of_a_child() {
        let blocked = Blocked::new().unwrap();
        let listener = blocked.listen().unwrap();
        assert_eq!(listener.request_to_end(), None);
        raise(Signal::SIGCHLD);
        assert_eq!(listener.request_to_end(), None);
        raise(Signal::SIGTERM);
        raise(Signal::SIGCHLD);
        assert_eq!(listener.request_to_end(), Some(libc::SIGTERM));
        assert_eq!(listener.request_to_end(), None);
        drop(blocked);
        let now = SigSet::thread_get_mask().unwrap();
        assert!(!now.contains(Signal::SIGTERM));
    }

    #[allow(unsafe_code)]
    fn raise(signal: Signal) {
        // SAFETY: sends a signal that this thread has blocked.
        let done = unsafe { libc::pthread_kill(libc::pthread_self(), signal as i32) };
        assert_eq!(done, 0);
    }
}
