//! What this node wrote down of the time, in Unix seconds: `time`. The first line is what it believed last, which may be
//! empty; the second is the latest time that the clock has shown. A hint; a line that is damaged is none.

use std::path::Path;

use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader, SMALL};
use grid_promises::Timestamp;
use grid_promises::core::WrittenTime;

use super::error::StoreError;

const FILE: &str = "time";

pub(super) fn load<D: Disk>(reader: &Reader<'_, D>, home: &Path) -> WrittenTime {
    let found = reader.optional(&home.join(FILE), SMALL, Privacy::Plain);
    let found = found.ok().flatten();
    let text = found.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    decode(&text.unwrap_or_default())
}

fn decode(text: &str) -> WrittenTime {
    let mut lines = text.lines().map(|line| line.parse().ok().map(Timestamp));
    WrittenTime {
        believed: lines.next().flatten(),
        shown: lines.next().flatten(),
    }
}

pub(super) fn save<D: Disk>(disk: &D, home: &Path, time: &WrittenTime) -> Result<(), StoreError> {
    atomic::write_file(disk, home, FILE, encode(time).as_bytes())?;
    Ok(())
}

fn encode(time: &WrittenTime) -> String {
    let line = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    format!("{}\n{}\n", line(time.believed), line(time.shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_read_without_the_other() {
        for believed in [None, Some(Timestamp(0)), Some(Timestamp(u64::MAX))] {
            for shown in [None, Some(Timestamp(1_900_000_000))] {
                let time = WrittenTime { believed, shown };
                assert_eq!(decode(&encode(&time)), time);
            }
        }
        let before = WrittenTime {
            believed: Some(Timestamp(7)),
            shown: None,
        };
        assert_eq!(decode("7\n"), before);
        assert_eq!(decode(""), WrittenTime::default());
        assert_eq!(decode("x\n-1\n"), WrittenTime::default());
    }
}
