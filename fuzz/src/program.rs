//! What the program reads: frames of messages, and what a WebAssembly module says about itself.

use std::future::Future;
use std::io::{self, Read};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use grid::control::frame;
use grid::execute::{Manifest, native};
use grid_promises::Message;

/// A target: its name, which is that of its corpus folder too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] = &[("frame", frame), ("sections", sections)];

/// Both readers of frames read the same, however the bytes come in pieces, and what is read is written
/// as it was. An answer of an executable is one frame, with nothing after it.
pub fn frame(data: &[u8]) {
    let mut rest = data;
    let mut asynchronous = data;
    let mut pieces = Pieces(data, 1);
    let mut count = 0;
    loop {
        let before = rest;
        let read = frame::read(&mut rest);
        let received = now(frame::receive(&mut asynchronous));
        let pieced = frame::read(&mut pieces);
        let Ok(message) = read else {
            assert!(received.is_err() && pieced.is_err());
            break;
        };
        assert!(received.is_ok_and(|other| other == message) && asynchronous == rest);
        assert!(pieced.is_ok_and(|other| other == message) && pieces.0 == rest);
        let Some(message) = message else {
            assert!(before.is_empty());
            break;
        };
        let consumed = before.strip_suffix(rest).unwrap_or_default();
        assert!(consumed.len() <= Message::MAX_LEN + 4);
        let (mut written, mut sent) = (Vec::new(), Vec::new());
        assert!(frame::write(&mut written, &message).is_ok());
        assert!(now(frame::send(&mut sent, &message)).is_ok());
        assert!(written == consumed && sent == consumed);
        assert!(native::read_answer(consumed).is_ok_and(|answer| answer == message));
        count += 1;
    }
    if let Ok(answer) = native::read_answer(data) {
        assert!(count == 1 && rest.is_empty());
        let mut written = Vec::new();
        assert!(frame::write(&mut written, &answer).is_ok() && written == data);
    }
}

/// The bytes in pieces of one byte, two, three, and again.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 3 + 1;
        let most = buffer.len().min(self.1);
        let Some(buffer) = buffer.get_mut(..most) else {
            return Ok(0);
        };
        self.0.read(buffer)
    }
}

/// What comes of work that never has to wait.
fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits, with all bytes there"),
    }
}

/// What a module says about itself is within the bounds of `docs/modules.md`, and says the same in a
/// module that is made of nothing else.
pub fn sections(data: &[u8]) {
    let Ok(manifest) = Manifest::read(data) else {
        return;
    };
    let is_name = |name: &String| {
        let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(ok)
    };
    assert!(
        manifest
            .promise
            .as_ref()
            .is_none_or(|text| text.len() <= 64 * 1024)
    );
    assert!(manifest.name.iter().chain(&manifest.calls).all(is_name));
    assert!(manifest.calls.is_sorted_by(|a, b| a < b) && manifest.calls.len() <= 32);
    assert!(!manifest.pure || manifest.calls.iter().all(|call| call == "get"));
    assert!(manifest.calls.iter().all(|call| manifest.lists(call)));
    assert_eq!(Manifest::read(&module(&manifest)), Ok(manifest));
}

/// A module with nothing but these sections.
fn module(manifest: &Manifest) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    if let Some(text) = &manifest.promise {
        section(&mut module, "promise", text.as_bytes());
    }
    if let Some(name) = &manifest.name {
        section(&mut module, "promise_name", name.as_bytes());
    }
    if !manifest.calls.is_empty() {
        section(
            &mut module,
            "promise_calls",
            manifest.calls.join(" ").as_bytes(),
        );
    }
    if manifest.pure {
        section(&mut module, "promise_pure", b"yes");
    }
    module
}

/// A custom section: 0, its length, the length of its name, its name, its content.
fn section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut body = Vec::new();
    number(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    module.push(0);
    number(module, body.len());
    module.extend_from_slice(&body);
}

/// In seven bits a byte, the lowest first (LEB128).
fn number(to: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        to.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    to.push(value as u8);
}
