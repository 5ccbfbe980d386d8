//! Moments as people type and read them: `2026-11-21T20:15:00Z`, or a span of time ago, as `10m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grid_promises::Timestamp;

use super::duration::Span;

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(since_epoch().as_secs())
}

/// The wall clock. A clock that stands before 1970 counts as 1970.
#[must_use]
pub fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Reads a moment: a time of RFC 3339 in UTC (the `T` may be a space, the `Z` may be left out), Unix
/// time as `@SECONDS`, or how long ago it was, as [`Span`] reads it.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds = seconds
            .parse()
            .map_err(|_| format!("\"{text}\" is not @SECONDS"))?;
        return Ok(Timestamp(seconds));
    }
    if let Ok(ago) = text.parse::<Span>() {
        return Ok(Timestamp(since_epoch().saturating_sub(ago.get()).as_secs()));
    }
    let wrong = |_| {
        format!(
            "\"{text}\" is neither a time such as 2026-11-21T20:15:00Z nor how long ago it was, such as 10m"
        )
    };
    let time = humantime::parse_rfc3339_weak(text).map_err(wrong)?;
    let since = time
        .duration_since(UNIX_EPOCH)
        .map_err(|_| format!("\"{text}\" is too early"))?;
    Ok(Timestamp(since.as_secs()))
}

/// The moment as RFC 3339 has it, in UTC.
#[must_use]
pub fn format(moment: Timestamp) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(moment.0)) {
        // Later years have more digits than the format has room for.
        Some(time) if moment.0 < 253_402_300_800 => {
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => format!("@{}", moment.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back() {
        for text in ["2026-11-21T20:15:00Z", "2026-11-21 20:15:00", "@1795292100"] {
            assert_eq!(parse(text), Ok(Timestamp(1_795_292_100)), "{text}");
        }
        assert_eq!(format(Timestamp(1_795_292_100)), "2026-11-21T20:15:00Z");
        assert_eq!(format(Timestamp(u64::MAX)), format!("@{}", u64::MAX));
        let ago = parse("10m").unwrap();
        let now = parse("1s").unwrap();
        assert!((598..=600).contains(&(now.0 - ago.0)), "{ago:?} {now:?}");
    }

    #[test]
    fn what_is_no_moment_is_said() {
        for text in [
            "",
            "yesterday",
            "@",
            "@-1",
            "2026-13-01T00:00:00Z",
            "1960-01-01T00:00:00Z",
        ] {
            assert!(parse(text).unwrap_err().contains(text), "{text}");
        }
    }
}
