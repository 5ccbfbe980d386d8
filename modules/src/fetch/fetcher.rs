//! Getting: an object that is wanted here is asked of peers, once at a time for each object, however
//! many want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use grid_promises::ContentId;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use super::Progress;
use super::error::FetchError;
use super::session::{Had, Hunt, Means, SoFar, Wanted};
use crate::Peer;
use crate::objects::Cache as _;
use crate::roots;
use grid_files::ByteSize;

/// After how long, and how often, a waiting person is told how far it is.
const SAY: Duration = Duration::from_secs(1);

/// How a hunt ended.
type Done = watch::Receiver<Option<Result<Had, Arc<FetchError>>>>;

/// A hunt that is under way, for those who wait for it. When the last of them is gone, it ends.
struct Flight {
    so_far: Arc<watch::Receiver<SoFar>>,
    done: Done,
}

/// A hunt that is under way, for those who may join it. It does not go on for their sake.
struct Open {
    so_far: Weak<watch::Receiver<SoFar>>,
    done: Done,
}

/// What became of wanting an object.
enum Joined {
    /// A new hunt.
    Own(Flight),
    /// One that others wait for.
    Other(Flight),
    /// One that nobody waited for, and that is about to end. There is no other before it has.
    Ending(Done),
}

/// Gets objects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asking {
    means: Means,
    flights: Arc<Mutex<HashMap<ContentId, Open>>>,
}

impl Asking {
    pub(super) fn new(means: Means) -> Self {
        Self {
            means,
            flights: Arc::default(),
        }
    }

    /// What asking needs.
    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Has the object in the store: it is here, or it is asked of these peers. `progress` is told how
    /// far it is, about once a second.
    ///
    /// # Errors
    /// Nobody gave it, or it could not be stored.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted,
        from: &[Peer],
        progress: Option<&Progress>,
    ) -> Result<Had, Arc<FetchError>> {
        loop {
            if let Some(had) = self.here(wanted.id).await {
                return Ok(had);
            }
            match self.join(wanted, from) {
                Joined::Own(flight) => return wait(flight, &wanted.id, progress).await,
                Joined::Other(flight) => {
                    // If it fails: others asked other peers, or were content with less.
                    if let Ok(had) = wait(flight, &wanted.id, progress).await {
                        return Ok(had);
                    }
                }
                Joined::Ending(mut done) => drop(done.wait_for(Option::is_some).await),
            }
        }
    }

    /// The object, if it is here and whole. A damaged one is set aside, and fetched again.
    async fn here(&self, id: ContentId) -> Option<Had> {
        let objects = self.means.objects.clone();
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
        Some(Had {
            id,
            bytes,
            from: Vec::new(),
        })
    }

    /// Joins the hunt that is under way, or begins one.
    fn join(&self, wanted: Wanted, from: &[Peer]) -> Joined {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = flights.get(&wanted.id) {
            let done = open.done.clone();
            return match open.so_far.upgrade() {
                Some(so_far) => Joined::Other(Flight { so_far, done }),
                None => Joined::Ending(done),
            };
        }
        let (tell, so_far) = watch::channel(SoFar::default());
        let (end, done) = watch::channel(None);
        let flight = Flight {
            so_far: Arc::new(so_far),
            done: done.clone(),
        };
        let so_far = Arc::downgrade(&flight.so_far);
        flights.insert(wanted.id, Open { so_far, done });
        let hunt = Hunt::new(self.means.clone(), wanted, from, tell);
        let all = Arc::clone(&self.flights);
        tokio::spawn(async move {
            let outcome = hunt.run().await.map_err(Arc::new);
            // First, so that who comes from now on looks into the store, or begins anew.
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&wanted.id);
            end.send_replace(Some(outcome));
        });
        Joined::Own(flight)
    }
}

async fn wait(
    flight: Flight,
    id: &ContentId,
    progress: Option<&Progress>,
) -> Result<Had, Arc<FetchError>> {
    let Flight { so_far, mut done } = flight;
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
                let text = sentence(id, &so_far.borrow(), begun.elapsed());
                if let Some(progress) = progress {
                    progress(text);
                }
            }
        }
    }
}

fn sentence(id: &ContentId, so_far: &SoFar, elapsed: Duration) -> String {
    let SoFar {
        here,
        before,
        total,
        peers,
    } = *so_far;
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

/// A number of bytes with one digit behind the point.
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
        let mut so_far = SoFar::default();
        let say = |so_far: &SoFar| sentence(&id, so_far, Duration::from_secs(2));
        assert!(say(&so_far).ends_with("asking who has it"));
        so_far = SoFar {
            here: 30 << 20,
            before: 10 << 20,
            total: 64 << 20,
            peers: 2,
        };
        let text = say(&so_far);
        assert!(
            text.ends_with(": 46% of 64.0 MiB, 10.0 MiB/s from 2 peers"),
            "{text}"
        );
        so_far.here = u64::MAX;
        say(&so_far);
        assert_eq!((tenths(7), tenths(1536)), ("7B".into(), "1.5 KiB".into()));
    }
}
