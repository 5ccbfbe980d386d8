//! One object on its way here in chunks, from all who gave the same manifest: which chunks are
//! missing, who is asked for which, and how many at once.
//!
//! Decides and keeps the file; it asks nobody. What it is told was verified before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::modules::{Manifest, Progress};
use tokio::task::JoinHandle;

use super::error::Told;
use super::partial::{Partial, hash};
use crate::objects::{CacheError, Hasher, Objects, Put};

/// How many chunks one peer is asked for at once, at first and at most: 2 MiB, which is what a peer at
/// a round trip of 100 ms needs for 20 MB/s.
const WINDOW: std::ops::RangeInclusive<usize> = 2..=8;
/// How many chunks are asked for at once, of all: 16 MiB.
const AT_ONCE: usize = 64;
/// After how long a chunk is asked of somebody else as well, if there is nothing else to ask for.
const IMPATIENT: Duration = Duration::from_secs(2);
/// After how many requests without an answer a peer is not asked any more.
const SILENCES: u32 = 2;
/// How often the note beside the file is written.
const NOTE: Duration = Duration::from_secs(1);

/// A download of one manifest.
pub(super) struct Download {
    pub(super) manifest: Arc<Manifest>,
    partial: Arc<Partial>,
    progress: Progress,
    sources: BTreeMap<NodeId, Source>,
    /// Whose chunks were used.
    givers: BTreeSet<NodeId>,
    /// Chunks that nobody is asked for, in order.
    queue: VecDeque<u32>,
    /// Who is asked for a chunk, and since when.
    flying: BTreeMap<u32, Vec<(NodeId, Instant)>>,
    /// Up to which chunk the file is whole from its beginning.
    whole: u32,
    hashing: Option<Hashing>,
    noted: Instant,
    noting: Option<JoinHandle<()>>,
    /// When a chunk came last.
    moved: Instant,
}

/// A peer that has the object.
struct Source {
    window: usize,
    flying: usize,
    silences: u32,
}

/// What becomes of a peer that did not give a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is asked for more.
    Stays,
    /// It is not asked any more, from now on.
    Goes,
    /// It was not asked any more already.
    Gone,
}

struct Hashing {
    grow: mpsc::Sender<u64>,
    done: JoinHandle<io::Result<Hasher>>,
}

/// How a download ended whose chunks are all here.
pub(super) enum End {
    /// It is an object.
    Stored(Put),
    /// All chunks fitted, and the whole does not: the manifest was false.
    FalseManifest,
    /// The store refuses.
    Failed(CacheError),
}

impl Download {
    /// Begins a download, or goes on with one.
    pub(super) fn new(
        id: &ContentId,
        manifest: Arc<Manifest>,
        partial: Partial,
        progress: Progress,
    ) -> Self {
        let (grow, grown) = mpsc::channel();
        let file = Arc::clone(partial.file());
        let hasher = Hasher::new(id.hash_code());
        let done = tokio::task::spawn_blocking(move || hash(&file, hasher, &grown));
        let mut download = Self {
            queue: progress.missing().collect(),
            manifest,
            partial: Arc::new(partial),
            progress,
            sources: BTreeMap::new(),
            givers: BTreeSet::new(),
            flying: BTreeMap::new(),
            whole: 0,
            hashing: Some(Hashing { grow, done }),
            noted: Instant::now(),
            noting: None,
            moved: Instant::now(),
        };
        download.grow();
        download
    }

    /// The file that chunks are written to.
    pub(super) fn partial(&self) -> &Arc<Partial> {
        &self.partial
    }

    /// How many bytes are here.
    pub(super) fn bytes_here(&self) -> u64 {
        self.progress.bytes_here()
    }

    /// Whether all chunks are here.
    pub(super) fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Whether nobody is there who could be asked.
    pub(super) fn is_stuck(&self) -> bool {
        self.sources.is_empty()
    }

    /// For how long nothing came.
    pub(super) fn stalled(&self, now: Instant) -> Duration {
        now.duration_since(self.moved)
    }

    /// How many peers are asked.
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// A peer gave this manifest.
    pub(super) fn add_source(&mut self, peer: NodeId) {
        self.sources.entry(peer).or_insert(Source {
            window: *WINDOW.start(),
            flying: 0,
            silences: 0,
        });
    }

    /// Whom to ask for which chunks now. They count as asked for.
    pub(super) fn next(&mut self, now: Instant) -> Vec<(NodeId, u32)> {
        let mut asked = Vec::new();
        let mut in_flight: usize = self.sources.values().map(|source| source.flying).sum();
        loop {
            let before = asked.len();
            // One each, so that all have something to do before one has all.
            for (peer, source) in &mut self.sources {
                if source.flying >= source.window || in_flight >= AT_ONCE {
                    continue;
                }
                let queued = loop {
                    match self.queue.pop_front() {
                        // Somebody who was given up brought it after all.
                        Some(index) if self.progress.has(index) => {}
                        other => break other,
                    }
                };
                let Some(index) =
                    queued.or_else(|| overdue(&self.flying, &self.progress, peer, now))
                else {
                    continue;
                };
                self.flying.entry(index).or_default().push((*peer, now));
                source.flying += 1;
                in_flight += 1;
                asked.push((*peer, index));
            }
            if asked.len() == before {
                return asked;
            }
        }
    }

    /// A chunk came from a peer, was verified and written.
    pub(super) fn came(&mut self, peer: NodeId, index: u32) {
        self.landed(peer, index);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.window = (source.window + 1).min(*WINDOW.end());
            source.silences = 0;
        }
        self.givers.insert(peer);
        self.moved = Instant::now();
        // There is such a chunk: it was asked for.
        let _ = self.progress.mark(index);
        self.grow();
    }

    /// A chunk did not come.
    pub(super) fn failed(&mut self, peer: NodeId, index: u32, told: &Told) -> Standing {
        if !self.landed(peer, index) {
            return Standing::Gone;
        }
        if !self.progress.has(index) && !self.flying.contains_key(&index) {
            self.queue.push_front(index);
        }
        let Some(source) = self.sources.get_mut(&peer) else {
            return Standing::Gone;
        };
        if *told == Told::Silent {
            source.silences += 1;
            source.window = (source.window / 2).max(1);
            if source.silences < SILENCES {
                return Standing::Stays;
            }
        }
        self.sources.remove(&peer);
        // What else it was asked for may come all the same; others are asked meanwhile.
        let open = self.flying.iter_mut().filter_map(|(index, askers)| {
            askers.retain(|(other, _)| *other != peer);
            askers.is_empty().then_some(*index)
        });
        let open: Vec<u32> = open.collect();
        for index in open.into_iter().rev() {
            self.flying.remove(&index);
            if !self.progress.has(index) {
                self.queue.push_front(index);
            }
        }
        Standing::Goes
    }

    /// Whether the peer counted as asked for the chunk.
    fn landed(&mut self, peer: NodeId, index: u32) -> bool {
        let Some(askers) = self.flying.get_mut(&index) else {
            return false;
        };
        let Some(at) = askers.iter().position(|(other, _)| *other == peer) else {
            return false;
        };
        askers.remove(at);
        if askers.is_empty() {
            self.flying.remove(&index);
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            source.flying = source.flying.saturating_sub(1);
        }
        true
    }

    /// Tells the hasher how far the file is whole.
    fn grow(&mut self) {
        let before = self.whole;
        while self.progress.has(self.whole) {
            self.whole += 1;
        }
        if let (Some(hashing), true) = (&self.hashing, self.whole > before)
            && let Some(range) = self.manifest.range_of(self.whole - 1)
        {
            // If it ended, it says why when it is waited for.
            let _ = hashing.grow.send(range.end);
        }
    }

    /// Notes on disk what is here, if it is time.
    pub(super) fn note(&mut self, now: Instant) {
        let is_busy = self
            .noting
            .as_ref()
            .is_some_and(|noting| !noting.is_finished());
        if is_busy || now.duration_since(self.noted) < NOTE {
            return;
        }
        self.noted = now;
        let (partial, progress) = (Arc::clone(&self.partial), self.progress.clone());
        self.noting = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = partial.save(&progress) {
                tracing::debug!("{}: not noted: {error}", partial.path().display());
            }
        }));
    }

    /// Notes what is here, and leaves it to a later attempt.
    pub(super) async fn leave(mut self) {
        self.noted_down().await;
        let (partial, progress) = (Arc::clone(&self.partial), self.progress.clone());
        let saving = tokio::task::spawn_blocking(move || {
            partial.close();
            partial.save(&progress)
        });
        if let Ok(Err(error)) = saving.await {
            tracing::warn!("what came of {}: {error}", self.partial.path().display());
        }
    }

    async fn noted_down(&mut self) {
        if let Some(noting) = self.noting.take() {
            let _ = noting.await;
        }
    }

    /// Verifies the whole and stores it. All chunks are here.
    pub(super) async fn finish(mut self, id: ContentId, objects: Objects) -> End {
        self.noted_down().await;
        let Some(Hashing { grow, done }) = self.hashing.take() else {
            return End::Failed(CacheError::Bug("a download was finished twice"));
        };
        drop(grow);
        let partial = Arc::clone(&self.partial);
        let hasher = match done.await {
            Ok(Ok(hasher)) => hasher,
            Ok(Err(source)) => {
                let path = partial.path();
                return End::Failed(CacheError::Read { path, source });
            }
            Err(_) => return End::Failed(CacheError::Bug("hashing ended early")),
        };
        let length = self.manifest.length();
        let storing = tokio::task::spawn_blocking(move || {
            partial.close();
            let stored = objects.adopt(partial.path(), length, hasher, &id);
            // Whatever came of it, the file is not there any more.
            partial.forget();
            stored
        });
        match storing.await {
            Ok(Ok(put)) => End::Stored(put),
            Ok(Err(CacheError::NotTheObject { .. })) => End::FalseManifest,
            Ok(Err(error)) => End::Failed(error),
            Err(_) => End::Failed(CacheError::Bug("storing ended early")),
        }
    }

    /// The peers whose chunks were used.
    pub(super) fn givers(&self) -> &BTreeSet<NodeId> {
        &self.givers
    }
}

/// The chunk that was asked for longest ago, long enough, and not of this peer nor of many.
fn overdue(
    flying: &BTreeMap<u32, Vec<(NodeId, Instant)>>,
    progress: &Progress,
    peer: &NodeId,
    now: Instant,
) -> Option<u32> {
    flying
        .iter()
        .filter(|(index, _)| !progress.has(**index))
        .filter(|(_, askers)| askers.len() < 3 && askers.iter().all(|(other, _)| other != peer))
        .filter_map(|(index, askers)| Some((askers.last()?.1, *index)))
        .filter(|(since, _)| now.duration_since(*since) >= IMPATIENT)
        .min()
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_dir::CacheDir;

    const CHUNK: usize = 256 << 10;
    const ONE: NodeId = NodeId([1; 32]);
    const TWO: NodeId = NodeId([2; 32]);

    struct Scene {
        dir: tempfile::TempDir,
        bytes: Vec<u8>,
        id: ContentId,
        manifest: Arc<Manifest>,
    }

    fn scene(chunks: usize) -> Scene {
        let bytes: Vec<u8> = (0..=250).cycle().take(chunks * CHUNK - 5).collect();
        Scene {
            dir: tempfile::tempdir().unwrap(),
            id: ContentId::of(&bytes),
            manifest: Arc::new(Manifest::of(&bytes).unwrap()),
            bytes,
        }
    }

    impl Scene {
        fn begin(&self) -> Download {
            let (partial, progress) =
                Partial::open(self.dir.path(), &self.id, &self.manifest).unwrap();
            Download::new(&self.id, Arc::clone(&self.manifest), partial, progress)
        }

        fn bring(&self, download: &mut Download, peer: NodeId, index: u32) {
            let range = self.manifest.range_of(index).unwrap();
            let (start, end) = (
                range.start.try_into().unwrap(),
                range.end.try_into().unwrap(),
            );
            let chunk: &[u8] = &self.bytes[start..end];
            download.partial().write(chunk, range.start).unwrap();
            download.came(peer, index);
        }

        fn objects(&self) -> Objects {
            Objects::of(&CacheDir::new(self.dir.path().join("cache")))
        }
    }

    #[tokio::test]
    async fn windows_grow_chunks_are_shared_and_the_whole_is_stored() {
        let scene = scene(40);
        let mut download = scene.begin();
        download.add_source(ONE);
        download.add_source(TWO);
        let now = Instant::now();
        let first = download.next(now);
        assert_eq!(first, [(ONE, 0), (TWO, 1), (ONE, 2), (TWO, 3)]);
        assert!(download.next(now).is_empty());
        let mut asked = VecDeque::from(first);
        let mut most = 0;
        while let Some((peer, index)) = asked.pop_front() {
            scene.bring(&mut download, peer, index);
            asked.extend(download.next(now));
            most = most.max(asked.len());
        }
        assert_eq!(most, 16);
        assert!(download.is_complete());
        assert_eq!(download.bytes_here(), scene.bytes.len() as u64);
        assert_eq!(download.givers().len(), 2);
        let End::Stored(put) = download.finish(scene.id, scene.objects()).await else {
            panic!("it is not stored");
        };
        assert_eq!(put.len, scene.bytes.len() as u64);
        assert!(scene.objects().get(&scene.id).unwrap().is_some());
    }

    #[tokio::test]
    async fn who_is_silent_or_gone_leaves_its_chunks_to_others() {
        let scene = scene(3);
        let mut download = scene.begin();
        download.add_source(ONE);
        let mut now = Instant::now();
        assert_eq!(download.next(now), [(ONE, 0), (ONE, 1)]);
        download.add_source(TWO);
        assert_eq!(download.next(now), [(TWO, 2)]);
        assert!(download.next(now).is_empty());
        now += IMPATIENT;
        // Nothing is left to ask for: who has room is asked for what others keep to themselves.
        assert_eq!(download.next(now), [(TWO, 0)]);
        assert_eq!(download.failed(ONE, 0, &Told::Silent), Standing::Stays);
        assert_eq!(download.failed(ONE, 1, &Told::Silent), Standing::Goes);
        assert_eq!(download.source_count(), 1);
        scene.bring(&mut download, TWO, 2);
        assert_eq!(download.next(now), [(TWO, 1)]);
        let lost = Told::Lost("gone".to_owned());
        assert_eq!(download.failed(TWO, 0, &lost), Standing::Goes);
        assert_eq!(download.failed(TWO, 1, &lost), Standing::Gone);
        assert!(download.is_stuck() && !download.is_complete());
        // A peer that was given up may answer after all.
        scene.bring(&mut download, ONE, 0);
        download.leave().await;
        let mut again = scene.begin();
        again.add_source(TWO);
        assert_eq!(again.next(now), [(TWO, 1)]);
    }

    #[tokio::test]
    async fn a_false_manifest_is_found_in_the_end() {
        let mut scene = scene(2);
        scene.id = ContentId::of(b"something else");
        let mut download = scene.begin();
        for index in [1, 0] {
            scene.bring(&mut download, ONE, index);
        }
        let end = download.finish(scene.id, scene.objects()).await;
        assert!(matches!(end, End::FalseManifest));
        let left: Vec<_> = std::fs::read_dir(scene.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().contains(&scene.id.to_string()))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
