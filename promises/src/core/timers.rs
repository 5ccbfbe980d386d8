//! The one table of timers: what they are for, when they are set, and how long they take.
//!
//! Timers that are due at the same moment fire in the order of [`Timer`] and [`NetworkTimer`], then by their subject. Most of the
//! spans are short because something waits for them, and bounded below because what comes in bursts
//! should cost once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::input::Ticket;
use crate::network::ids::NetworkId;
use crate::time::Millis;
use grid_keys::NodeId;

/// How often the view is looked at without a reason.
pub(crate) const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How often the clock is looked at.
pub(crate) const CLOCK: Duration = Duration::from_secs(30);
/// How soon members are asked for the time once the clock has leapt.
pub(crate) const LEAP: Duration = Duration::from_secs(1);
/// How often a network is compared with a random member, on average.
pub(crate) const ANTI_ENTROPY: Duration = Duration::from_secs(60);
/// How soon a comparison is repeated that is the first of all and got no answer.
pub(crate) const FIRST_SYNC: Duration = Duration::from_secs(1);
/// How soon a comparison follows a push or a comparison that got no answer.
pub(crate) const AFTER_LOSS: Duration = Duration::from_secs(5);
/// How long changes of the own promise are gathered.
pub(crate) const RESIGN: Duration = Duration::from_millis(100);
/// How close two refreshes may follow each other.
pub(crate) const REFRESH: Duration = Duration::from_millis(50);
/// How close two rounds of pushes may follow each other.
pub(crate) const FLUSH: Duration = Duration::from_millis(50);
/// How long changes of statements are gathered before they go to disk.
pub(crate) const SAVE: Duration = Duration::from_secs(5);
/// How close two writes of who came or went may follow each other.
pub(crate) const SAVE_SOON: Duration = Duration::from_millis(250);
/// How long a joiner waits for members before it claims an address.
pub(crate) const CLAIM_ANYWAY: Duration = Duration::from_secs(3);
/// How often a node that waits for an owner asks.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long a node that was put out waits before it asks whether that still holds; each time twice as long.
pub(crate) const APPEAL: Duration = Duration::from_secs(5 * 60);
/// How long it waits at most: members are to pay next to nothing for whom they put out.
pub(crate) const MAX_APPEAL: Duration = Duration::from_secs(3600);
/// How often paths without an answer are looked at.
pub(crate) const PATHS: Duration = Duration::from_secs(2);
/// How soon a judge that failed is asked again.
pub(crate) const ASK_JUDGE: Duration = Duration::from_secs(10);
/// How long a connection that is not needed any longer stays up.
pub(crate) const LINGER: Duration = Duration::from_secs(60);
/// How long a revoked node has to take notice.
pub(crate) const PART: Duration = Duration::from_secs(2);
/// How long an owner's act waits for what members know of this node's acts.
pub(crate) const OWN_ACTS: Duration = Duration::from_secs(3);
/// How long leaving waits for members to confirm.
pub(crate) const LEAVE: Duration = Duration::from_secs(2);

/// What a timer is for. Of each there is at most one for each subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Network(NetworkTimer, NetworkId),
    /// A wanted connection is down, and its back-off ([`links`](super::links)) ends: dials.
    Dial,
    /// Runs from the start on, and sooner once the clock has leapt: asks members for the time while it is in doubt, and
    /// writes it down now and then.
    Clock,
    /// Others see this node elsewhere, soon after the last change of that: believes them if they still do.
    SeenAt,
    /// A command waits for others: answers it.
    Deadline(Ticket),
    /// A revoked node was told: closes the connection to it.
    Part(NodeId),
}

/// What a timer of a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NetworkTimer {
    /// Runs while the network is there: forgets what lapsed, looks at the view again, renews the promise.
    Housekeeping,
    /// Runs while the network is there, after 45 to 75 seconds: compares with a random connected member.
    AntiEntropy,
    /// This node's promise should change: signs and pushes it, if it differs.
    Resign,
    /// News came in right after a refresh: looks at the view again.
    Refresh,
    /// News came in right after a push: pushes it.
    Flush,
    /// Statements changed: hands them to the driver.
    Save,
    /// Joining: claims an address without having heard from a member.
    ClaimAnyway,
    /// Waiting for an owner: asks connected members for an admission.
    AskAgain,
    /// A member has not answered on its path: tries its next endpoint.
    Paths,
    /// The judge failed: asks it again.
    Judge,
    /// This node is out: asks some of those that it knew whether it still is, or stops to dial them.
    Appeal,
}

impl NetworkTimer {
    pub(crate) const fn of(self, network: NetworkId) -> Timer {
        Timer::Network(self, network)
    }
}

/// The timers that run. Each is there at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<Timer, Millis>);

impl Timers {
    /// Sets a timer, or moves it.
    pub(crate) fn set(&mut self, timer: Timer, at: Millis) {
        self.0.insert(timer, at);
    }

    /// Sets a timer unless it runs already and is due sooner.
    pub(crate) fn set_by(&mut self, timer: Timer, at: Millis) {
        let due = self.0.entry(timer).or_insert(at);
        *due = (*due).min(at);
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Cancels everything about a network.
    pub(crate) fn cancel_network(&mut self, network: NetworkId) {
        self.0
            .retain(|timer, _| !matches!(timer, Timer::Network(_, of) if *of == network));
    }

    /// When the next one fires.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.0.values().min().copied()
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<Timer> {
        let (timer, _) = self
            .0
            .iter()
            .filter(|(_, at)| **at <= now)
            .min_by_key(|(timer, at)| (**at, **timer))?;
        let timer = *timer;
        self.0.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_order_of_time_then_kind() {
        let mut timers = Timers::default();
        timers.set(Timer::Deadline(Ticket(2)), Millis(5));
        timers.set(Timer::Deadline(Ticket(1)), Millis(5));
        timers.set(Timer::Dial, Millis(4));
        timers.set(Timer::Part(NodeId([0; 32])), Millis(9));
        assert_eq!(timers.next(), Some(Millis(4)));
        let mut order = Vec::new();
        while let Some(timer) = timers.pop_due(Millis(5)) {
            order.push(timer);
        }
        assert_eq!(
            order,
            [
                Timer::Dial,
                Timer::Deadline(Ticket(1)),
                Timer::Deadline(Ticket(2))
            ]
        );
        assert_eq!(timers.next(), Some(Millis(9)));
    }

    #[test]
    fn set_by_only_moves_forward() {
        let mut timers = Timers::default();
        timers.set_by(Timer::Dial, Millis(5));
        timers.set_by(Timer::Dial, Millis(7));
        assert_eq!(timers.next(), Some(Millis(5)));
        timers.set_by(Timer::Dial, Millis(3));
        assert_eq!(timers.next(), Some(Millis(3)));
    }
}
