//! Results of pure calls that were computed before, in `cache/calls/`.
//!
//! A cache and nothing else: what cannot be read or written is computed again, and a file that is
//! damaged, or stands in another call's place, is as if it were not there. Which results go when there
//! are too many is decided in [`objects`](crate::objects), by the time of their last use.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use grid_promises::Message;
use grid_promises::memo::{Memo, MemoPath};
use tracing::debug;

use crate::CacheDir;
use crate::objects::RECENCY;
use grid_files::RealDisk;
use grid_files::disk::Disk as _;

/// How often a result is written again that a collection takes away meanwhile.
const TRIES: usize = 4;

/// The results that a node keeps.
#[derive(Clone, Debug)]
pub struct Memos(PathBuf);

impl Memos {
    /// Those in a folder.
    #[must_use]
    pub fn of(cache: &CacheDir) -> Self {
        Self(cache.calls())
    }

    /// The result of a call, if it is known.
    #[must_use]
    pub fn get(&self, call: &Message) -> Option<Message> {
        let path = self.path(call)?;
        let about = fs::metadata(&path).ok()?;
        if about.len() > Memo::BOUNDS.max_bytes as u64 {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let memo = Memo::decode_for(call, &bytes).ok()?;
        let (now, used) = (SystemTime::now(), about.modified().ok());
        // Also if it is from the future: a clock was wrong.
        let age = used.and_then(|used| now.duration_since(used).ok());
        if age.is_none_or(|age| age >= RECENCY) {
            // Recency is a hint; a read-only disk gives its results all the same.
            let _ = RealDisk.touch(&path, now);
        }
        Some(memo.result)
    }

    /// Keeps the result of a call, if that is possible.
    pub fn keep(&self, call: &Message, result: &Message) {
        if let Some(path) = self.path(call)
            && let Err(error) = write(&path, &Memo::new(call, result.clone()).encode())
        {
            debug!("a result is not kept in {}: {error}", path.display());
        }
    }

    fn path(&self, call: &Message) -> Option<PathBuf> {
        let path = MemoPath::of(call).ok()?;
        // The first segment is the folder that this one stands in.
        let inside = path.segments().iter().skip(1);
        Some(inside.fold(self.0.clone(), |path, segment| path.join(segment)))
    }
}

/// Without a sync: what a power cut damages is not taken for a result.
fn write(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    for _ in 0..TRIES {
        fs::create_dir_all(folder)?;
        match fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)) {
            // A collection took the folder, which was empty, or the file, which was old to it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;

    #[test]
    fn a_result_is_found_again_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let memos = Memos(folder.path().join("calls"));
        let call = |arg: &str| Message::new(ContentId::of(b"p")).arg(arg);
        let result = Message::new(ContentId::of(b"p")).payload(*b"it");
        assert_eq!(memos.get(&call("a")), None);
        memos.keep(&call("a"), &result);
        memos.keep(&call("a").arg("b"), &result);
        for known in [call("a"), call("a").arg("b")] {
            assert_eq!(memos.get(&known), Some(result.clone()));
        }
        assert_eq!(memos.get(&call("b")), None);
        let path = memos.path(&call("a")).unwrap();
        let elsewhere = memos.path(&call("b")).unwrap();
        fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
        fs::copy(&path, elsewhere).unwrap();
        assert_eq!(memos.get(&call("b")), None);
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, bytes).unwrap();
        assert_eq!(memos.get(&call("a")), None);
    }
}
