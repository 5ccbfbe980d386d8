//! Keeps interfaces as they should be: at once when the kernel tells that somebody changed one, and
//! on a slow timer.
//!
//! What is put right is told by the kernel as well, so that each repair is looked at once more. Two
//! programs that want different things meet once a second, not more often.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::Duration;

use grid_wg::{Place, Watch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::tunnels::Tunnels;

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
    // What is on disk was configured before.
    configured.mark_changed();
    let mut notices = Notices::new();
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
        notices.follow(tunnels.places());
        // Before the look: what comes after it is told again.
        notices.forget();
        if !tunnels.guard().await {
            // What fails is undone. The kernel tells of both, and that is no reason to try again; what somebody
            // else changed in this moment waits for the timer.
            notices.forget();
        }
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

/// What the kernel tells, by network namespace. Nothing, where it does not let this process listen.
struct Notices(BTreeMap<Place, Option<AsyncFd<Watch>>>);

impl Notices {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Listens where interfaces are, and nowhere else.
    fn follow(&mut self, places: BTreeSet<Place>) {
        self.0.retain(|place, _| places.contains(place));
        for place in places {
            if let Entry::Vacant(entry) = self.0.entry(place) {
                let watch = Watch::open(entry.key()).map_err(io::Error::other);
                let watch = watch.and_then(register);
                entry.insert(watch.inspect_err(complain).ok());
            }
        }
    }

    /// Waits until something changes on an interface of this node's networks.
    async fn concerning(&mut self, tunnels: &Tunnels) {
        poll_fn(|context| {
            for watch in self.0.values_mut() {
                match poll(watch, context, tunnels) {
                    Poll::Ready(Ok(())) => return Poll::Ready(()),
                    Poll::Ready(Err(error)) => {
                        complain(&error);
                        *watch = None;
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Drops what was told so far.
    fn forget(&mut self) {
        for watch in self.0.values_mut().flatten() {
            for _ in 0..MOST {
                if watch.get_mut().read().is_err() {
                    break;
                }
            }
        }
    }
}

fn complain(error: &io::Error) {
    warn!(
        "{error}: what others change on this node's interfaces is put right within {} seconds, and \
         not at once",
        EVERY.as_secs()
    );
}

/// Reads until something concerns this node's interfaces, or there is nothing more.
fn poll(
    watch: &mut Option<AsyncFd<Watch>>,
    context: &mut std::task::Context<'_>,
    tunnels: &Tunnels,
) -> Poll<io::Result<()>> {
    let Some(watch) = watch else {
        return Poll::Pending;
    };
    loop {
        let mut ready = ready!(watch.poll_read_ready_mut(context))?;
        if let Ok(read) = ready.try_io(|watch| watch.get_mut().read())
            && tunnels.are_concerned(&read?)
        {
            return Poll::Ready(Ok(()));
        }
    }
}
