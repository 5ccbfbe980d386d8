//! Making room: what the cache has no room for goes, from time to time and when much was put.

use std::sync::Arc;
use std::time::Duration;

use grid_files::ByteSize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::cache_dir::CacheDir;
use crate::fetch::partial::sweep;
use crate::objects::{Collected, Objects};
use crate::roots;
use crate::settings::Host;

/// How often is looked whether it is time.
const LOOK: Duration = Duration::from_secs(10);
/// How long after the start the first collection is at the latest, and how long after each the next:
/// the command line puts as well, and this process does not count that.
const FIRST: Duration = Duration::from_secs(5 * 60);
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Of how many parts of the limit this process may put one before it collects again, and how many
/// bytes at least.
const PART: u64 = 16;
const AT_LEAST: u64 = 8 << 20;

/// Collects until the program ends. `objects` is the handle with which this process puts: by it is seen
/// how much was put.
pub async fn collect(cache: CacheDir, objects: Objects, host: Arc<dyn Host>) {
    let mut written = objects.written();
    let mut due = Instant::now() + FIRST;
    loop {
        sleep(LOOK).await;
        let now = objects.written();
        if Instant::now() < due && now - written < step(&host).await {
            continue;
        }
        written = now;
        due = Instant::now() + EVERY;
        once(&cache, &objects, &host).await;
    }
}

async fn step(host: &Arc<dyn Host>) -> u64 {
    let host = Arc::clone(host);
    let limit = tokio::task::spawn_blocking(move || host.settings().cache_limit.0);
    limit
        .await
        .map_or(AT_LEAST, |limit| (limit / PART).max(AT_LEAST))
}

async fn once(cache: &CacheDir, objects: &Objects, host: &Arc<dyn Host>) {
    let (objects, host, partials) = (objects.clone(), Arc::clone(host), cache.partial());
    let collecting = tokio::task::spawn_blocking(move || {
        if let Err(error) = sweep(&partials) {
            warn!("{} is not swept: {error}", partials.display());
        }
        // What they are is not known: nothing may go.
        let judges = host.judges()?;
        roots::collect(&objects, &host.settings(), &judges, false)
            .map_err(|error| error.to_string())
    });
    match collecting.await {
        Ok(Ok(collected)) => say(&collected),
        Ok(Err(error)) => warn!("the cache is not collected: {error}"),
        Err(_) => {}
    }
}

fn say(collected: &Collected) {
    let after = ByteSize(collected.after);
    let limit = ByteSize(collected.limit);
    for object in &collected.evicted {
        tracing::debug!("evicted {} ({} bytes)", object.id, object.len);
    }
    let count = collected.evicted.len();
    if count > 0 {
        let bytes: u64 = collected.evicted.iter().map(|object| object.len).sum();
        let plural = if count == 1 { "" } else { "s" };
        info!(
            "evicted {count} object{plural} of {bytes} bytes; the cache holds {after} of {limit}"
        );
    }
    for (gone, what) in [
        (&collected.calls, "memoised calls"),
        (&collected.partial, "unfinished downloads"),
    ] {
        if gone.count > 0 {
            info!("evicted {} {what} of {} bytes", gone.count, gone.bytes);
        }
    }
    if let Some(error) = collected.stuck.first() {
        let count = collected.stuck.len();
        warn!("{count} files of the cache cannot be evicted, of these: {error}");
    }
    if !collected.is_within() {
        info!(
            "the cache holds {after}, more than its {limit}: what is left is in use, or was used \
             within the last minutes"
        );
    }
}
