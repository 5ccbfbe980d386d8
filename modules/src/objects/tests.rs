//! The object store on a real file system.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use grid_files::RealDisk;
use grid_files::disk::{About, Disk, Entry, Found, Hold, OpenFile};
use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::CacheDir;

const CODES: [HashCode; 3] = [HashCode::Sha2_256, HashCode::Sha2_512, HashCode::Blake3];

/// No bound but that of the whole cache.
const ALL_OF_IT: Share = Share {
    count: u64::MAX,
    bytes: u64::MAX,
};

struct Place {
    dir: tempfile::TempDir,
    objects: Objects,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::of(&CacheDir::new(dir.path().join("cache")));
        Self { dir, objects }
    }

    fn put(&self, bytes: &[u8]) -> ContentId {
        self.objects.put(HashCode::Sha2_256, bytes).unwrap().id
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn spoil(&self, id: &ContentId) {
        let path = self.objects.path(id);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    fn age(&self, path: &Path, age: Duration) {
        let then = SystemTime::now() - age;
        File::open(path).unwrap().set_modified(then).unwrap();
    }

    fn is_here(&self, id: &ContentId) -> bool {
        self.objects.get(id).unwrap().is_some()
    }
}

fn policy(limit: u64) -> Policy {
    Policy {
        limit,
        calls: ALL_OF_IT,
        partial: ALL_OF_IT,
        grace: GRACE,
        is_rehearsal: false,
    }
}

fn long(seed: u8, length: usize) -> Vec<u8> {
    (0..=250)
        .cycle()
        .take(length)
        .map(|byte: u8| byte ^ seed)
        .collect()
}

fn aside(error: CacheError) -> PathBuf {
    match error {
        CacheError::Damaged { aside, .. } => aside.unwrap(),
        other => panic!("{other}"),
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_was_put_is_there_for_every_hash_function_and_way() {
    let place = Place::new();
    for (seed, code) in (0..).zip(CODES) {
        for length in [0, 1, 1000, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let bytes = long(seed, length);
            let id = ContentId::with(code, &bytes);
            assert!(!place.is_here(&id));
            let put = place
                .objects
                .put_from(code, &mut &bytes[..], &mut |_| {})
                .unwrap();
            let len = length as u64;
            assert_eq!((put.id, put.len, put.how), (id, len, How::New));
            let again = place.objects.put_as(&id, &bytes).unwrap();
            assert_eq!(again.how, How::Present);
            let mut read = Vec::new();
            let object = place.objects.get(&id).unwrap().unwrap();
            object.reader().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length}");
        }
    }
    assert_eq!(place.objects.list().unwrap().len(), 18);
    assert_eq!(place.objects.sizes().unwrap().incoming.count, 0);
    let audit = place.objects.audit(&mut |_, _| {}).unwrap();
    assert_eq!((audit.whole.count, audit.damaged.len()), (18, 0));
    assert_eq!(audit.whole.bytes, place.objects.written());
}

#[test]
fn folders_fill_evenly() {
    let place = Place::new();
    for (code, folders) in [
        (HashCode::Sha2_256, 256),
        (HashCode::Blake3, 256),
        (HashCode::Sha2_512, 512),
    ] {
        let ids = (0u32..8192).map(|number| ContentId::with(code, &number.to_be_bytes()));
        let mut count = std::collections::BTreeMap::<_, usize>::new();
        for id in ids {
            let path = place.objects.path(&id);
            *count.entry(path.parent().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(count.len(), folders);
        let most = count.values().max().unwrap();
        assert!(*most < 3 * 8192 / folders, "{most} in one folder");
    }
}

#[test]
fn a_damaged_object_is_set_aside_and_replaced() {
    for length in [100, 2 << 20] {
        let place = Place::new();
        let bytes = long(7, length);
        let id = place.put(&bytes);
        let mut asides = BTreeSet::new();
        for round in 0..3 {
            place.spoil(&id);
            let damaged = fs::read(place.objects.path(&id)).unwrap();
            let how = if round < 2 {
                let moved = aside(place.objects.get(&id).unwrap_err());
                assert!(fs::read(&moved).unwrap() == damaged);
                assert!(asides.insert(moved), "an earlier one was overwritten");
                assert!(!place.is_here(&id), "{round}");
                How::New
            } else {
                How::Replaced(Some(place.cache().join(format!("damaged/{id}.2"))))
            };
            let put = place
                .objects
                .put_from(id.hash_code(), &mut &bytes[..], &mut |_| {});
            assert_eq!(put.unwrap().how, how);
            assert!(place.is_here(&id));
        }
        let damaged = place.objects.sizes().unwrap().damaged;
        assert_eq!((damaged.count, damaged.bytes), (3, 3 * length as u64));
    }
}

#[test]
fn an_audit_finds_every_damage_and_leaves_recency_alone() {
    let place = Place::new();
    let ids: Vec<_> = (0..5).map(|seed| place.put(&long(seed, 50))).collect();
    place.spoil(&ids[1]);
    let cut = File::options()
        .write(true)
        .open(place.objects.path(&ids[3]))
        .unwrap();
    cut.set_len(0).unwrap();
    place.age(&place.objects.path(&ids[0]), 3 * HOUR);
    let before = place.objects.list().unwrap();
    let audit = place.objects.audit(&mut |_, _| {}).unwrap();
    let found: BTreeSet<_> = audit.damaged.iter().map(|damaged| damaged.id).collect();
    assert_eq!(found, BTreeSet::from([ids[1], ids[3]]));
    assert_eq!(audit.whole.count, 3);
    let after = place.objects.list().unwrap();
    assert!(after.iter().all(|listed| before.contains(listed)));
    assert_eq!(after.len(), 3);
}

#[test]
fn other_bytes_are_not_stored_as_an_object() {
    let place = Place::new();
    let id = ContentId::of(b"right");
    assert!(matches!(
        place.objects.put_as(&id, b"wrong"),
        Err(CacheError::NotTheObject { .. })
    ));
    let mut incoming = place.objects.receive(id.hash_code()).unwrap();
    incoming.take(b"wro").unwrap();
    incoming.take(b"ng").unwrap();
    let error = incoming.finish(Some(&id)).unwrap_err();
    assert!(error.to_string().contains("nothing was stored"), "{error}");
    assert!(place.objects.list().unwrap().is_empty());
    assert_eq!(place.objects.sizes().unwrap().total(), 0);
}

#[test]
fn a_source_that_fails_leaves_nothing_behind() {
    struct Fails(usize);
    impl std::io::Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1..9 => Ok(buffer.len()),
                _ => Err(std::io::Error::other("cut")),
            }
        }
    }
    let place = Place::new();
    let error = place
        .objects
        .put_from(HashCode::Sha2_256, &mut Fails(0), &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, CacheError::Source(_)), "{error}");
    assert_eq!(place.objects.sizes().unwrap().total(), 0);
}

#[test]
fn what_the_store_did_not_make_is_left_alone() {
    let place = Place::new();
    let id = place.put(b"mine");
    let path = place.objects.path(&id);
    fs::remove_file(&path).unwrap();
    let target = place.dir.path().join("target");
    fs::write(&target, b"mine").unwrap();
    symlink(&target, &path).unwrap();
    for error in [
        place.objects.get(&id).map(drop).unwrap_err(),
        place
            .objects
            .put(id.hash_code(), b"mine")
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(matches!(error, CacheError::Foreign { .. }), "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        place.objects.get(&id),
        Err(CacheError::Foreign { .. })
    ));
    fs::write(place.cache().join("objects/note"), b"x").unwrap();
    assert!(place.objects.list().unwrap().is_empty());
    assert_eq!(place.objects.sizes().unwrap().foreign.count, 2);
}

#[test]
fn a_cache_that_somebody_removed_is_made_again() {
    let place = Place::new();
    place.put(b"one");
    fs::remove_dir_all(place.cache()).unwrap();
    assert!(!place.is_here(&ContentId::of(b"one")));
    let id = place.put(b"two");
    assert!(place.is_here(&id));
}

#[test]
fn a_read_renews_an_old_time_and_only_that() {
    let place = Place::new();
    let id = place.put(b"used");
    let path = place.objects.path(&id);
    let time = || fs::metadata(&path).unwrap().modified().unwrap();
    for (age, is_renewed) in [(RECENCY / 2, false), (2 * RECENCY, true)] {
        place.age(&path, age);
        let before = time();
        assert!(place.is_here(&id));
        assert_eq!(time() != before, is_renewed, "{age:?}");
    }
    File::open(&path)
        .unwrap()
        .set_modified(SystemTime::now() + 24 * HOUR)
        .unwrap();
    assert!(place.is_here(&id));
    assert!(time() < SystemTime::now() + HOUR);
    place.age(&path, RECENCY / 2);
    let before = time();
    place.put(b"used");
    assert!(time() > before, "a put always renews");
}

/// Objects that name others: their bytes are the texts of ids, one a line; `!` before one that names
/// none.
fn names(_: &ContentId, bytes: &[u8]) -> Vec<Reference> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let reference = |line: &str| match line.strip_prefix('!') {
        Some(leaf) => leaf.parse().map(Reference::Leaf).ok(),
        None => line.parse().map(Reference::Inner).ok(),
    };
    text.lines().filter_map(reference).collect()
}

#[test]
fn what_the_roots_reach_stays_whatever_the_limit() {
    let place = Place::new();
    let code = place.put(b"code");
    let text = place.put(b"text");
    let missing = ContentId::of(b"never fetched");
    let descriptor = place.put(format!("!{code}\n!{text}\n!{missing}\n").as_bytes());
    let old = place.put(format!("{descriptor}\n").as_bytes());
    let table = place.put(format!("{descriptor}\n{old}\n{descriptor}\n").as_bytes());
    let loose = place.put(b"loose");
    for listed in place.objects.list().unwrap() {
        place.age(&place.objects.path(&listed.id), HOUR);
    }
    let reached = reach(&place.objects, &[table], &names).unwrap();
    assert_eq!(reached.len(), 6);
    for listed in place.objects.list().unwrap() {
        place.age(&place.objects.path(&listed.id), HOUR);
    }
    let rehearsed = Policy {
        is_rehearsal: true,
        ..policy(0)
    };
    for (policy, is_gone) in [(rehearsed, false), (policy(0), true)] {
        let collected = place.objects.collect(&reached, &policy).unwrap();
        assert_eq!(collected.evicted.len(), 1);
        assert_eq!(collected.evicted[0].id, loose);
        assert_eq!(collected.passed.len(), 5);
        let is_reached = |passed: &Passed| matches!(passed.why, Why::Reached);
        assert!(collected.passed.iter().all(is_reached));
        assert!(!collected.is_within());
        assert_eq!(place.is_here(&loose), !is_gone);
        place.age(&place.objects.path(&code), HOUR);
        if !is_gone {
            place.age(&place.objects.path(&loose), HOUR);
        }
    }
    for id in [code, text, descriptor, old, table] {
        assert!(place.is_here(&id));
    }
}

#[test]
fn without_a_table_nothing_is_evicted() {
    let place = Place::new();
    let descriptor = ContentId::of(b"gone");
    let table = place.put(format!("{descriptor}\n").as_bytes());
    assert!(matches!(
        reach(&place.objects, &[table], &names),
        Err(CacheError::Unreached { id }) if id == descriptor
    ));
    place.spoil(&table);
    assert!(matches!(
        reach(&place.objects, &[table], &names),
        Err(CacheError::Damaged { .. })
    ));
    assert!(matches!(
        reach(&place.objects, &[table], &crate::roots::references),
        Err(CacheError::Unreached { .. })
    ));
    assert!(reach(&place.objects, &[], &names).unwrap().is_empty());
}

#[test]
fn what_is_new_or_in_the_way_stays_and_what_has_no_writer_goes() {
    let place = Place::new();
    let new = place.put(b"new");
    let old = place.put(b"old");
    place.age(&place.objects.path(&old), 2 * GRACE);
    let incoming = place.cache().join("incoming");
    let mut writing = place.objects.receive(HashCode::Sha2_256).unwrap();
    writing.take(&long(1, 2 << 20)).unwrap();
    fs::write(incoming.join("1-1.tmp"), b"left").unwrap();
    fs::write(incoming.join("note"), b"foreign").unwrap();
    place.age(&incoming.join("1-1.tmp"), ABANDONED + HOUR);
    place.age(&incoming.join("note"), ABANDONED + HOUR);
    fs::create_dir_all(place.cache().join("calls/a/b")).unwrap();
    fs::write(place.cache().join("calls/a/b/c"), b"12345").unwrap();

    let collected = place
        .objects
        .collect(&Reached::default(), &policy(1))
        .unwrap();
    let evicted: Vec<_> = collected.evicted.iter().map(|listed| listed.id).collect();
    assert_eq!(evicted, [old]);
    assert_eq!(collected.passed.len(), 1);
    assert_eq!(collected.passed[0].object.id, new);
    assert!(matches!(collected.passed[0].why, Why::Recent));
    assert_eq!(
        (collected.abandoned.count, collected.abandoned.bytes),
        (1, 4)
    );
    assert_eq!(collected.before.calls.bytes, 5);
    let sizes = place.objects.sizes().unwrap();
    assert_eq!(sizes.total(), collected.after);
    assert!(incoming.join("note").exists());
    let id = writing.finish(None).unwrap().id;
    assert!(place.is_here(&id));
}

#[test]
fn a_wrong_clock_keeps_nothing_for_ever() {
    let place = Place::new();
    let (soon, far) = (place.put(b"soon"), place.put(b"far"));
    for (id, ahead) in [(soon, GRACE / 2), (far, HOUR)] {
        let file = File::open(place.objects.path(&id)).unwrap();
        file.set_modified(SystemTime::now() + ahead).unwrap();
    }
    let collected = place.objects.collect(&Reached::default(), &policy(0));
    let collected = collected.unwrap();
    assert_eq!(collected.evicted[0].id, far);
    assert_eq!(collected.passed[0].object.id, soon);
}

#[test]
fn an_unfinished_file_that_is_taken_away_is_an_error() {
    let place = Place::new();
    let mut writing = place.objects.receive(HashCode::Sha2_256).unwrap();
    writing.take(b"x").unwrap();
    fs::remove_dir_all(place.cache().join("incoming")).unwrap();
    let error = writing.finish(None).unwrap_err();
    assert!(matches!(error, CacheError::Abandoned { .. }), "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
}

#[test]
fn whoever_reads_reads_on_while_it_is_evicted() {
    let place = Place::new();
    let bytes = long(3, 3 << 20);
    let id = place.put(&bytes);
    place.age(&place.objects.path(&id), HOUR);
    let object = place.objects.get(&id).unwrap().unwrap();
    let now = Policy {
        grace: Duration::ZERO,
        ..policy(0)
    };
    let collected = place.objects.collect(&Reached::default(), &now).unwrap();
    assert_eq!(collected.evicted.len(), 1);
    assert!(!place.is_here(&id));
    let mut read = Vec::new();
    object.reader().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
}

/// Many threads, each with handles of its own as if it were a process: whoever put an object finds it,
/// whoever reads gets whole objects, whatever is evicted and damaged meanwhile.
#[test]
fn putting_reading_and_evicting_at_once_is_safe() {
    let place = Place::new();
    let cache = CacheDir::new(place.cache());
    let is_done = AtomicBool::new(false);
    let evicted = AtomicUsize::new(0);
    // 30 are everybody's; 10 more are each thread's own, which ages them after use, so that they are
    // put again just while they may be evicted.
    let content = |number: u32| long((number % 61) as u8, 2000 + number as usize % 61);
    std::thread::scope(|scope| {
        let putting: Vec<_> = (0..3u32)
            .map(|seed| {
                let objects = Objects::of(&cache);
                scope.spawn(move || {
                    for round in 0..80 {
                        let is_own = round % 2 == 0;
                        let bytes = content(match is_own {
                            true => 30 + seed * 10 + round / 2 % 10,
                            false => (seed + round) % 30,
                        });
                        let id = objects.put(HashCode::Blake3, &bytes).unwrap().id;
                        let found = objects.get(&id).unwrap().unwrap();
                        assert!(found.bytes().unwrap() == bytes);
                        if is_own {
                            let old = SystemTime::now() - HOUR;
                            let _ = File::open(objects.path(&id))
                                .and_then(|file| file.set_modified(old));
                        }
                    }
                })
            })
            .collect();
        for seed in 0..2u32 {
            let objects = Objects::of(&cache);
            let is_done = &is_done;
            scope.spawn(move || {
                for number in (seed..).take(1_000_000) {
                    let bytes = content(number);
                    let id = ContentId::with(HashCode::Blake3, &bytes);
                    if let Some(found) = objects.get(&id).unwrap() {
                        assert!(found.bytes().unwrap() == bytes);
                    }
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let objects = Objects::of(&cache);
        let (is_done, evicted) = (&is_done, &evicted);
        scope.spawn(move || {
            // Once more when all are done: on a busy machine they may be faster than this thread.
            let mut is_last = false;
            while !is_last {
                is_last = is_done.load(Ordering::Relaxed);
                let collected = objects.collect(&Reached::default(), &policy(0)).unwrap();
                evicted.fetch_add(collected.evicted.len(), Ordering::Relaxed);
            }
        });
        let ended: Vec<_> = putting.into_iter().map(|thread| thread.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert!(evicted.load(Ordering::Relaxed) > 0);
    let audit = place.objects.audit(&mut |_, _| {}).unwrap();
    assert!(audit.damaged.is_empty() && audit.unread.is_empty());
    assert_eq!(place.objects.sizes().unwrap().incoming.count, 0);
}

/// Two who read the same damaged object while a third puts a good one: the good one stays.
#[test]
fn a_good_object_is_never_set_aside_for_a_damaged_one() {
    let place = Place::new();
    let bytes = long(9, 2 << 20);
    let id = place.put(&bytes);
    for _ in 0..10 {
        place.spoil(&id);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let objects = place.objects.clone();
                scope.spawn(move || match objects.get(&id) {
                    Ok(_) | Err(CacheError::Damaged { .. }) => {}
                    Err(error) => panic!("{error}"),
                });
            }
            place.objects.put_as(&id, &bytes).unwrap();
        });
        assert!(place.is_here(&id));
    }
    assert_eq!(place.objects.sizes().unwrap().damaged.count, 10);
}

/// The file system, with something that happens just before the next lock is held alone: after a
/// decision was made and before it is carried out.
struct Between(Mutex<Option<Happens>>);

type Happens = Box<dyn FnOnce() + Send>;

impl Disk for Between {
    type Lock = <RealDisk as Disk>::Lock;

    fn lock(&self, folder: &Path, hold: Hold) -> io::Result<Self::Lock> {
        let happens = (hold == Hold::Alone).then(|| self.0.lock().take());
        if let Some(happens) = happens.flatten() {
            happens();
        }
        RealDisk.lock(folder, hold)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<()> {
        RealDisk.create(path)
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        RealDisk.append(path, bytes)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Found> {
        RealDisk.read(path, limit)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(path)
    }
    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        RealDisk.open(path)
    }
    fn about(&self, path: &Path) -> io::Result<About> {
        RealDisk.about(path)
    }
    fn touch(&self, path: &Path, when: SystemTime) -> io::Result<()> {
        RealDisk.touch(path, when)
    }
}

impl Place {
    /// Another process, during whose next decision this happens.
    fn during(&self, happens: impl FnOnce() + Send + 'static) -> Objects<Between> {
        let disk = Between(Mutex::new(Some(Box::new(happens))));
        Objects::on(self.cache(), disk)
    }
}

#[test]
fn what_is_wanted_again_while_it_is_evicted_stays() {
    let place = Place::new();
    let id = place.put(b"wanted");
    for is_put in [true, false] {
        place.age(&place.objects.path(&id), HOUR);
        let objects = place.objects.clone();
        let other = place.during(move || {
            match is_put {
                true => drop(objects.put(id.hash_code(), b"wanted").unwrap()),
                false => drop(objects.get(&id).unwrap().unwrap()),
            };
        });
        let collected = other.collect(&Reached::default(), &policy(0)).unwrap();
        assert!(collected.evicted.is_empty());
        assert!(matches!(collected.passed[0].why, Why::Changed));
        assert!(place.is_here(&id));
    }
}

#[test]
fn what_was_replaced_while_it_is_set_aside_stays() {
    let place = Place::new();
    let id = place.put(b"replaced");
    place.spoil(&id);
    let objects = place.objects.clone();
    let other = place.during(move || {
        let put = objects.put(id.hash_code(), b"replaced").unwrap();
        assert!(matches!(put.how, How::Replaced(Some(_))));
    });
    let found = other.get(&id).unwrap().unwrap();
    assert_eq!(found.bytes(), Some(&b"replaced"[..]));
    assert!(place.is_here(&id));
    assert_eq!(place.objects.sizes().unwrap().damaged.count, 1);
}

/// A cache that is never there.
struct Broken;

impl Cache for Broken {
    fn name(&self) -> &str {
        "a broken cache"
    }

    fn get(&self, _: &ContentId) -> Result<Option<Object>, CacheError> {
        let (cache, why) = (self.name().to_owned(), "it is away".to_owned());
        Err(CacheError::Elsewhere { cache, why })
    }

    fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        self.get(id).map(|found| found.is_some())
    }
}

#[test]
fn layers_keep_what_a_lower_one_has() {
    let (near, far) = (Place::new(), Place::new());
    let built_in = Embedded::new([&b"built in"[..]]);
    let layers = Layers::new(vec![
        Arc::new(built_in),
        Arc::new(near.objects.clone()),
        Arc::new(far.objects.clone()),
    ]);
    for bytes in [long(1, 100), long(2, 2 << 20)] {
        let id = far.put(&bytes);
        assert!(layers.has(&id).unwrap());
        assert!(!near.is_here(&id));
        assert_eq!(layers.get(&id).unwrap().unwrap().len(), bytes.len() as u64);
        assert!(near.is_here(&id));
        // Damaged in the one, whole in the other: found, and replaced.
        near.spoil(&id);
        assert!(layers.get(&id).unwrap().is_some());
        assert!(near.is_here(&id));
        near.spoil(&id);
        far.spoil(&id);
        assert!(matches!(layers.get(&id), Err(CacheError::Damaged { .. })));
        assert!(layers.get(&id).unwrap().is_none());
        assert!(!layers.has(&id).unwrap());
    }
    let id = ContentId::of(b"built in");
    assert!(layers.get(&id).unwrap().is_some());
    assert!(!near.is_here(&id));
    let object = Object::verified(ContentId::of(b"x"), *b"x").unwrap();
    assert!(layers.keep(&object).unwrap());
    assert!(near.is_here(object.id()) && far.is_here(object.id()));
}

#[test]
fn a_layer_that_fails_stops_nothing_and_is_not_forgotten() {
    let place = Place::new();
    let id = place.put(b"here");
    let layers = Layers::new(vec![Arc::new(Broken), Arc::new(place.objects.clone())]);
    assert!(layers.get(&id).unwrap().is_some());
    assert!(layers.has(&id).unwrap());
    let other = ContentId::of(b"nowhere");
    let error = layers.get(&other).unwrap_err().to_string();
    assert_eq!(error, "a broken cache: it is away");
    assert!(layers.has(&other).is_err());
}

#[test]
fn every_promise_text_is_built_in() {
    let embedded = crate::builtins::embedded();
    for promise in grid_promises::texts::ALL {
        let object = embedded.get(&promise.id()).unwrap().unwrap();
        assert_eq!(object.bytes(), Some(promise.text.as_bytes()));
    }
    assert!(embedded.get(&ContentId::of(b"x")).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    /// Against the plain rule: oldest first, until it fits; not the reached, not the recent.
    #[test]
    fn eviction_is_least_recently_used_first(
        objects in proptest::collection::vec((1usize..400, 0u64..40, any::<bool>()), 1..25),
        limit in 0u64..4000,
    ) {
        let place = Place::new();
        let mut model = Vec::new();
        let mut leaves = Vec::new();
        for (number, (length, minutes, is_reached)) in objects.into_iter().enumerate() {
            // The length says which it is.
            let id = place.put(&long(0, length * 30 + number));
            // Half a minute from the border of the grace.
            let age = Duration::from_secs(minutes * 60 + 30);
            place.age(&place.objects.path(&id), age);
            if is_reached {
                leaves.push(Reference::Leaf(id));
            }
            let listed = place.objects.list().unwrap();
            let listed = *listed.iter().find(|listed| listed.id == id).unwrap();
            model.push((listed.used, id, listed.len, is_reached || age < GRACE));
        }
        model.sort();
        let mut total: u64 = model.iter().map(|(_, _, len, _)| len).sum();
        let mut expected = Vec::new();
        for (_, id, len, stays) in model {
            if total > limit && !stays {
                total -= len;
                expected.push(id);
            }
        }
        let root = [&b""[..]];
        let reached = reach(&Embedded::new(root), &[ContentId::of(b"")], &|_, _| leaves.clone());
        let collected = place.objects.collect(&reached.unwrap(), &policy(limit)).unwrap();
        let evicted: Vec<_> = collected.evicted.iter().map(|listed| listed.id).collect();
        prop_assert_eq!(evicted, expected);
        prop_assert_eq!(collected.after, total);
        prop_assert_eq!(place.objects.sizes().unwrap().total(), total);
    }
}

#[test]
fn the_store_is_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Objects<RealDisk>>();
    is_shared::<Object>();
}
