//! What is logged, and what never is.
//!
//! Libraries that hold keys stay silent whatever the person asks for: nobody can vouch for what they
//! print at `trace`.

use std::io::{self, IsTerminal as _, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::console::plain::plain_but_for_controls;

/// Targets that may print keys, with everything below them.
const SILENT: &[&str] = &["defguard_wireguard_rs", "defguard_boringtun", "boringtun"];
/// Targets that may print TLS secrets at levels below `warn`.
const QUIET: &[&str] = &["rustls", "quinn_proto::crypto"];

/// Targets whose warnings repeat, in programmers' words, what this program says itself: that a node
/// cannot be reached. At boot that is normal, as there is no route yet.
const REPEATING: &[&str] = &["quinn_udp"];

/// Whether an event may be logged at all.
fn is_fit(target: &str, level: tracing::Level) -> bool {
    !(within(target, SILENT) || within(target, QUIET) && level > tracing::Level::WARN)
}

/// Whether an event is worth a line to a person who did not ask for more.
fn is_telling(target: &str, level: tracing::Level) -> bool {
    !within(target, REPEATING) || level <= tracing::Level::ERROR
}

fn within(target: &str, names: &[&str]) -> bool {
    names.iter().any(|name| {
        target
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// Starts logging to standard error. The level comes from `-v` or `-vv`, else from `$GRID_LOG`, else from
/// the configuration.
pub(super) fn start(verbose: u8, configured: Option<&str>) {
    let wished = std::env::var("GRID_LOG").ok();
    let directives = match verbose {
        0 => wished.as_deref().or(configured).unwrap_or("info"),
        1 => "debug",
        _ => "trace",
    };
    let (filter, mistake) = match directives.parse::<EnvFilter>() {
        Ok(filter) => (filter, None),
        Err(error) => (
            EnvFilter::default().add_directive(LevelFilter::INFO.into()),
            Some(error.to_string()),
        ),
    };
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let wants_more = filter.max_level_hint() > Some(LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(|| Plain(std::io::stderr()))
        .with_ansi(colours)
        .with_target(wants_more)
        .with_filter(filter)
        .with_filter(filter_fn(move |about| {
            let (target, level) = (about.target(), *about.level());
            is_fit(target, level) && (wants_more || is_telling(target, level))
        }));
    // Fails if logging has started already, which does no harm.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    if let Some(mistake) = mistake {
        tracing::warn!("\"{directives}\" is not a log level: {mistake}; using \"info\"");
    }
}

/// Lines of the log, with what peers said in them. The formatter writes a whole line at a time, and escapes
/// control characters itself.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // A log that cannot be written, on a full disk, must not end what it is about.
        let _ = self.0.write_all(plain_but_for_controls(&text).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn what_may_print_keys_is_silent() {
        assert!(!is_fit("defguard_boringtun::noise", Level::ERROR));
        assert!(!is_fit("defguard_wireguard_rs", Level::WARN));
        assert!(!is_fit("rustls::client", Level::INFO));
        assert!(is_fit("rustls::client", Level::WARN));
        assert!(is_fit("grid::server", Level::TRACE));
        assert!(is_fit("rustlsx", Level::TRACE));
    }

    #[test]
    fn a_peer_cannot_turn_a_line_around() {
        let mut written = Vec::new();
        let line = "WARN abcd refused a request: \u{202e}gnp.exe\n";
        Plain(&mut written).write_all(line.as_bytes()).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, line.replace('\u{202e}', " "));
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        assert!(!is_telling("quinn_udp", Level::WARN));
        assert!(!is_telling("quinn_udp::imp", Level::WARN));
        assert!(is_telling("quinn_udp", Level::ERROR));
        assert!(is_telling("quinn", Level::WARN));
        assert!(is_telling("grid::server", Level::WARN));
    }
}
