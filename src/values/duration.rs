//! Spans of time as people type them: `30s`, `10m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A century is longer than anything here can mean, and far from the end of the range.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// A span of whole seconds, from one second to a century: it can be added to any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(u64);

impl Span {
    /// How long it is.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// A whole number with one unit.
impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a time such as 30s, 10m, 24h or 7d");
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number = text.strip_suffix(unit).unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(seconds).ok_or_else(wrong)? {
            span @ 1..=MAX_SECONDS => Ok(Self(span)),
            _ => Err(format!("\"{text}\" is too short or too long")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("24h", 86_400),
            ("7d", 604_800),
            ("007s", 7),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.get().as_secs(), seconds, "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        for bad in [
            "",
            "s",
            "30",
            "-1s",
            "1.5h",
            "1h30m",
            "0s",
            "99999999999999999999s",
            "9999999d",
            "3µ",
            "+3s",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
