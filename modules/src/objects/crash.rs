//! The life of an object store, cut at every operation and every byte. After any cut every object that
//! `put` reported is there and whole, nothing else than whole objects is returned, and what was set
//! aside is where the error said.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;

use super::*;
use grid_files::crash::CutDisk;
use grid_files::disk::Disk as _;

const A: (HashCode, &[u8]) = (HashCode::Sha2_256, b"alpha");
const B: (HashCode, &[u8]) = (HashCode::Blake3, b"beta");
const C: (HashCode, &[u8]) = (HashCode::Sha2_512, b"gamma");
const ALL: [(HashCode, &[u8]); 3] = [A, B, C];

fn id((code, bytes): (HashCode, &[u8])) -> ContentId {
    ContentId::with(code, bytes)
}

fn on(disk: CutDisk) -> Objects<CutDisk> {
    Objects::on("/h/cache".into(), disk)
}

/// What the store said so far.
#[derive(Default)]
struct Said {
    /// Objects that are there.
    stored: BTreeSet<ContentId>,
    /// Objects that a failing disk changed.
    spoilt: BTreeSet<ContentId>,
    /// Where damaged ones are.
    aside: Vec<PathBuf>,
}

impl Said {
    fn put(&mut self, put: Put) {
        self.stored.insert(put.id);
        if let How::Replaced(aside) = put.how {
            self.aside.extend(aside);
        }
        self.spoilt.remove(&put.id);
    }

    fn spoil(&mut self, objects: &Objects<CutDisk>, which: (HashCode, &[u8])) {
        let id = id(which);
        self.stored.remove(&id);
        self.spoilt.insert(id);
        objects.disk().spoil(&objects.path(&id));
    }
}

const POLICY: Policy = Policy {
    limit: 0,
    calls: NO_BOUND,
    partial: NO_BOUND,
    grace: Duration::ZERO,
    is_rehearsal: false,
};
const NO_BOUND: Share = Share {
    count: u64::MAX,
    bytes: u64::MAX,
};
const LOOSE: &str = "/h/cache/calls/p/m";

/// Two calls and a download that was cut, as others write them.
fn litter(disk: &CutDisk) -> io::Result<()> {
    for folder in [
        "/h/cache/calls",
        "/h/cache/calls/p",
        LOOSE,
        "/h/cache/partial",
    ] {
        disk.make_dir(Path::new(folder))?;
    }
    for name in [
        "calls/p/=result",
        "calls/p/m/=result",
        "partial/x.part",
        "partial/x.progress",
    ] {
        let path = Path::new("/h/cache").join(name);
        disk.create(&path)?;
        disk.append(&path, b"!")?;
    }
    Ok(())
}

fn stream(objects: &Objects<CutDisk>, what: (HashCode, &[u8])) -> Result<Put, CacheError> {
    objects.put_from(what.0, &mut &what.1[..], &mut |_| {})
}

fn live(objects: &Objects<CutDisk>, said: &mut Said) -> Result<(), CacheError> {
    said.put(objects.put(A.0, A.1)?);
    said.put(stream(objects, B)?);
    said.put(objects.put(A.0, A.1)?);
    said.put(stream(objects, B)?);
    let mut given_up = objects.receive(C.0)?;
    given_up.take(b"gam")?;
    drop(given_up);
    said.put(objects.put(C.0, C.1)?);

    said.spoil(objects, A);
    match objects.get(&id(A)) {
        Err(CacheError::Damaged { aside, .. }) => said.aside.extend(aside),
        Err(error) => return Err(error),
        Ok(found) => panic!("{found:?}"),
    }
    said.spoilt.remove(&id(A));
    said.put(objects.put(A.0, A.1)?);
    said.spoil(objects, A);
    said.put(stream(objects, A)?);

    // B may go from here on; the others are reached.
    said.stored.remove(&id(B));
    litter(objects.disk()).map_err(|source| CacheError::Write {
        path: LOOSE.into(),
        source,
    })?;
    let reached = reach_all(&[id(A), id(C)]);
    let collected = objects.collect(&reached, &POLICY)?;
    if let Some(error) = collected.stuck.into_iter().next() {
        return Err(error);
    }
    assert_eq!((collected.calls.count, collected.partial.count), (2, 1));
    for passed in collected.passed {
        if let Why::Failed(error) = passed.why {
            return Err(error);
        }
    }
    assert_eq!(collected.evicted.len(), 1);
    Ok(())
}

fn reach_all(ids: &[ContentId]) -> Reached {
    let leaves: Vec<_> = ids.iter().copied().map(Reference::Leaf).collect();
    let root = ContentId::of(b"");
    let cache = Embedded::new([&b""[..]]);
    reach(&cache, &[root], &|_, _| leaves.clone()).unwrap()
}

/// A restart on this disk finds all that was said, and nothing that is wrong.
fn judge(disk: CutDisk, said: &Said, at: &str) {
    let objects = on(disk);
    for aside in &said.aside {
        let found = objects.disk().read(aside, 100);
        assert!(found.is_ok_and(|found| found.bytes.len() > 3), "{at}");
    }
    for what in ALL {
        let id = id(what);
        match objects.get(&id) {
            Ok(Some(object)) => assert_eq!(object.bytes(), Some(what.1), "{at}"),
            Ok(None) => assert!(!said.stored.contains(&id), "{at}: lost {:?}", what.1),
            Err(CacheError::Damaged { .. }) if said.spoilt.contains(&id) => {}
            Err(error) => panic!("{at}: {error}"),
        }
    }
    assert!(objects.list().unwrap().len() <= ALL.len(), "{at}");
    assert_eq!(objects.sizes().unwrap().foreign.count, 0, "{at}");
}

/// A process that goes on with this disk puts everything; then the power goes.
fn go_on(disk: CutDisk, at: &str) {
    let objects = on(disk);
    let mut said = Said::default();
    for what in ALL {
        said.put(objects.put(what.0, what.1).unwrap());
    }
    for state in objects.disk().crashed() {
        judge(state, &said, at);
    }
    // What a cut left of calls and downloads goes with the next collection.
    let reached = reach_all(&ALL.map(id));
    let collected = objects.collect(&reached, &POLICY).unwrap();
    assert!(collected.stuck.is_empty(), "{at}: {:?}", collected.stuck);
    let sizes = objects.sizes().unwrap();
    assert_eq!((sizes.calls.count, sizes.partial.count), (0, 0), "{at}");
}

#[test]
fn nothing_is_lost_and_nothing_damaged_is_returned_wherever_it_is_cut() {
    let empty = CutDisk::new(&[Path::new("/h")]);
    let whole = on(empty.whole());
    live(&whole, &mut Said::default()).unwrap();
    let units = whole.disk().used();
    assert!(units > 80, "{units}");
    let mut judged: BTreeMap<_, BTreeSet<(Vec<ContentId>, usize)>> = BTreeMap::new();
    for cut in 0..=units {
        let objects = on(empty.cut_after(cut));
        let mut said = Said::default();
        let lived = live(&objects, &mut said);
        assert_eq!(lived.is_err(), cut < units, "{cut}");
        for (number, state) in objects.disk().crashed().into_iter().enumerate() {
            let at = format!("cut {cut} of {units}, state {number}");
            let key = (said.stored.iter().copied().collect(), said.aside.len());
            let is_new = judged.entry(state.tree()).or_default().insert(key);
            // The first is what a kill leaves, with what was not synced.
            if number == 0 || is_new {
                judge(state.whole(), &said, &at);
                go_on(state, &at);
            }
        }
    }
}
