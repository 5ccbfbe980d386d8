//! What can be wrong with CBOR, and where.

/// Bytes that are not acceptable CBOR. Nothing was changed; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (at byte {offset})")]
pub struct CborError {
    /// What is wrong.
    pub fault: CborFault,
    /// Where: the offset of the data item, in bytes from the start of the input.
    pub offset: usize,
}

/// What is wrong with a piece of CBOR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborFault {
    /// The input ends inside a data item, or an item claims more than the input holds.
    #[error("the CBOR is cut short")]
    Truncated,
    /// Bytes after the end of the data item.
    #[error("there are bytes after the CBOR item")]
    TrailingBytes,
    /// A number, length or tag in a longer form than it needs.
    #[error("a CBOR number is not in its shortest form")]
    NotShortest,
    /// A string, array or map of indefinite length, or a stray break.
    #[error("CBOR of indefinite length is not allowed")]
    Indefinite,
    /// A floating-point number.
    #[error("CBOR floats are not allowed")]
    Float,
    /// A simple value other than false, true and null.
    #[error("CBOR simple values other than false, true and null are not allowed")]
    Simple,
    /// An initial byte that RFC 8949 reserves.
    #[error("a reserved CBOR initial byte")]
    Reserved,
    /// Arrays, maps and tags nested deeper than the caller allows.
    #[error("the CBOR is nested more than {max} deep")]
    TooDeep {
        /// The bound.
        max: u8,
    },
    /// More bytes than the caller allows.
    #[error("the CBOR has {found} bytes, more than the {max} allowed")]
    TooLarge {
        /// The length of the input, in bytes.
        found: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// More data items than the caller allows.
    #[error("the CBOR has more than the {max} items allowed")]
    TooManyItems {
        /// The bound.
        max: u64,
    },
    /// A map whose keys are not in bytewise order.
    #[error("the keys of a CBOR map are not sorted")]
    MapOrder,
    /// A map that has a key twice.
    #[error("a key of a CBOR map is repeated")]
    DuplicateKey,
    /// A text string that is not UTF-8.
    #[error("a CBOR text is not UTF-8")]
    Utf8,
    /// Good CBOR, but of another shape than the value has.
    #[error("the CBOR has another shape than expected: {detail}")]
    Unexpected {
        /// What the decoder said.
        detail: String,
    },
    /// Good CBOR that decodes, but that the value encodes differently: it carries what the value
    /// has no room for.
    #[error("the CBOR carries more than its value has room for")]
    NotTheEncoding,
}

impl CborFault {
    /// This fault at a place.
    pub(crate) fn at(self, offset: usize) -> CborError {
        CborError {
            fault: self,
            offset,
        }
    }
}

impl CborError {
    /// What a decoder of `minicbor` reports about bytes that passed the check.
    pub(super) fn from_minicbor(error: &minicbor::decode::Error, offset: usize) -> Self {
        CborFault::Unexpected {
            detail: error.to_string(),
        }
        .at(offset)
    }
}
