//! Spans of time as people type them: `30s`, `10m`, `24h`, `7d`.

use std::time::Duration;

/// Reads a whole number with one unit.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub fn parse(text: &str) -> Result<Duration, String> {
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
    let span = number.checked_mul(seconds).ok_or_else(wrong)?;
    // A century is longer than anything here can mean, and far from the end of the range.
    if span == 0 || span > 100 * 366 * 86_400 {
        return Err(format!("\"{text}\" is too short or too long"));
    }
    Ok(Duration::from_secs(span))
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
            let span = parse(text).unwrap();
            assert_eq!(span.as_secs(), seconds, "{text}");
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
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
