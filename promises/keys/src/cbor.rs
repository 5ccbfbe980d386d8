//! Public keys in CBOR: a byte string of 32 bytes.

use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

use crate::{NodeId, WgPublicKey};

macro_rules! byte_string {
    ($($type:ident),*) => {$(
        impl<C> Encode<C> for $type {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        /// Accepts any 32 bytes. Whether they are a usable key shows when a signature or a handshake
        /// is checked against them.
        impl<'b, C> Decode<'b, C> for $type {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                let bytes = d.bytes()?;
                bytes.try_into().map(Self).map_err(|_| {
                    DecodeError::message(format_args!(
                        "{} bytes where 32 are expected",
                        bytes.len()
                    ))
                    .at(at)
                })
            }
        }
    )*};
}
byte_string!(NodeId, WgPublicKey);
