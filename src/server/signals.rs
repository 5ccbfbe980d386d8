//! The signals that end a server, and those that it ignores.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// What the signals of a server come to. While this value lives, none of them has its default action, which
/// would end the process without a shutdown: a stale socket and interfaces that nobody takes down.
#[derive(Debug, Default)]
pub(super) struct Signals {
    ending: Vec<(Signal, unix::Signal)>,
    _ignored: Vec<unix::Signal>,
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn catch(background: bool) -> io::Result<Self> {
        let catch = |signal_: Signal| signal(SignalKind::from_raw(signal_ as i32));
        let mut ending = vec![Signal::SIGTERM, Signal::SIGINT];
        // Other daemons reopen their log or print statistics at these, and scripts that rotate logs or watch
        // processes send them. Nothing is to be reopened here.
        let mut ignored = vec![Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM];
        for signal in [Signal::SIGHUP, Signal::SIGQUIT] {
            // A server in the background has no terminal that could hang up. Whoever started this one
            // without wanting it to end, as nohup does, had the signal ignored.
            if (background && signal == Signal::SIGHUP) || is_ignored(signal) {
                ignored.push(signal);
            } else {
                ending.push(signal);
            }
        }
        let ending = ending
            .into_iter()
            .map(|signal| Ok((signal, catch(signal)?)))
            .collect::<io::Result<_>>()?;
        let _ignored = ignored.into_iter().map(catch).collect::<io::Result<_>>()?;
        Ok(Self { ending, _ignored })
    }

    /// Waits for one that ends the server.
    pub(super) async fn ending(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, caught) in &mut self.ending {
                if caught.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether this process ignores a signal by now. Without `/proc` it seems not to.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

fn is_in_mask(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_ignored_signals_is_read() {
        let nohup = "Name:\tgrid\nSigBlk:\t0000000000000006\nSigIgn:\t0000000000001001\n";
        assert!(is_in_mask(nohup, Signal::SIGHUP));
        assert!(!is_in_mask(nohup, Signal::SIGQUIT));
        assert!(!is_in_mask("", Signal::SIGHUP));
    }
}
