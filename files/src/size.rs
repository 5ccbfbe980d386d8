//! Numbers of bytes as people write them: `500KiB`, `64MiB`, `1GiB`. Refuses `GB` and bare numbers:
//! people do not agree on what they mean.

use std::fmt;
use std::str::FromStr;

/// The units, the greatest first, and how many bytes each is.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A number of bytes: a whole number with one unit. Prints in the greatest unit that is exact, and
/// reads that back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is not a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number with a unit: 500KiB, 64MiB, 1GiB")]
pub struct ByteSizeError;

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or(ByteSizeError)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .ok_or(ByteSizeError)?;
        let number: u64 = number.parse().map_err(|_| ByteSizeError)?;
        number.checked_mul(*factor).map(Self).ok_or(ByteSizeError)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.into_iter().find(exact).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("1023B", 1023, "1023B"),
            ("1024B", 1024, "1KiB"),
            ("1536 B", 1536, "1536B"),
            ("64MiB", 64 << 20, "64MiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("16777215TiB", 16_777_215 << 40, "16777215TiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
            assert_eq!(shown.parse(), Ok(size));
        }
        assert_eq!(
            ByteSize(u64::MAX).to_string().parse(),
            Ok(ByteSize(u64::MAX))
        );
        for bad in [
            "",
            "1",
            "GiB",
            "1GB",
            "1gib",
            "-1B",
            "1.5GiB",
            "1GiBs",
            "16777216TiB",
            "99999999999999999999B",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
