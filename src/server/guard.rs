//! Keeps interfaces as they should be: checks them at once when the kernel reports that somebody changed
//! one, and on a slow timer.
//!
//! The kernel reports repairs too, so each repair is followed by one more check. Two programs that want
//! different things clash once a second, not more often.

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

use super::tunnels::Tunnels;

/// How often interfaces are checked when the kernel reports no change.
const EVERY: Duration = Duration::from_secs(30);
/// How long after this node itself configured something they are checked.
const AFTER_CONFIGURING: Duration = Duration::from_secs(1);
/// How long to wait for more messages: a change often causes several.
const SETTLE: Duration = Duration::from_millis(50);
/// The least time between two repairs that the kernel's reports cause.
const PAUSE: Duration = Duration::from_secs(1);
/// How many messages are dropped before a check, which covers them all. More only cost one more check.
const MOST: usize = 1024;

/// Checks interfaces, and repairs them, for as long as the server runs.
pub(super) async fn guard(tunnels: Tunnels) {
    let mut configured = tunnels.configured();
    // The networks on disk have been configured already.
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
        // Before the check: what happens after it is reported again.
        notices.forget();
        if !tunnels.repair().await {
            // A step that fails is undone. The kernel reports both, which is no reason to try again; what
            // somebody else changed at that moment has to wait for the timer.
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

/// The kernel's reports, by network namespace. `None` where it does not let this process listen.
struct Notices(BTreeMap<Place, Option<AsyncFd<Watch>>>);

impl Notices {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Listens in the namespaces with interfaces, and nowhere else.
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

    /// Drops the reports so far.
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
        "{error}: changes by others to this node's interfaces are repaired within {} seconds instead of at \
         once",
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
