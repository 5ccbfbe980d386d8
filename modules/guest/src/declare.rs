//! The macro, and what it checks while the guest is compiled.

/// Makes a module out of two functions: its exports, and the sections that say what it promises.
///
/// - `name`: a lower-case letter, then up to 62 of `a-z 0-9 -`.
/// - `promise`: the text of the promise; usually `include_str!("...")`.
/// - `calls`: what the module may ask of its host ([`host`](crate::host)), in ascending order. People
///   are shown this list. A call that is not in it ends the guest.
/// - `pure`: `true` if the same call always has the same answer, so that nodes may keep it. A pure
///   module may list only `"get"`.
/// - `accept`: a `fn(&Parms<'_>) -> Verdict`.
/// - `handle`: a `fn(&Parms<'_>, &[u8]) -> Answer`; the second parameter is the payload.
///
/// What can be wrong with these is found when the guest is compiled, for any target:
///
/// ```compile_fail
/// # use grid_guest::{Answer, Parms, Verdict};
/// # fn accept(_: &Parms<'_>) -> Verdict { Verdict::Accept }
/// # fn handle(parms: &Parms<'_>, _: &[u8]) -> Answer { Answer::to(parms) }
/// grid_guest::promise! {
///     name: "clock",
///     promise: "I will say what time it is.\n",
///     calls: ["time"],
///     pure: true, // but the time is not always the same
///     accept: accept,
///     handle: handle,
/// }
/// ```
#[macro_export]
macro_rules! promise {
    (
        name: $name:expr,
        promise: $text:expr,
        calls: [$($call:literal),* $(,)?],
        pure: $pure:tt,
        accept: $accept:path,
        handle: $handle:path $(,)?
    ) => {
        const _: () = {
            const NAME: &str = $name;
            const TEXT: &str = $text;
            assert!(
                $crate::is_good(NAME, TEXT, &[$($call),*], $pure),
                "a name and calls are a-z, 0-9 and -; calls ascend, and a pure module lists only \
                 \"get\"; a promise has a text of up to 64 KiB",
            );
            $crate::promise!(@section "promise", TEXT);
            $crate::promise!(@section "promise_name", NAME);
            $crate::promise!(@calls $($call),*);
            $crate::promise!(@pure $pure);

            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn grid_abi_1() {}

            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn promise_accept() -> u64 {
                $crate::entry::accept($accept)
            }

            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn promise_handle() -> u64 {
                $crate::entry::handle($handle)
            }

            // Used on every target, so that the types are checked on every target.
            let _: fn(&$crate::Parms<'_>) -> $crate::Verdict = $accept;
            let _: fn(&$crate::Parms<'_>, &[u8]) -> $crate::Answer = $handle;
        };
    };
    (@calls) => {};
    (@calls $first:literal $(, $next:literal)*) => {
        $crate::promise!(@section "promise_calls", concat!($first $(, " ", $next)*));
    };
    (@pure true) => { $crate::promise!(@section "promise_pure", "yes"); };
    (@pure false) => {};
    (@section $section:literal, $content:expr) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            const CONTENT: &str = $content;
            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            #[used]
            #[unsafe(link_section = $section)]
            static SECTION: [u8; CONTENT.len()] = $crate::array(CONTENT);
        };
    };
}

/// The bytes of a text as an array, which is what a section can be made of.
#[doc(hidden)]
#[must_use]
pub const fn array<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut at = 0;
    while at < N && at < bytes.len() {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// Whether a node will be able to read what a guest says about itself.
#[doc(hidden)]
#[must_use]
pub const fn is_good(name: &str, text: &str, calls: &[&str], pure: bool) -> bool {
    let mut at = 0;
    while at < calls.len() {
        let call = calls[at].as_bytes();
        if !is_name(call) || (pure && !matches!(call, b"get")) {
            return false;
        }
        if at > 0 && !is_less(calls[at - 1].as_bytes(), call) {
            return false;
        }
        at += 1;
    }
    is_name(name.as_bytes()) && calls.len() <= 32 && !text.is_empty() && text.len() <= 64 * 1024
}

const fn is_name(name: &[u8]) -> bool {
    if name.is_empty() || name.len() > 63 || !name[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 1;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_less(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_would_refuse_is_found_when_compiling() {
        assert!(is_good("hello", "text", &[], true));
        assert!(is_good("hello-2", "text", &["get"], true));
        assert!(is_good("a", "text", &["get", "log", "time"], false));
        for (name, text, calls, pure) in [
            ("", "text", &[][..], false),
            ("Hello", "text", &[], false),
            ("2hello", "text", &[], false),
            ("a b", "text", &[], false),
            ("a", "", &[], false),
            ("a", "text", &["log"], true),
            ("a", "text", &["get", "log"], true),
            ("a", "text", &["log", "get"], false),
            ("a", "text", &["get", "get"], false),
            ("a", "text", &["g et"], false),
            ("a", "text", &["get-all", "get"], false),
        ] {
            assert!(!is_good(name, text, calls, pure), "{name} {calls:?} {pure}");
        }
    }

    #[test]
    fn a_text_becomes_an_array() {
        assert_eq!(array::<5>("hello"), *b"hello");
    }
}
