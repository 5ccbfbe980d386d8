//! Fetches objects from peers: one session at a time for each object, however many callers want it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use grid_files::ByteSize;
use grid_promises::ContentId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use super::error::FetchError;
use super::peer_client::PeerClient;
use super::session::{Resources, Session};
use super::wanted::{Obtained, Transfer, Wanted};
use crate::Peer;
use crate::objects::{Cache as _, Objects};
use crate::roots;

/// After how long, and how often, somebody who waits is told about progress.
const SAY: Duration = Duration::from_secs(1);

/// Called about once a second with a sentence about a fetch's progress. Must not block.
pub type Progress = dyn Fn(String) + Send + Sync;

/// How a session ended.
type Done = watch::Receiver<Option<Result<Obtained, Arc<FetchError>>>>;

/// A running session, for those who wait for it. It ends when the last of them is gone.
struct Flight {
    transfer: Arc<watch::Receiver<Transfer>>,
    done: Done,
}

/// A running session, for those who may join it. This handle does not keep it running.
struct Open {
    transfer: Weak<watch::Receiver<Transfer>>,
    done: Done,
}

/// How a caller gets to its object.
enum Joined {
    /// It started a session.
    Own(Flight),
    /// It joined one that others wait for.
    Other(Flight),
    /// There is one that nobody waits for any more. It is about to end, and until then no other can start.
    Ending(Done),
}

/// Gets objects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher {
    resources: Resources,
    flights: Arc<Mutex<HashMap<ContentId, Open>>>,
}

impl Fetcher {
    pub(super) fn new(resources: Resources) -> Self {
        Self {
            resources,
            flights: Arc::default(),
        }
    }

    /// The client that asks single peers.
    pub(super) fn client(&self) -> &PeerClient {
        &self.resources.client
    }

    /// The store that objects are fetched into.
    pub(super) const fn objects(&self) -> &Objects {
        &self.resources.objects
    }

    /// Makes sure that the object is in the store; if it is not, asks these peers for it.
    ///
    /// # Errors
    /// Nobody delivered it, or it could not be stored.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted,
        from: &[Peer],
        progress: Option<&Progress>,
    ) -> Result<Obtained, Arc<FetchError>> {
        loop {
            if let Some(obtained) = self.here(wanted.id).await {
                return Ok(obtained);
            }
            match self.join(wanted, from) {
                Joined::Own(flight) => return wait(flight, &wanted.id, progress).await,
                Joined::Other(flight) => {
                    // On failure: the others asked other peers, or had a lower limit.
                    if let Ok(obtained) = wait(flight, &wanted.id, progress).await {
                        return Ok(obtained);
                    }
                }
                Joined::Ending(mut done) => drop(done.wait_for(Option::is_some).await),
            }
        }
    }

    /// The object, if it is here and intact. A damaged one is set aside and fetched again.
    async fn here(&self, id: ContentId) -> Option<Obtained> {
        let objects = self.resources.objects.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let object = roots::local(&objects).get(&id);
            match object {
                Ok(object) => object.map(|object| object.len()),
                Err(error) => {
                    tracing::warn!("{error}");
                    None
                }
            }
        });
        let bytes = looking.await.ok()??;
        Some(Obtained {
            id,
            bytes,
            from: Vec::new(),
        })
    }

    /// Joins the running session, or starts one.
    fn join(&self, wanted: Wanted, from: &[Peer]) -> Joined {
        let mut flights = self.flights.lock();
        if let Some(open) = flights.get(&wanted.id) {
            let done = open.done.clone();
            return match open.transfer.upgrade() {
                Some(transfer) => Joined::Other(Flight { transfer, done }),
                None => Joined::Ending(done),
            };
        }
        let (tell, transfer) = watch::channel(Transfer::default());
        let (end, done) = watch::channel(None);
        let flight = Flight {
            transfer: Arc::new(transfer),
            done: done.clone(),
        };
        let transfer = Arc::downgrade(&flight.transfer);
        flights.insert(wanted.id, Open { transfer, done });
        let session = Session::new(self.resources.clone(), wanted, from, tell);
        let all = Arc::clone(&self.flights);
        tokio::spawn(async move {
            let outcome = session.run().await.map_err(Arc::new);
            // First, so that later callers look into the store or start over.
            all.lock().remove(&wanted.id);
            end.send_replace(Some(outcome));
        });
        Joined::Own(flight)
    }
}

async fn wait(
    flight: Flight,
    id: &ContentId,
    progress: Option<&Progress>,
) -> Result<Obtained, Arc<FetchError>> {
    let Flight { transfer, mut done } = flight;
    let begun = Instant::now();
    let mut say = interval_at(tokio::time::Instant::now() + SAY, SAY);
    say.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = done.wait_for(Option::is_some);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => {
                let outcome = ended.ok().and_then(|outcome| outcome.clone());
                return outcome.unwrap_or_else(|| Err(Arc::new(FetchError::GivenUp(*id))));
            }
            _ = say.tick() => {
                let text = sentence(id, &transfer.borrow(), begun.elapsed());
                if let Some(progress) = progress {
                    progress(text);
                }
            }
        }
    }
}

fn sentence(id: &ContentId, transfer: &Transfer, elapsed: Duration) -> String {
    let Transfer {
        here,
        before,
        total,
        peers,
    } = *transfer;
    let name = id.short();
    let Some(percent) = here.saturating_mul(100).checked_div(total) else {
        return format!("fetching {name}: asking who has it");
    };
    let millis = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = here.saturating_sub(before).saturating_mul(1000) / millis;
    let from = match peers {
        0 => "nobody at the moment".to_owned(),
        1 => "1 peer".to_owned(),
        peers => format!("{peers} peers"),
    };
    format!(
        "fetching {name}: {percent}% of {}, {}/s from {from}",
        tenths(total),
        tenths(rate)
    )
}

/// A number of bytes with one decimal.
fn tenths(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor {
            let rest = bytes % factor * 10 / factor;
            return format!("{}.{rest} {unit}", bytes / factor);
        }
    }
    ByteSize(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_how_far_and_how_fast() {
        let id = ContentId::of(b"x");
        let mut transfer = Transfer::default();
        let say = |transfer: &Transfer| sentence(&id, transfer, Duration::from_secs(2));
        assert!(say(&transfer).ends_with("asking who has it"));
        transfer = Transfer {
            here: 30 << 20,
            before: 10 << 20,
            total: 64 << 20,
            peers: 2,
        };
        let text = say(&transfer);
        assert!(
            text.ends_with(": 46% of 64.0 MiB, 10.0 MiB/s from 2 peers"),
            "{text}"
        );
        transfer.here = u64::MAX;
        say(&transfer);
        assert_eq!((tenths(7), tenths(1536)), ("7B".into(), "1.5 KiB".into()));
    }
}
