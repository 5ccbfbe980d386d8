//! Promises of this node that it did not sign: it lost its disk, or another machine has its key.
//!
//! The first is overtaken at once, as after a restored backup. Each further one is waited after, twice as long as the one
//! before: two machines with one key would otherwise sign against each other as fast as messages travel, and everybody
//! would be told each time.

use std::net::SocketAddr;
use std::time::Duration;

use crate::core::status::Elsewhere;
use crate::core::timers;
use crate::network::member::MemberPromise;
use crate::time::{Millis, Timestamp};

/// How long the second such promise is left alone.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A node that shares its key costs the others two promises in this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long none has to be seen until all of that is forgotten.
const CALM: Duration = Duration::from_secs(3600);

/// What is known of promises of this node that it did not sign.
#[derive(Debug, Default)]
pub(crate) struct Rival {
    /// The highest sequence number among them; the next promise has a higher one.
    overtake: u64,
    pause: Duration,
    /// When this node may sign again of its own accord.
    not_before: Millis,
    /// When the last one was seen.
    last: Option<Millis>,
    /// When the promise was issued that overtook the first one.
    answered: Option<Timestamp>,
    elsewhere: Option<Elsewhere>,
}

impl Rival {
    /// Of a promise that this node itself made before.
    pub(crate) fn after(sequence: u64) -> Self {
        Self {
            overtake: sequence,
            ..Self::default()
        }
    }

    pub(crate) const fn overtake(&self) -> u64 {
        self.overtake
    }

    /// Until when this node leaves such a promise alone, if it does.
    pub(crate) fn waits_until(&self, now: Millis) -> Option<Millis> {
        (self.not_before > now).then_some(self.not_before)
    }

    /// Where another machine uses this node's key, if that was seen lately.
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_ref()
    }

    /// Takes note of a promise of this node that is not `own`, which stands here. Returns when to overtake it, if
    /// it has to be.
    pub(crate) fn see(
        &mut self,
        promise: &MemberPromise,
        own: Option<&MemberPromise>,
        now: Millis,
        time: Timestamp,
    ) -> Option<Millis> {
        let standing = own.map_or(0, |own| own.sequence);
        // Of two with one number, the others keep one, and no end can tell that it is not its own.
        if promise.sequence < standing || promise.sequence <= self.overtake || own == Some(promise)
        {
            return None;
        }
        if self.last.is_some_and(|last| now - last > CALM) {
            *self = Self::after(self.overtake);
        }
        self.overtake = promise.sequence;
        self.last = Some(now);
        let due = now + self.pause.max(timers::RESIGN);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.not_before = due;
        let is_alive = self.answered.is_some_and(|at| promise.issued >= at);
        if is_alive || promise.sequence == u64::MAX {
            self.elsewhere = Some(Elsewhere {
                at: time,
                endpoints: endpoints(promise, own),
                is_last: promise.sequence == u64::MAX,
            });
        }
        Some(due)
    }

    /// This node signed a promise.
    pub(crate) fn signed(&mut self, promise: &MemberPromise) {
        if self.last.is_some() && self.answered.is_none() {
            self.answered = Some(promise.issued);
        }
    }

    /// Forgets another machine that was not seen for long.
    pub(crate) fn forget(&mut self, now: Millis) {
        // What nothing can follow stays so.
        if self.last.is_some_and(|last| now - last > CALM) && self.overtake < u64::MAX {
            self.elsewhere = None;
        }
    }
}

/// Where the other machine is: its endpoints that are not this node's too.
fn endpoints(promise: &MemberPromise, own: Option<&MemberPromise>) -> Vec<SocketAddr> {
    let is_own =
        |addr: &SocketAddr| own.is_some_and(|own| own.quic.iter().any(|e| e.addr == *addr));
    let all = promise.quic.iter().map(|endpoint| endpoint.addr);
    all.filter(|addr| !is_own(addr)).collect()
}
