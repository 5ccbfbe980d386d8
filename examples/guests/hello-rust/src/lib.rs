//! `grid hello world` answers `hello, world`. Keeps the promise in `../hello.md`.

use grid_guest::{Answer, Parms, Verdict};

grid_guest::promise! {
    name: "hello",
    promise: include_str!("../../hello.md"),
    calls: [],
    pure: true,
    accept: accept,
    handle: handle,
}

fn accept(parms: &Parms<'_>) -> Verdict {
    match parms.args.len() {
        1 => Verdict::Accept,
        _ => Verdict::Reject("hello wants one word: whom to greet".into()),
    }
}

fn handle(parms: &Parms<'_>, _payload: &[u8]) -> Answer {
    let whom = parms.args.first().copied().unwrap_or_default();
    Answer::to(parms).payload([b"hello, ", whom].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_hello() {
        let parms = Parms {
            promise: &[],
            module: None,
            args: vec![b"world"],
        };
        assert_eq!(accept(&parms), Verdict::Accept);
        assert_eq!(handle(&parms, b"").payload, b"hello, world");
    }
}
