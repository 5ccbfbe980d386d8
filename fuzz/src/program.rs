//! What the program reads: frames of messages.

use std::future::Future;
use std::io::{self, Read};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use grid::control::frame;
use grid::store::statements::Log;
use grid_modules::execute::native;
use grid_promises::{ContentId, Message};

/// A target: its name, which is that of its corpus folder too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] = &[("frame", frame), ("log", log)];

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
        let received = received.is_ok_and(|other| other.as_deref() == message.as_ref());
        assert!(received && asynchronous == rest);
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

/// What is read of a file of statements can be written again, and whatever is behind it takes nothing away. A first
/// byte that is odd: what follows are the bodies of records, each behind a byte of its length, because a fuzzer would
/// never guess a checksum.
pub fn log(data: &[u8]) {
    let mut file = Vec::new();
    match data {
        [first, bodies @ ..] if first % 2 == 1 => {
            let mut rest = bodies;
            while let Some((length, behind)) = rest.split_first() {
                let (body, after) = behind.split_at(behind.len().min(usize::from(*length)));
                file.extend(record(body));
                rest = after;
            }
        }
        _ => file.extend(data),
    }
    let read = Log::read(&file);
    let is_whole = read.damage().is_none();
    let statements = read.into_statements();
    let again = Log::read(&Log::file(&statements));
    assert!(again.damage().is_none() && again.into_statements() == statements);
    // A change of nothing, behind all of it or behind what was damaged or cut off.
    let more = [file.as_slice(), &record(&[0x82, 0x80, 0x80])].concat();
    let longer = Log::read(&more);
    assert!(!is_whole || longer.into_statements() == statements || file.is_empty());
}

fn record(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let id = ContentId::of(body);
    let check = id.digest().get(..8).unwrap_or_default();
    [&length.to_be_bytes(), &(!length).to_be_bytes(), check, body].concat()
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
