//! When this server is ready: the addresses of its networks are on their interfaces. No peer has to be
//! reachable for that.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::context::Context;
use super::driver::Event;
use super::notify::Notifier;
use crate::control::answer::StatusReport;
use crate::exit::Outcome;

/// How long an interface may hold up what waits for this server. One network that cannot be configured is
/// no reason to keep the others from being used.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is tried again meanwhile.
const AGAIN: Duration = Duration::from_secs(2);

/// Waits until `begun` ends, which is when every invite that was left for this server has been looked at,
/// and until the addresses are up; then tells the service manager.
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
    // It is no reason not to be ready that an invite could not be looked at.
    let _ = timeout_at(deadline, begun.recv()).await;
    // The server is about to end, if this fails.
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
            context.tunnels.guard().await;
            again = Instant::now() + AGAIN;
        }
        sleep(LOOK).await;
    }
}
