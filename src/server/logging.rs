//! What is written to the log, and what never is.
//!
//! Libraries that hold keys are shut up whatever the person asks for: what they print at `trace` is
//! not ours to vouch for.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Targets (and what is below them) that may print keys.
const SILENT: &[&str] = &["defguard_wireguard_rs", "defguard_boringtun", "boringtun"];
/// Targets that may print secrets of TLS below `warn`.
const QUIET: &[&str] = &["rustls", "quinn_proto::crypto"];

/// Whether an event may be written at all.
fn is_fit(target: &str, level: tracing::Level) -> bool {
    let within = |names: &[&str]| {
        names.iter().any(|name| {
            target
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    };
    !(within(SILENT) || within(QUIET) && level > tracing::Level::WARN)
}

/// Starts writing to standard error: `-v` and `-vv`, else `$GRID_LOG`, else the configuration.
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
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(filter.max_level_hint() > Some(LevelFilter::INFO))
        .with_filter(filter)
        .with_filter(filter_fn(|about| is_fit(about.target(), *about.level())));
    // A second call would be a mistake of this program, and costs nothing.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    if let Some(mistake) = mistake {
        tracing::warn!("\"{directives}\" is not a log level: {mistake}; using \"info\"");
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
}
