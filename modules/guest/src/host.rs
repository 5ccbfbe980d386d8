//! What a guest may ask its host. Each call has to stand in the list of the module; asking for
//! another ends the guest.
//!
//! Built for anything else than WebAssembly there is no host, and every call yields an error.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cbor::{self, ARRAY, BYTES, NULL, Reader, TEXT, UNSIGNED};

/// The object with a binary content id. Call `get`.
///
/// # Errors
/// The host's sentence: it does not have the object, or it is longer than 16 MiB. (A pure module
/// sees no such error: it is ended, because its answer would depend on what is there.)
pub fn get(id: &[u8]) -> Result<Vec<u8>, String> {
    let mut request = request("get", 2);
    cbor::id(&mut request, id);
    ask(&request, |reader| reader.string(BYTES).map(<[u8]>::to_vec))
}

/// Writes a line into the node's log. Call `log`. At most 64 lines a call, of 1024 bytes each.
///
/// # Errors
/// The host's sentence.
pub fn log(line: &str) -> Result<(), String> {
    let mut request = request("log", 2);
    cbor::string(&mut request, TEXT, line.as_bytes());
    ask(&request, |reader| reader.is(NULL).then_some(()))
}

/// Seconds since 1970 by the node's clock. Call `time`.
///
/// # Errors
/// The host's sentence.
pub fn time() -> Result<u64, String> {
    ask(&request("time", 1), |reader| reader.head(UNSIGNED))
}

fn request(name: &str, items: u64) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::head(&mut out, ARRAY, items);
    cbor::string(&mut out, TEXT, name.as_bytes());
    out
}

/// Sends a request, and reads `[0, value]` or `[1, sentence]`.
fn ask<T>(request: &[u8], value: fn(&mut Reader<'_>) -> Option<T>) -> Result<T, String> {
    let reply = exchange(request);
    read(&reply, value).unwrap_or_else(|| Err("the host's reply cannot be read".into()))
}

fn read<T>(reply: &[u8], value: fn(&mut Reader<'_>) -> Option<T>) -> Option<Result<T, String>> {
    let mut reader = Reader(reply);
    if reader.head(ARRAY)? != 2 {
        return None;
    }
    match reader.head(UNSIGNED)? {
        0 => value(&mut reader).map(Ok),
        1 => {
            let sentence = reader.string(TEXT)?;
            Some(Err(String::from_utf8_lossy(sentence).into_owned()))
        }
        _ => None,
    }
}

/// What the guest was called with, or the reply to what it last asked.
pub(crate) fn reply() -> Vec<u8> {
    exchange(&[])
}

/// Room for the reply at the first try.
const ROOM: usize = 1024;

fn exchange(request: &[u8]) -> Vec<u8> {
    let mut out = alloc::vec![0; ROOM];
    let length = raw(request, &mut out);
    if length > out.len() {
        out = alloc::vec![0; length];
        raw(&[], &mut out);
    }
    out.truncate(length);
    out
}

#[cfg(target_arch = "wasm32")]
fn raw(request: &[u8], out: &mut [u8]) -> usize {
    #[link(wasm_import_module = "grid")]
    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn call(request: *const u8, length: usize, out: *mut u8, capacity: usize) -> i64;
    }
    // SAFETY: both ranges are those of slices; the host writes to the second only, and nothing but
    // the bytes that it says.
    #[allow(unsafe_code)]
    let length = unsafe { call(request.as_ptr(), request.len(), out.as_mut_ptr(), out.len()) };
    usize::try_from(length).unwrap_or(0)
}

/// There is no host here.
#[cfg(not(target_arch = "wasm32"))]
fn raw(request: &[u8], out: &mut [u8]) -> usize {
    let _ = (request, out);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_host_reads() {
        assert_eq!(request("time", 1), b"\x81\x64time");
        let mut log = request("log", 2);
        cbor::string(&mut log, TEXT, b"hi");
        assert_eq!(log, b"\x82\x63log\x62hi");
    }

    #[test]
    fn replies_are_told_apart() {
        let bytes = |reader: &mut Reader<'_>| reader.string(BYTES).map(<[u8]>::to_vec);
        assert_eq!(read(b"\x82\x00\x42ab", bytes), Some(Ok(b"ab".to_vec())));
        assert_eq!(read(b"\x82\x01\x62no", bytes), Some(Err("no".into())));
        for other in [
            &b""[..],
            b"\x82",
            b"\x82\x02\x42ab",
            b"\x83\x00\x42ab",
            b"\x82\x00\x62ab",
        ] {
            assert_eq!(read(other, bytes), None);
        }
        assert_eq!(time(), Err("the host's reply cannot be read".into()));
    }
}
