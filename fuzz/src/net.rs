//! Messages of `grid-net` as they arrive.

use grid_net::{Budget, Collector, Hold, Limits, Refused};

/// A target: its name, which is that of its corpus folder too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] = &[("collect", collect)];

/// How many messages are under way at once: two of one peer, two of another.
const AT_ONCE: usize = 4;
/// A message up to this size needs no room (`net/src/budget.rs`).
const FREE: usize = 4096;

/// Several messages arrive in pieces, interleaved. None gets longer than it may, together they never
/// hold more than there is room for, what is complete is what was sent, and in the end all room is
/// free again. The first three bytes are the limits, then three for each step: which message, what,
/// and how much.
pub fn collect(data: &[u8]) {
    let Some(([longest, of_one, of_all], steps)) = data.split_first_chunk() else {
        return;
    };
    let limits = Limits {
        max_message: 1 + u32::from(*longest) * 97,
        max_buffered_per_peer: u32::from(*of_one) * 256,
        max_buffered: u32::from(*of_all) * 512,
        ..Limits::default()
    };
    let total = Budget::shared(&limits);
    let all = total.available_permits();
    let peers = [Budget::new(&limits, &total), Budget::new(&limits, &total)];
    let begin = |number: usize| {
        let budget = peers.get(number / 2);
        (Collector::new(limits.max_message, budget), 0)
    };
    let mut arriving: [(Collector<'_>, usize); AT_ONCE] = std::array::from_fn(begin);
    let mut whole: Vec<(Vec<u8>, Hold)> = Vec::new();
    for (number, [which, what, much]) in steps.as_chunks().0.iter().enumerate().take(512) {
        let fill = which % 4;
        let which = usize::from(fill);
        let Some((message, length)) = arriving.get_mut(which) else {
            return;
        };
        match what % 8 {
            0 => {
                let (collector, length) = std::mem::replace(&mut arriving[which], begin(which));
                let (bytes, hold) = collector.finish();
                assert!(bytes.len() == length && bytes.iter().all(|byte| *byte == fill));
                whole.push((bytes, hold));
            }
            1 => arriving[which] = begin(which),
            2 => whole.truncate(number % 5),
            _ => {
                let piece = (1 + usize::from(*much) * 64).min(message.step());
                let before = total.available_permits();
                let taken = message.take(&vec![fill; piece]);
                let is_long = *length + piece > limits.max_message as usize;
                assert_eq!(taken == Err(Refused::TooLarge), is_long);
                match taken {
                    Ok(()) => *length += piece,
                    // Neither is refused for nothing, nor does a refusal hold anything.
                    Err(Refused::Busy) => assert!(*length + piece > FREE),
                    Err(Refused::TooLarge) => {}
                }
                assert!(taken.is_ok() || total.available_permits() == before);
            }
        }
        let held = |length: &usize| if *length > FREE { *length } else { 0 };
        let needed: usize = arriving.iter().map(|(_, length)| held(length)).sum();
        let kept: usize = whole.iter().map(|(bytes, _)| held(&bytes.len())).sum();
        assert!(needed + kept <= all - total.available_permits());
    }
    drop((arriving, whole));
    assert_eq!(total.available_permits(), all);
}
