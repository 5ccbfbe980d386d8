//! How the small types of this crate look in CBOR.
//!
//! | type | CBOR |
//! |---|---|
//! | [`ContentId`] | tag 42 over a byte string: `00`, then the binary CID (as DAG-CBOR has it) |
//! | node id, WireGuard public key | byte string of 32 bytes (`grid_keys`) |
//! | [`Timestamp`] | unsigned integer, seconds |
//! | address | byte string: 4 bytes (IPv4) or 16 (IPv6) |
//! | prefix | `[address, length]`; the bits after the prefix are zero |
//! | socket address | `[address, port]` |
//!
//! Types of other crates cannot carry `minicbor`'s traits; fields of them name a module of this
//! file: `#[cbor(n(2), with = "crate::wire::ip_net")]`. A plural name is for a list.
//!
//! One thing has one form. An IPv4 address never travels as an IPv4-mapped IPv6 address (RFC 4291
//! section 2.5.5.2), and a prefix never carries host bits: encoders normalise both, decoders refuse
//! both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minicbor::data::Tag;
use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

use crate::content_id::ContentId;
use crate::time::Timestamp;

/// The CBOR tag of a content id (registered for IPLD CIDs).
pub const CID_TAG: u64 = 42;

type Encoded<W> = Result<(), EncodeError<<W as Write>::Error>>;

impl<C> Encode<C> for ContentId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        let mut bytes = Vec::with_capacity(1 + Self::MAX_LEN);
        bytes.push(0);
        bytes.extend_from_slice(&self.to_bytes());
        e.tag(Tag::new(CID_TAG))?.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ContentId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let tag = d.tag()?;
        if tag.as_u64() != CID_TAG {
            return Err(DecodeError::tag_mismatch(tag).at(at));
        }
        let bytes = d.bytes()?.strip_prefix(&[0]).ok_or_else(|| {
            DecodeError::message("a content id in CBOR begins with a zero byte").at(at)
        })?;
        Self::from_bytes(bytes).map_err(|error| DecodeError::custom(error).at(at))
    }
}

/// Reads a byte string of exactly `N` bytes.
fn exact<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    let at = d.position();
    let bytes = d.bytes()?;
    bytes.try_into().map_err(|_| {
        DecodeError::message(format_args!("{} bytes where {N} are expected", bytes.len())).at(at)
    })
}

impl<C> Encode<C> for Timestamp {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Timestamp {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.u64().map(Self)
    }
}

/// A type of another crate that has a CBOR form here.
trait Wire: Sized {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W>;
    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

impl<const N: usize> Wire for [u8; N] {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        e.bytes(self)?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        exact(d)
    }
}

impl Wire for Ipv4Addr {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        e.bytes(&self.octets())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        exact::<4>(d).map(Self::from)
    }
}

/// IPv4-mapped addresses are refused: this type has no other form to normalise them to, and no
/// caller that has them.
impl Wire for Ipv6Addr {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        e.bytes(&self.octets())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = d.position();
        let address = Self::from(exact::<16>(d)?);
        if address.to_ipv4_mapped().is_some() {
            return Err(DecodeError::message("an IPv4 address in IPv6 form").at(at));
        }
        Ok(address)
    }
}

impl Wire for IpAddr {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        match self.to_canonical() {
            Self::V4(address) => address.put(e),
            Self::V6(address) => address.put(e),
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = d.position();
        match d.probe().bytes()?.len() {
            4 => Ipv4Addr::take(d).map(Self::V4),
            16 => Ipv6Addr::take(d).map(Self::V6),
            other => Err(DecodeError::message(format_args!(
                "an address of {other} bytes, where IPv4 has 4 and IPv6 has 16"
            ))
            .at(at)),
        }
    }
}

/// Scope and flow label of an IPv6 socket address mean nothing to another host and are left out.
impl Wire for SocketAddr {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        e.array(2)?;
        self.ip().put(e)?;
        e.u16(self.port())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        pair(d)?;
        let address = IpAddr::take(d)?;
        Ok(Self::new(address, d.u16()?))
    }
}

macro_rules! prefix {
    ($($net:ident of $address:ident),*) => {$(
        impl Wire for $net {
            fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
                e.array(2)?;
                self.network().put(e)?;
                e.u8(self.prefix_len())?.ok()
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let at = d.position();
                pair(d)?;
                let address = $address::take(d)?;
                let net = Self::new(address, d.u8()?)
                    .map_err(|_| DecodeError::message("a prefix length over the maximum").at(at))?;
                if net.network() != address {
                    return Err(DecodeError::message("a prefix with host bits set").at(at));
                }
                Ok(net)
            }
        }
    )*};
}
prefix!(Ipv4Net of Ipv4Addr, Ipv6Net of Ipv6Addr);

impl Wire for IpNet {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Encoded<W> {
        match self {
            Self::V4(net) => net.put(e),
            Self::V6(net) => match mapped(net) {
                Some(net) => net.put(e),
                None => net.put(e),
            },
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = d.position();
        let mut ahead = d.probe();
        pair(&mut ahead)?;
        match ahead.bytes()?.len() {
            4 => Ipv4Net::take(d).map(Self::V4),
            16 => Ipv6Net::take(d).map(Self::V6),
            other => Err(DecodeError::message(format_args!(
                "a prefix of {other} bytes, where IPv4 has 4 and IPv6 has 16"
            ))
            .at(at)),
        }
    }
}

/// The IPv4 prefix that an IPv4-mapped IPv6 prefix stands for.
fn mapped(net: &Ipv6Net) -> Option<Ipv4Net> {
    let length = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.network().to_ipv4_mapped()?, length).ok()
}

/// Reads the head of an array of two.
fn pair(d: &mut Decoder<'_>) -> Result<(), DecodeError> {
    let at = d.position();
    match d.array()? {
        Some(2) => Ok(()),
        _ => Err(DecodeError::message("expected an array of two").at(at)),
    }
}

/// The modules that `#[cbor(with = "...")]` names for one of a thing.
macro_rules! one {
    ($($type:ty, $module:ident, $doc:literal;)*) => {$(
        #[doc = concat!("For a field that is ", $doc, ".")]
        pub mod $module {
            use crate::wire::*;

            /// Writes the field.
            ///
            /// # Errors
            /// What the writer reports.
            pub fn encode<C, W: Write>(value: &$type, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
                value.put(e)
            }

            /// Reads the field.
            ///
            /// # Errors
            /// The input ends, or is not the form that the module `wire` describes.
            pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<$type, DecodeError> {
                <$type>::take(d)
            }
        }
    )*};
}
one! {
    IpAddr, ip_addr, "an address of either family";
    Ipv4Addr, ipv4_addr, "an IPv4 address";
    Ipv6Addr, ipv6_addr, "an IPv6 address";
    IpNet, ip_net, "a prefix of either family";
    Ipv4Net, ipv4_net, "an IPv4 prefix";
    Ipv6Net, ipv6_net, "an IPv6 prefix";
    SocketAddr, socket_addr, "an address and a port";
    [u8; 32], bytes32, "a string of exactly 32 bytes";
    [u8; 64], bytes64, "a string of exactly 64 bytes";
}

/// The modules that `#[cbor(with = "...")]` names for a list of a thing.
macro_rules! list {
    ($($type:ty, $module:ident, $doc:literal;)*) => {$(
        #[doc = concat!("For a field that is a list of ", $doc, ".")]
        pub mod $module {
            use crate::wire::*;

            /// Writes the list.
            ///
            /// # Errors
            /// What the writer reports.
            pub fn encode<C, W: Write>(list: &[$type], e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
                e.array(list.len() as u64)?;
                list.iter().try_for_each(|value| value.put(e))
            }

            /// Reads the list. Memory grows with what is read, not with the length that is claimed.
            ///
            /// # Errors
            /// The input ends, or an item is not the form that the module `wire` describes.
            pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<$type>, DecodeError> {
                let at = d.position();
                let indefinite = || DecodeError::message("a list of indefinite length").at(at);
                let length = d.array()?.ok_or_else(indefinite)?;
                (0..length).map(|_| <$type>::take(d)).collect()
            }
        }
    )*};
}
list! {
    IpNet, ip_nets, "prefixes of either family";
    SocketAddr, socket_addrs, "addresses with their ports";
}

/// Reads a list, which is refused by its head if it has more than `MOST` items: for `#[cbor(decode_with = "...")]`.
///
/// # Errors
/// The list is longer, the input ends, or an item cannot be read.
pub(crate) fn at_most<'b, const MOST: usize, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, DecodeError> {
    let at = d.position();
    match d.probe().array()? {
        Some(length) if length <= MOST as u64 => d.decode_with(context),
        _ => Err(DecodeError::message(format_args!("a list of more than {MOST} items")).at(at)),
    }
}

#[cfg(test)]
mod tests {
    use grid_keys::{NodeId, WgPublicKey};

    use super::*;
    use crate::cbor::{self, Bounds, CborError, CborFault};
    use minicbor::{Decode, Encode};
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds::bytes(4096);

    /// One of each, as a statement would carry them.
    #[derive(Clone, Debug, PartialEq, Encode, Decode)]
    struct All {
        #[n(0)]
        id: ContentId,
        #[n(1)]
        node: NodeId,
        #[n(2)]
        key: WgPublicKey,
        #[n(3)]
        time: Timestamp,
        #[cbor(n(4), with = "super::ip_addr")]
        address: IpAddr,
        #[cbor(n(5), with = "super::ip_net")]
        net: IpNet,
        #[cbor(n(6), with = "super::socket_addr")]
        socket: SocketAddr,
        #[cbor(n(7), with = "super::ip_nets")]
        nets: Vec<IpNet>,
        #[cbor(n(8), with = "super::bytes64")]
        signature: [u8; 64],
        #[cbor(n(9), with = "super::ipv4_addr")]
        claim: Ipv4Addr,
    }

    /// A field with a `with` module, alone: an array of one.
    macro_rules! alone {
        ($name:ident, $type:ty, $with:literal) => {
            #[derive(Clone, Debug, PartialEq, Encode, Decode)]
            struct $name(#[cbor(n(0), with = $with)] $type);
        };
    }
    alone!(Address, IpAddr, "super::ip_addr");
    alone!(Address6, Ipv6Addr, "super::ipv6_addr");
    alone!(Net, IpNet, "super::ip_net");
    alone!(Net4, Ipv4Net, "super::ipv4_net");
    alone!(Net6, Ipv6Net, "super::ipv6_net");
    alone!(Socket, SocketAddr, "super::socket_addr");
    alone!(Sockets, Vec<SocketAddr>, "super::socket_addrs");
    alone!(Exact, [u8; 32], "super::bytes32");

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER
            .decode(&text.replace(' ', "").into_bytes())
            .unwrap()
    }

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical()),
        ]
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        (any_ip(), 0u8..=128).prop_map(|(address, length)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, length.min(most)).unwrap().trunc()
        })
    }

    fn any_all() -> impl Strategy<Value = All> {
        let nets = prop::collection::vec(any_net(), 0..5);
        let plain = (any::<[u8; 32]>(), any::<u64>(), any::<[u8; 4]>());
        (plain, any_ip(), any_net(), any_ip(), any::<u16>(), nets).prop_map(
            |((bytes, time, claim), address, net, host, port, nets)| All {
                id: ContentId::of(&bytes),
                node: NodeId(bytes),
                key: WgPublicKey(bytes),
                time: Timestamp(time),
                address,
                net,
                socket: SocketAddr::new(host, port),
                nets,
                signature: [bytes[0]; 64],
                claim: Ipv4Addr::from(claim),
            },
        )
    }

    proptest! {
        #[test]
        fn everything_reads_back(all in any_all()) {
            let bytes = cbor::encode(&all);
            prop_assert_eq!(cbor::decode::<All>(&bytes, &BOUNDS), Ok(all));
        }

        #[test]
        fn no_other_bytes_read_as_the_same(
            all in any_all(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut bytes = cbor::encode(&all);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = cbor::decode::<All>(&bytes, &BOUNDS) {
                prop_assert_ne!(&other, &all);
                prop_assert_eq!(cbor::encode(&other), bytes);
            }
        }
    }

    #[test]
    fn the_documented_forms() {
        let v4: IpAddr = "10.1.2.3".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let v6_hex = "fd000000000000000000000000000001";
        for (bytes, expected) in [
            (cbor::encode(&Address(v4)), "81 44 0a010203".to_owned()),
            (cbor::encode(&Address(v6)), format!("81 50 {v6_hex}")),
            (cbor::encode(&Net("10.1.0.0/16".parse().unwrap())), "81 82 44 0a010000 10".into()),
            (cbor::encode(&Net("::/0".parse().unwrap())), format!("81 82 50 {} 00", "00".repeat(16))),
            (cbor::encode(&Socket(SocketAddr::new(v4, 51820))), "81 82 44 0a010203 19ca6c".into()),
            (cbor::encode(&Socket(SocketAddr::new(v6, 1))), format!("81 82 50 {v6_hex} 01")),
            (cbor::encode(&Sockets(vec![])), "81 80".into()),
            (cbor::encode(&Exact([1; 32])), format!("81 5820 {}", "01".repeat(32))),
            (cbor::encode(&NodeId([2; 32])), format!("5820 {}", "02".repeat(32))),
            (cbor::encode(&WgPublicKey([3; 32])), format!("5820 {}", "03".repeat(32))),
            (cbor::encode(&Timestamp(1000)), "1903e8".into()),
            (
                cbor::encode(&ContentId::of(b"")),
                "d82a 5825 00 01551220 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                    .into(),
            ),
        ] {
            assert_eq!(bytes, hex(&expected), "{expected}");
        }
    }

    /// One address has one form: a rule that names `10.0.0.0/8` must not be got round by
    /// `::ffff:10.0.0.0/104`.
    #[test]
    fn ipv4_in_ipv6_form_is_normalised_and_never_read() {
        let address: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        let net: IpNet = "::ffff:10.1.2.3/112".parse().unwrap();
        let (plain, plain_net) = ("10.1.2.3".parse().unwrap(), "10.1.0.0/16".parse().unwrap());
        assert_eq!(
            cbor::encode(&Address(address)),
            cbor::encode(&Address(plain))
        );
        assert_eq!(cbor::encode(&Net(net)), cbor::encode(&Net(plain_net)));
        let mapped = |prefix: &str, rest: &str| {
            hex(&format!(
                "{prefix} 50 00000000000000000000ffff0a010000 {rest}"
            ))
        };
        assert_refused::<Address>(&mapped("81", ""));
        assert_refused::<Address6>(&mapped("81", ""));
        assert_refused::<Net>(&mapped("81 82", "1870"));
        assert_refused::<Net6>(&mapped("81 82", "1880"));
        assert_refused::<Socket>(&mapped("81 82", "01"));
        // Wider than all of IPv4: an ordinary IPv6 prefix.
        let wide = Net("::/80".parse().unwrap());
        assert_eq!(cbor::decode(&cbor::encode(&wide), &BOUNDS), Ok(wide));
    }

    #[test]
    fn host_bits_are_cleared_and_never_read() {
        let loose = Net("10.1.2.3/8".parse().unwrap());
        let tidy = Net("10.0.0.0/8".parse().unwrap());
        assert_eq!(cbor::encode(&loose), cbor::encode(&tidy));
        assert_refused::<Net>(&hex("81 82 44 0a000001 08"));
        assert_refused::<Net4>(&hex("81 82 44 00000001 00"));
        assert_refused::<Net>(&hex(&format!("81 82 50 {}01 187f", "00".repeat(15))));
    }

    fn assert_refused<'b, T>(bytes: &'b [u8])
    where
        T: Decode<'b, ()> + Encode<()> + std::fmt::Debug,
    {
        let result = cbor::decode::<T>(bytes, &BOUNDS);
        assert!(
            matches!(
                &result,
                Err(CborError {
                    fault: CborFault::Unexpected { .. },
                    ..
                })
            ),
            "{result:?} for {bytes:02x?}"
        );
    }

    #[test]
    fn another_shape_is_refused() {
        for text in [
            "81 40",
            "81 43 000000",
            "81 45 0000000000",
            "81 60",
            "81 00",
            "81 80",
        ] {
            assert_refused::<Address>(&hex(text));
            assert_refused::<Net>(&hex(text));
            assert_refused::<Exact>(&hex(text));
            assert_refused::<Socket>(&hex(text));
        }
        assert_refused::<Net>(&hex("81 82 44 00000000 1821"));
        assert_refused::<Net>(&hex(&format!("81 82 50 {} 1881", "00".repeat(16))));
        assert_refused::<Net>(&hex("81 81 44 00000000"));
        assert_refused::<Net>(&hex("81 83 44 00000000 00 00"));
        assert_refused::<Net4>(&hex(&format!("81 82 50 {} 00", "00".repeat(16))));
        assert_refused::<Socket>(&hex("81 82 44 00000000 1a00010000"));
        assert_refused::<Socket>(&hex("81 82 44 00000000 20"));
        assert_refused::<Timestamp>(&hex("20"));
        assert_refused::<NodeId>(&hex(&format!("581f {}", "00".repeat(31))));
        assert_refused::<WgPublicKey>(&hex(&format!("5821 {}", "00".repeat(33))));
        assert_refused::<ContentId>(&hex("d82a 41 00"));
        assert_refused::<ContentId>(&hex("d82a 40"));
        assert_refused::<ContentId>(&hex("d82b 41 00"));
        assert_refused::<ContentId>(&hex("41 00"));
    }
}
