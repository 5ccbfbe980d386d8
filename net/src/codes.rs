//! Why a connection was closed or a stream was reset: the numbers that cross the wire.
//!
//! Numbers below 0x100 belong to this crate, the rest to the program. A number is never reused
//! for another meaning.

use std::fmt;

use quinn::VarInt;

/// Why a connection was closed: the application error code of QUIC (RFC 9000 section 20.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u32);

impl CloseCode {
    /// Nothing more to say.
    pub const DONE: Self = Self(0x00);
    /// The node is going down. Dialling again makes sense after a while.
    pub const SHUTDOWN: Self = Self(0x01);
    /// The pair already has a connection; this one was never used.
    pub const DUPLICATE: Self = Self(0x02);
    /// The peer opened a newer connection, so it had given this one up.
    pub const REPLACED: Self = Self(0x03);
    /// The node holds as many connections as it may. Dial another node, or this one later.
    pub const BUSY: Self = Self(0x04);
    /// The peer broke the rules of `grid/1`: a wrong greeting, or too many streams reset for it.
    pub const PROTOCOL: Self = Self(0x05);
    /// The peer sent requests faster than allowed for longer than allowed.
    pub const FLOOD: Self = Self(0x06);
    /// The greeting did not come in time.
    pub const TOO_SLOW: Self = Self(0x07);
    /// The peer was closed for [`FLOOD`](Self::FLOOD) or [`PROTOCOL`](Self::PROTOCOL) a moment ago.
    pub const PENALTY: Self = Self(0x08);

    const PROGRAM: u32 = 0x100;

    /// A code whose meaning the program defines.
    #[must_use]
    pub const fn program(number: u16) -> Self {
        Self(Self::PROGRAM + number as u32)
    }

    /// The number on the wire.
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

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DONE => f.write_str("done"),
            Self::SHUTDOWN => f.write_str("the node is shutting down"),
            Self::DUPLICATE => f.write_str("the pair has another connection"),
            Self::REPLACED => f.write_str("replaced by a newer connection"),
            Self::BUSY => f.write_str("the node has too many connections"),
            Self::PROTOCOL => f.write_str("protocol error"),
            Self::FLOOD => f.write_str("too many requests"),
            Self::TOO_SLOW => f.write_str("too slow"),
            Self::PENALTY => f.write_str("turned away after an earlier offence"),
            Self(number) => write!(f, "code {number:#x}"),
        }
    }
}

/// Why one request failed while its connection lives on: the code of RESET_STREAM and
/// STOP_SENDING (RFC 9000 sections 19.4 and 19.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamCode(u32);

impl StreamCode {
    /// The other end lost interest. Zero, since QUIC libraries send it by themselves.
    pub const CANCELLED: Self = Self(0x00);
    /// The message is longer than the receiver takes.
    pub const TOO_LARGE: Self = Self(0x01);
    /// The message, or the answer, did not come in time.
    pub const TOO_SLOW: Self = Self(0x02);
    /// The program does not answer this request.
    pub const UNANSWERED: Self = Self(0x03);
    /// The receiver has no room for a large message at the moment. Worth retrying after a while.
    pub const BUSY: Self = Self(0x04);

    /// The number on the wire.
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

impl fmt::Display for StreamCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CANCELLED => f.write_str("cancelled"),
            Self::TOO_LARGE => f.write_str("message too large"),
            Self::TOO_SLOW => f.write_str("too slow"),
            Self::UNANSWERED => f.write_str("not answered"),
            Self::BUSY => f.write_str("busy"),
            Self(number) => write!(f, "code {number:#x}"),
        }
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
