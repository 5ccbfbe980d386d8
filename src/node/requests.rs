//! The requests on the control socket: how many are under way, and whether the server still takes any.
//!
//! A server that is about to end closes this first, so that no request begins that it will not finish.

use std::sync::Arc;

use parking_lot::Mutex;

/// The requests of a server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// Whether somebody was answered who counts on the server to go on.
    is_relied_on: bool,
    closed: bool,
}

/// A request that is under way for as long as this value lives.
#[derive(Debug)]
pub struct UnderWay(Requests);

impl Requests {
    /// Begins a request. `None`: the server is about to end.
    #[must_use]
    pub fn begin(&self) -> Option<UnderWay> {
        let mut state = self.0.lock();
        if state.closed {
            return None;
        }
        state.under_way += 1;
        Some(UnderWay(self.clone()))
    }

    /// Lets no more requests begin.
    pub fn close(&self) {
        self.0.lock().closed = true;
    }

    /// As [`close`](Self::close), unless a request is under way, or somebody counts on the server. Whether
    /// it is closed now.
    #[must_use]
    pub fn close_if_unused(&self) -> bool {
        let mut state = self.0.lock();
        state.closed |= state.under_way == 0 && !state.is_relied_on;
        state.closed
    }

    /// Does something that must not happen once the requests are closed. `None`: they are.
    pub fn while_open<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let state = self.0.lock();
        (!state.closed).then(work)
    }
}

impl UnderWay {
    /// Notes that whoever asked counts on the server from now on.
    pub fn rely_on_the_server(&self) {
        self.0.0.lock().is_relied_on = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_closed() {
        let requests = Requests::default();
        let failing = requests.begin().unwrap();
        assert!(!requests.close_if_unused());
        drop(failing);
        assert!(requests.close_if_unused());
        assert!(requests.begin().is_none());
        assert_eq!(requests.while_open(|| ()), None);

        let requests = Requests::default();
        let kept = requests.begin().unwrap();
        kept.rely_on_the_server();
        drop(kept);
        assert!(!requests.close_if_unused());
        assert_eq!(requests.while_open(|| ()), Some(()));
        requests.close();
        assert!(requests.begin().is_none());
    }
}
