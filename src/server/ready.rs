//! When this server is ready: the addresses of its networks are on their interfaces. No peer has to be
//! reachable for that. And what the service manager is told of the networks from then on.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::notify::Notifier;
use crate::exit::Outcome;
use crate::node::NodeHandle;
use crate::node::status::StatusReport;
use crate::tunnels::Tunnels;

/// How long an interface may hold up what waits for this server. One network that cannot be configured is
/// no reason to keep the others from being used.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is tried again meanwhile.
const AGAIN: Duration = Duration::from_secs(2);
/// How long after something was configured it is said what there is then: no more often than this.
const CHANGED: Duration = Duration::from_secs(2);
/// How often is looked at the latest, for what changes without being configured.
const OLD: Duration = Duration::from_secs(30);

/// Waits until `begun` ends, which is when every invite that was left for this server has been looked at,
/// and until the addresses are up; then tells the service manager, and goes on to tell it what becomes of
/// the networks.
pub(super) async fn announce(
    node: NodeHandle,
    tunnels: Tunnels,
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
    if let Ok(report) = up(&node, &tunnels, deadline).await {
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
        keep_told(&node, &tunnels, &notifier, report.in_a_line()).await;
    }
}

/// Tells the service manager whenever something else is to be said than `said`. Ends with the server.
async fn keep_told(node: &NodeHandle, tunnels: &Tunnels, notifier: &Notifier, mut said: String) {
    let mut configured = tunnels.configured();
    loop {
        match timeout(OLD, configured.changed()).await {
            Ok(Ok(())) => {
                sleep(CHANGED).await;
                configured.mark_unchanged();
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        tunnels.settled().await;
        let Ok(report) = node.status().await else {
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
async fn up(node: &NodeHandle, tunnels: &Tunnels, deadline: Instant) -> Outcome<StatusReport> {
    let mut again = Instant::now() + AGAIN;
    loop {
        tunnels.settled().await;
        let report = node.status().await?;
        if report.down().next().is_none() || Instant::now() >= deadline {
            return Ok(report);
        }
        if Instant::now() >= again {
            tunnels.guard().await;
            again = Instant::now() + AGAIN;
        }
        sleep(LOOK).await;
    }
}
