//! Manifests and progress: chunks are found out one by one, and a cut download goes on.

use std::collections::BTreeSet;

use grid_promises::ContentId;
use grid_promises::modules::chunks::{
    CHUNK_LEN, ChunkError, MAX_CHUNKS, MAX_OBJECT, ManifestError, NoSuchChunk, ObjectTooLarge,
};
use grid_promises::modules::progress::ProgressError;
use grid_promises::modules::{Manifest, ManifestBuilder, ObjectError, Progress};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::is_damage;
use crate::kit::{object, pinned, raw_manifest};

/// Lengths around the ends of chunks, and others, up to three chunks and a little.
fn any_length() -> impl Strategy<Value = usize> {
    let edge = (0usize..=3, 0usize..=2).prop_map(|(n, d)| (n * CHUNK_LEN + d).saturating_sub(1));
    prop_oneof![edge, 0..3 * CHUNK_LEN]
}

/// The chunk of an object, as a peer would send it.
fn chunk<'a>(manifest: &Manifest, object: &'a [u8], index: u32) -> &'a [u8] {
    let range = manifest.range_of(index).unwrap();
    let end = |at: u64| usize::try_from(at).unwrap();
    &object[end(range.start)..end(range.end)]
}

fn assert_covers(manifest: &Manifest) {
    let mut end = 0;
    for index in 0..manifest.chunk_count() {
        let range = manifest.range_of(index).unwrap();
        assert_eq!(range.start, end);
        let length = range.end - range.start;
        let is_last = index + 1 == manifest.chunk_count();
        assert!(length == CHUNK_LEN as u64 || (is_last && (1..CHUNK_LEN as u64).contains(&length)));
        end = range.end;
    }
    assert_eq!(end, manifest.length());
    assert_eq!(manifest.range_of(manifest.chunk_count()), None);
    assert_eq!(manifest.range_of(u32::MAX), None);
    assert_eq!(manifest.chunk_id(manifest.chunk_count()), None);
}

proptest! {
    // Each case hashes up to a megabyte several times.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_slicing_gives_the_same_manifest(
        length in any_length(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let object = object(length);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
        cuts.extend([0, length]);
        cuts.sort_unstable();
        let mut builder = ManifestBuilder::new();
        for piece in cuts.windows(2) {
            builder.update(&object[piece[0]..piece[1]]).unwrap();
        }
        let manifest = builder.finish();
        prop_assert_eq!(Manifest::of(&object).unwrap(), manifest.clone());
        // And a second opinion on what a manifest is.
        let digests: Vec<[u8; 32]> =
            object.chunks(CHUNK_LEN).map(|chunk| Sha256::digest(chunk).into()).collect();
        prop_assert_eq!(manifest.length(), length as u64);
        prop_assert_eq!(manifest.chunk_count() as usize, digests.len());
        for (index, digest) in (0..).zip(digests) {
            let id = manifest.chunk_id(index).unwrap();
            prop_assert_eq!(id.digest(), digest);
            prop_assert_eq!(id, ContentId::of(chunk(&manifest, &object, index)));
        }
        assert_covers(&manifest);
    }

    #[test]
    fn a_flipped_bit_is_found_in_its_chunk_alone(
        length in any_length(), at in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let mut object = object(length.max(1));
        let manifest = Manifest::of(&object).unwrap();
        let at = at.index(object.len());
        object[at] ^= 1 << bit;
        for index in 0..manifest.chunk_count() {
            let expected = if manifest.range_of(index).unwrap().contains(&(at as u64)) {
                Err(ChunkError::Digest { index })
            } else {
                Ok(())
            };
            let result = manifest.verify_chunk(index, chunk(&manifest, &object, index));
            prop_assert_eq!(result, expected);
        }
        prop_assert_ne!(Manifest::of(&object).unwrap().id(), manifest.id());
    }
}

proptest! {
    #[test]
    fn a_manifest_reads_back(length in 0..=MAX_OBJECT, seed: u8) {
        let count = usize::try_from(length).unwrap().div_ceil(CHUNK_LEN);
        let mut bytes = raw_manifest(length, count * 32);
        if count > 0 {
            *bytes.last_mut().unwrap() = seed;
        }
        let manifest = Manifest::decode(&bytes).unwrap();
        prop_assert_eq!(manifest.encode(), bytes.clone());
        prop_assert_eq!(manifest.id(), ContentId::of(&bytes));
        prop_assert_eq!((manifest.length(), manifest.chunk_count() as usize), (length, count));
        prop_assert!(bytes.len() <= Manifest::MAX_LEN);
        assert_covers(&manifest);
    }

    #[test]
    fn another_number_of_digests_is_refused(length in 0..=MAX_OBJECT, found in 0usize..=131_072) {
        let expected = usize::try_from(length).unwrap().div_ceil(CHUNK_LEN) * 32;
        let result = Manifest::decode(&raw_manifest(length, found));
        if found == expected {
            prop_assert!(result.is_ok());
        } else {
            prop_assert_eq!(result, Err(ManifestError::Digests { length, expected, found }));
        }
    }

    /// Marks and unmarks against a set, with a cut after each.
    #[test]
    fn progress_is_a_set_of_chunks(
        length in 1..=40 * CHUNK_LEN as u64, steps in prop::collection::vec((0u32..44, any::<bool>()), 0..60),
    ) {
        let count = u32::try_from(length.div_ceil(CHUNK_LEN as u64)).unwrap();
        let manifest = Manifest::decode(&raw_manifest(length, count as usize * 32)).unwrap();
        let mut progress = Progress::new(&manifest);
        let mut model = BTreeSet::new();
        for (index, here) in steps {
            let result = if here { progress.mark(index) } else { progress.unmark(index) };
            let expected = if index >= count {
                Err(NoSuchChunk { index, count })
            } else if here {
                Ok(model.insert(index))
            } else {
                Ok(model.remove(&index))
            };
            prop_assert_eq!(result, expected);
            let bytes = progress.encode();
            progress = Progress::decode(&bytes, &manifest).unwrap();
            prop_assert_eq!(progress.encode(), bytes);
        }
        let missing: Vec<u32> = (0..count).filter(|index| !model.contains(index)).collect();
        prop_assert_eq!(progress.missing().collect::<Vec<_>>(), missing);
        prop_assert_eq!(progress.chunks_here() as usize, model.len());
        prop_assert_eq!(progress.is_complete(), model.len() == count as usize);
        let length_of = |index: &u32| manifest.range_of(*index).map(|range| range.end - range.start);
        prop_assert_eq!(progress.bytes_here(), model.iter().filter_map(length_of).sum::<u64>());
        for index in 0..50 {
            prop_assert_eq!(progress.has(index), model.contains(&index));
        }
    }
}

#[test]
fn a_chunk_is_all_of_it_and_nothing_else() {
    let object = object(CHUNK_LEN + 10);
    let manifest = Manifest::of(&object).unwrap();
    let (first, last) = object.split_at(CHUNK_LEN);
    assert_eq!(manifest.verify_chunk(0, first), Ok(()));
    assert_eq!(manifest.verify_chunk(1, last), Ok(()));
    let length = |index, expected, found| {
        Err(ChunkError::Length {
            index,
            expected,
            found,
        })
    };
    assert_eq!(manifest.verify_chunk(0, last), length(0, 262_144, 10));
    assert_eq!(
        manifest.verify_chunk(0, &object),
        length(0, 262_144, CHUNK_LEN + 10)
    );
    assert_eq!(manifest.verify_chunk(1, &last[1..]), length(1, 10, 9));
    assert_eq!(manifest.verify_chunk(1, &[]), length(1, 10, 0));
    let other = [&last[1..], &[0]].concat();
    assert_eq!(
        manifest.verify_chunk(1, &other),
        Err(ChunkError::Digest { index: 1 })
    );
    for index in [2, u32::MAX] {
        let none = NoSuchChunk { index, count: 2 };
        assert_eq!(
            manifest.verify_chunk(index, &[]),
            Err(ChunkError::NoSuchChunk(none))
        );
    }
}

#[test]
fn the_empty_object_has_no_chunks() {
    let manifest = Manifest::of(&[]).unwrap();
    assert_eq!(manifest.encode(), [0x83, 0x01, 0x00, 0x40]);
    assert_eq!((manifest.length(), manifest.chunk_count()), (0, 0));
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
    let progress = Progress::new(&manifest);
    assert!(progress.is_complete());
    assert_eq!((progress.bytes_here(), progress.missing().count()), (0, 0));
    assert_eq!(
        Progress::decode(&progress.encode(), &manifest),
        Ok(progress)
    );
}

#[test]
fn an_object_that_is_too_large_is_refused_before_it_is_read() {
    // Nothing writes to this memory, so that the system need not provide it.
    let large = vec![0; usize::try_from(MAX_OBJECT).unwrap() + 1];
    let length = MAX_OBJECT + 1;
    assert_eq!(Manifest::of(&large), Err(ObjectTooLarge { length }));

    let mut builder = ManifestBuilder::new();
    builder.update(b"hello").unwrap();
    let length = MAX_OBJECT + 5;
    let result = builder.update(&large[1..]);
    assert_eq!(result, Err(ObjectTooLarge { length }));
    // What was refused left no trace.
    assert_eq!(Ok(builder.finish()), Manifest::of(b"hello"));
}

#[test]
fn the_limits_are_met_exactly() {
    let most = MAX_CHUNKS as usize * 32;
    let bytes = raw_manifest(MAX_OBJECT, most);
    let manifest = Manifest::decode(&bytes).unwrap();
    assert_eq!(manifest.chunk_count(), MAX_CHUNKS);
    assert_eq!(
        manifest.range_of(4095),
        Some(MAX_OBJECT - CHUNK_LEN as u64..MAX_OBJECT)
    );
    for length in [MAX_OBJECT + 1, u64::MAX] {
        assert_eq!(
            Manifest::decode(&raw_manifest(length, 32)),
            Err(ManifestError::TooLarge(ObjectTooLarge { length }))
        );
    }
    let mut progress = Progress::new(&manifest);
    for index in 0..MAX_CHUNKS {
        assert_eq!(progress.mark(index), Ok(true));
    }
    assert!(progress.is_complete());
    assert_eq!(progress.bytes_here(), MAX_OBJECT);
    let bytes = progress.encode();
    assert!(bytes.len() <= Progress::MAX_LEN && Progress::MAX_LEN <= 600);
    assert_eq!(Progress::decode(&bytes, &manifest), Ok(progress));
}

/// The pinned progress is of three chunks: `07` in the last byte would be all of them.
#[test]
fn progress_of_another_download_is_refused() {
    let manifest = Manifest::of(&object(600_000)).unwrap();
    let other = Manifest::of(&object(600_001)).unwrap();
    let good = Progress::new(&manifest).encode();
    let found = manifest.id();
    assert_eq!(
        Progress::decode(&good, &other),
        Err(ProgressError::OtherManifest { found })
    );
    let bits = Err(ProgressError::Bits { chunks: 3 });
    let (head, _) = good.split_at(good.len() - 2);
    for bytes in [
        &[0x41, 0x08][..],
        &[0x41, 0xff],
        &[0x40],
        &[0x42, 0x00, 0x00],
    ] {
        assert_eq!(Progress::decode(&[head, bytes].concat(), &manifest), bits);
    }
    let all = [head, &[0x41, 0x07]].concat();
    assert!(Progress::decode(&all, &manifest).unwrap().is_complete());
    // Exactly eight chunks leave no spare bits.
    let eight = Manifest::decode(&raw_manifest(8 * CHUNK_LEN as u64, 256)).unwrap();
    let mut progress = Progress::new(&eight);
    (0..8).for_each(|index| assert_eq!(progress.mark(index), Ok(true)));
    assert_eq!(Progress::decode(&progress.encode(), &eight), Ok(progress));
}

#[test]
fn another_version_is_named_and_another_shape_refused() {
    let good = &pinned()[5].1;
    let mut newer = good.clone();
    newer[1] = 2;
    let error = ObjectError::Version {
        sort: "manifest",
        found: 2,
    };
    assert_eq!(Manifest::decode(&newer), Err(ManifestError::Object(error)));
    for bytes in [
        &good[..good.len() - 1],
        &[&good[..], &[0]].concat(),
        &[0x82, 0x01, 0x00],
        &[0x84, 0x01, 0x00, 0x40, 0xf6],
        &[0x83, 0x01, 0x00, 0x60],
        &[0x83, 0x01, 0x20, 0x40],
        &raw_manifest(MAX_OBJECT, Manifest::MAX_LEN),
    ] {
        let error = Manifest::decode(bytes).unwrap_err();
        let object = match &error {
            ManifestError::Object(object) => Some(object),
            _ => None,
        };
        assert!(is_damage(object, &error));
    }
}
