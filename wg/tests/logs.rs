//! No key reaches the log, not even at the most verbose level during real handshakes.

// A failure here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use std::io;
use std::sync::{Arc, Mutex};

use common::{key, psk, requirements as missing, scenarios};
use grid_wg::BackendChoice::Userspace;
use tracing_subscriber::filter::LevelFilter;

/// Everything that has been logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_holds_no_key() {
    or_skip!();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    scenarios::a_changed_peer_leaves_the_other_session_alone((Userspace, Userspace));
    scenarios::a_wrong_preshared_key_lets_nothing_through((Userspace, Userspace));

    let log = log.0.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&log);
    assert!(
        text.contains("handshake"),
        "the log shows what goes on: {text}"
    );
    let private = [key(1), key(2)].map(|key| *key.expose());
    let shared = [psk(42), psk(5), psk(201)].map(|psk| *psk.expose());
    for secret in private.into_iter().chain(shared) {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = grid_keys::WgPublicKey(secret).to_string();
        let array = format!("{secret:?}");
        for form in [hex.to_uppercase(), hex, base64, array] {
            assert!(!text.contains(&form), "{form}");
        }
        assert!(!log.windows(32).any(|window| window == secret));
    }
}
