//! What the object store costs: putting, reading, verifying. `cargo bench -p grid-modules --bench objects`.
//!
//! A put is durable when it returns, so it measures the disk more than the program. Set `TMPDIR` to a
//! folder in memory to see the rest.

use divan::Bencher;
use divan::counter::BytesCount;
use grid_modules::CacheDir;
use grid_modules::objects::Objects;
use grid_promises::ContentId;
use grid_promises::content_id::HashCode;

const SIZES: [usize; 2] = [1 << 10, 1 << 20];
/// More than is held in memory: verified first, then read chunk by chunk.
const LARGE: usize = 16 << 20;

fn main() {
    divan::main();
}

struct Place {
    _dir: tempfile::TempDir,
    objects: Objects,
}

#[expect(
    clippy::unwrap_used,
    reason = "a benchmark without a disk has nothing to measure"
)]
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::of(&CacheDir::new(dir.path().join("cache")));
    Place { _dir: dir, objects }
}

fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![7; length];
    for (to, from) in bytes.iter_mut().zip(seed.to_be_bytes()) {
        *to = from;
    }
    bytes
}

/// An object that is not there yet.
#[divan::bench(args = SIZES, max_time = 2)]
fn put_new(bencher: Bencher<'_, '_>, length: usize) {
    let place = place();
    let mut seed = 0;
    bencher
        .counter(BytesCount::new(length))
        .with_inputs(|| {
            seed += 1;
            content(length, seed)
        })
        .bench_local_refs(|bytes| place.objects.put(HashCode::Sha2_256, bytes).is_ok());
}

/// An object that is there: it is verified.
#[divan::bench(args = SIZES, max_time = 2)]
fn put_present(bencher: Bencher<'_, '_>, length: usize) {
    let place = place();
    let bytes = content(length, 0);
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| place.objects.put(HashCode::Sha2_256, &bytes).is_ok());
}

#[expect(clippy::unwrap_used, reason = "a read of nothing would look fast")]
fn get_with(bencher: Bencher<'_, '_>, code: HashCode, length: usize) {
    let place = place();
    let id = place.objects.put(code, &content(length, 0)).unwrap().id;
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| place.objects.get(&id).unwrap().unwrap().len());
}

/// Open, read, verify.
#[divan::bench(args = SIZES, max_time = 2)]
fn get_sha2_256(bencher: Bencher<'_, '_>, length: usize) {
    get_with(bencher, HashCode::Sha2_256, length);
}

#[divan::bench(args = SIZES, max_time = 2)]
fn get_blake3(bencher: Bencher<'_, '_>, length: usize) {
    get_with(bencher, HashCode::Blake3, length);
}

/// Verify 16 MiB; none of it is handed out.
#[divan::bench(max_time = 2)]
fn get_large_verified(bencher: Bencher<'_, '_>) {
    get_with(bencher, HashCode::Sha2_256, LARGE);
}

/// Hand out 16 MiB that were verified: each chunk is compared with its hash.
#[divan::bench(max_time = 2)]
#[expect(clippy::unwrap_used, reason = "a read of nothing would look fast")]
fn copy_large_after_that(bencher: Bencher<'_, '_>) {
    let place = place();
    let put = place
        .objects
        .put(HashCode::Sha2_256, &content(LARGE, 0))
        .unwrap();
    let object = place.objects.get(&put.id).unwrap().unwrap();
    bencher
        .counter(BytesCount::new(LARGE))
        .bench_local(|| object.copy_to(&mut std::io::sink(), &mut |_| {}).is_ok());
}

/// What of a read is hashing.
#[divan::bench(args = SIZES, max_time = 1)]
fn verify_sha2_256(bencher: Bencher<'_, '_>, length: usize) {
    verify_with(bencher, HashCode::Sha2_256, length);
}

#[divan::bench(args = SIZES, max_time = 1)]
fn verify_sha2_512(bencher: Bencher<'_, '_>, length: usize) {
    verify_with(bencher, HashCode::Sha2_512, length);
}

#[divan::bench(args = SIZES, max_time = 1)]
fn verify_blake3(bencher: Bencher<'_, '_>, length: usize) {
    verify_with(bencher, HashCode::Blake3, length);
}

fn verify_with(bencher: Bencher<'_, '_>, code: HashCode, length: usize) {
    let bytes = content(length, 0);
    let id = ContentId::with(code, &bytes);
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| id.verify(&bytes).is_ok());
}
