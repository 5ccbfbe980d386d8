//! Keeps interfaces as they should be: at once when the kernel tells that somebody changed one, and
//! on a slow timer.
//!
//! What is put right is told by the kernel as well, so that each repair is looked at once more. Two
//! programs that want different things meet once a second, not more often.

use std::future::pending;
use std::io;
use std::time::Duration;

use grid_wg::{Changes, Place, Watch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::tunnels::Tunnels;

/// How often interfaces are compared with what they should be when nobody tells of a change.
const EVERY: Duration = Duration::from_secs(30);
/// How long after this node itself configured something.
const AFTER_CONFIGURING: Duration = Duration::from_secs(1);
/// A change often comes in several messages; so long is waited for the others.
const SETTLE: Duration = Duration::from_millis(50);
/// The least time from one repair to the next one that the kernel asks for.
const PAUSE: Duration = Duration::from_secs(1);
/// How many messages are read before a look that covers them all. More only cost one more look.
const MOST: usize = 1024;

/// Compares interfaces with what they should be, for as long as the server runs.
pub(super) async fn guard(tunnels: Tunnels) {
    let mut configured = tunnels.configured();
    let mut notices = Notices::open();
    let mut earliest = Instant::now();
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = configured.changed() => sleep(AFTER_CONFIGURING).await,
            () = notices.concerning(&tunnels) => {
                sleep_until(earliest.max(Instant::now() + SETTLE)).await;
            }
        }
        configured.mark_unchanged();
        // Before the look: what comes after it is told again.
        notices.forget();
        tunnels.guard().await;
        earliest = Instant::now() + PAUSE;
    }
}

#[allow(unsafe_code)]
fn register(watch: Watch) -> io::Result<AsyncFd<Watch>> {
    // SAFETY: a `Watch` owns its socket, keeps it open until it is dropped, and always names the
    // same descriptor.
    let registered = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) };
    Ok(registered?)
}

/// What the kernel tells. Nothing, where it does not let this process listen.
struct Notices(Option<AsyncFd<Watch>>);

impl Notices {
    fn open() -> Self {
        let watch = Watch::open(&Place::default()).map_err(io::Error::other);
        match watch.and_then(register) {
            Ok(watch) => Self(Some(watch)),
            Err(error) => Self::without(&error),
        }
    }

    fn without(error: &io::Error) -> Self {
        warn!(
            "{error}: what others change on this node's interfaces is put right within {} seconds, \
             and not at once",
            EVERY.as_secs()
        );
        Self(None)
    }

    /// Waits until something changes on an interface of this node's networks.
    async fn concerning(&mut self, tunnels: &Tunnels) {
        loop {
            match self.next().await {
                Ok(changes) if tunnels.are_concerned(&changes) => return,
                Ok(_) => {}
                Err(error) => *self = Self::without(&error),
            }
        }
    }

    async fn next(&mut self) -> io::Result<Changes> {
        let Some(watch) = &mut self.0 else {
            return pending().await;
        };
        loop {
            let mut ready = watch.readable_mut().await?;
            if let Ok(read) = ready.try_io(|watch| watch.get_mut().read()) {
                return read;
            }
        }
    }

    /// Drops what was told so far.
    fn forget(&mut self) {
        if let Some(watch) = &mut self.0 {
            for _ in 0..MOST {
                if watch.get_mut().read().is_err() {
                    return;
                }
            }
        }
    }
}
