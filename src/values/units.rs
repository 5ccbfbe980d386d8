//! Seconds and bytes for people, in the same forms everywhere.

/// Seconds as people say them: the two largest units.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Bytes in the units of IEC 80000-13, as `wg` shows them.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut scaled = count;
    let mut rest = 0;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if scaled < 1024 {
            return if unit == "B" {
                format!("{scaled} B")
            } else {
                format!("{scaled}.{} {unit}", rest * 10 / 1024)
            };
        }
        rest = scaled % 1024;
        scaled /= 1024;
    }
    format!("{scaled} EiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        for (seconds, text) in [
            (0, "0s"),
            (61, "1m01s"),
            (3_660, "1h01m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
