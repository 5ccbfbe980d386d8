//! Why a connection was closed or a stream was reset: the numbers that cross the wire.
//!
//! Numbers below 0x100 belong to this crate, the rest to the program. A number never changes its
//! meaning.

use std::fmt;

use quinn::VarInt;

/// Defines a type for one of QUIC's application error codes: each constant with its number and the
/// text that it prints as.
macro_rules! error_code {
    (
        $(#[$about:meta])*
        $code:ident {
            $($(#[$meaning:meta])* $name:ident = $number:literal, $text:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $code(u32);

        impl $code {
            $($(#[$meaning])* pub const $name: Self = Self($number);)*

            /// The number on the wire. A peer's number beyond 32 bits reads as [`u32::MAX`].
            #[must_use]
            pub const fn number(self) -> u32 {
                self.0
            }

            pub(crate) fn from_wire(code: VarInt) -> Self {
                Self(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
            }

            pub(crate) fn wire(self) -> VarInt {
                VarInt::from_u32(self.0)
            }
        }

        impl fmt::Display for $code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str($text),)*
                    Self(number) => write!(f, "code {number:#x}"),
                }
            }
        }
    };
}

error_code! {
    /// Why a connection was closed (RFC 9000 section 20.2).
    CloseCode {
        /// The connection is no longer needed.
        DONE = 0x00, "done";
        /// The node is going down. Dial again after a while.
        SHUTDOWN = 0x01, "the node is shutting down";
        /// The pair already has a connection; this one was never used.
        DUPLICATE = 0x02, "the pair has another connection";
        /// The peer opened a newer connection, so it had given this one up.
        REPLACED = 0x03, "replaced by a newer connection";
        /// The node has as many connections as it allows. Dial another node, or this one later.
        BUSY = 0x04, "the node has too many connections";
        /// The peer broke the rules of `grid/1`: a wrong greeting, or too many streams that had to
        /// be reset.
        PROTOCOL = 0x05, "protocol error";
        /// The peer exceeded the request rate for too long.
        FLOOD = 0x06, "too many requests";
        /// The greeting did not arrive in time.
        TOO_SLOW = 0x07, "too slow";
        /// The peer was disconnected for [`FLOOD`](Self::FLOOD) or [`PROTOCOL`](Self::PROTOCOL) a
        /// moment ago.
        PENALTY = 0x08, "turned away after an earlier offence";
    }
}

impl CloseCode {
    const PROGRAM: u32 = 0x100;

    /// A code whose meaning the program defines. On the wire it is 0x100 + `number`.
    #[must_use]
    pub const fn program(number: u16) -> Self {
        Self(Self::PROGRAM + number as u32)
    }
}

error_code! {
    /// Why one request failed while its connection lives on: the code of RESET_STREAM and
    /// STOP_SENDING (RFC 9000 sections 19.4 and 19.5).
    StreamCode {
        /// The other end lost interest. Zero, because QUIC libraries send zero by default.
        CANCELLED = 0x00, "cancelled";
        /// The message is longer than the receiver allows.
        TOO_LARGE = 0x01, "message too large";
        /// The message, or the answer, did not arrive in time.
        TOO_SLOW = 0x02, "too slow";
        /// The program does not answer this request.
        UNANSWERED = 0x03, "not answered";
        /// The receiver has no room for a large message at the moment. Retry after a while.
        BUSY = 0x04, "busy";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_codes_do_not_meet_ours() {
        assert!(CloseCode::program(0).number() > CloseCode::PENALTY.number());
        assert_eq!(
            CloseCode::from_wire(CloseCode::program(7).wire()),
            CloseCode::program(7)
        );
    }

    #[test]
    fn a_code_beyond_32_bits_is_kept_as_unknown() {
        assert_eq!(CloseCode::from_wire(VarInt::MAX).number(), u32::MAX);
        assert_eq!(StreamCode::from_wire(VarInt::MAX).number(), u32::MAX);
    }
}
