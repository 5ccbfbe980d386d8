//! Tells the service manager when this server is ready, and how its networks are doing from then on.
//! It is ready once the addresses of its networks are on their interfaces; no peer has to be reachable.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::context::Context;
use super::driver::Event;
use super::notify::Notifier;
use crate::control::answer::StatusReport;
use crate::exit::Outcome;

/// How long an interface may delay whatever waits for this server. One network that cannot be
/// configured must not keep the others from being used.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to check whether the addresses are up.
const LOOK: Duration = Duration::from_millis(50);
/// How often to retry those that are not.
const AGAIN: Duration = Duration::from_secs(2);
/// How long after a change of configuration to report. Changes in that time share a report.
const CHANGED: Duration = Duration::from_secs(2);
/// How often to report at the latest: some things change without being configured.
const OLD: Duration = Duration::from_secs(30);

/// Waits until the addresses are up and every invite that was left for this server has been handled,
/// which is when `begun` ends. Then reports to the service manager until the server ends.
pub(super) async fn announce(
    context: Context,
    notifier: Notifier,
    mut begun: mpsc::Receiver<Infallible>,
) {
    if !notifier.is_wanted() {
        return;
    }
    notifier.status("configuring the interfaces of the networks on disk");
    let deadline = Instant::now() + PATIENCE;
    // An invite that could not be handled does not keep the server from being ready.
    let _ = timeout_at(deadline, begun.recv()).await;
    // If this fails, the server is about to end.
    if let Ok(report) = up(&context, deadline).await {
        if report.down().next().is_none() {
            info!("ready: {}", report.in_a_line());
        } else {
            warn!(
                "ready, though not all addresses are up after {} s: {}",
                PATIENCE.as_secs(),
                report.in_a_line()
            );
        }
        notifier.ready(&report.in_a_line());
        keep_told(&context, &notifier, report.in_a_line()).await;
    }
}

/// Tells the service manager whenever the line differs from `said`. Ends with the server.
async fn keep_told(context: &Context, notifier: &Notifier, mut said: String) {
    let mut configured = context.tunnels.configured();
    loop {
        match timeout(OLD, configured.changed()).await {
            Ok(Ok(())) => {
                sleep(CHANGED).await;
                configured.mark_unchanged();
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        context.tunnels.settled().await;
        let Ok(report) = context.ask(Event::Status).await else {
            return;
        };
        let line = report.in_a_line();
        if line != said {
            notifier.status(&line);
            said = line;
        }
    }
}

/// Waits until the addresses are up, or until `deadline`.
async fn up(context: &Context, deadline: Instant) -> Outcome<StatusReport> {
    let mut again = Instant::now() + AGAIN;
    loop {
        context.tunnels.settled().await;
        let report = context.ask(Event::Status).await?;
        if report.down().next().is_none() || Instant::now() >= deadline {
            return Ok(report);
        }
        if Instant::now() >= again {
            context.tunnels.repair().await;
            again = Instant::now() + AGAIN;
        }
        sleep(LOOK).await;
    }
}
