//! WireGuard's cross-platform configuration protocol, as `wg` speaks it over a Unix socket.
//!
//! A request is `get=1` or `set=1`, lines of `key=value`, and an empty line; see
//! <https://www.wireguard.com/xplatform/>. The reader is strict and bounded: it accepts the keys on
//! that page and no others, and either accepts a whole request or changes nothing. Requests and
//! descriptions hold private keys, so nothing here is logged, and buffers are wiped.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use grid_keys::{Secret, WgPublicKey, WgSecretKey};
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::observed::{ObservedDevice, ObservedPeer};
use crate::step::{AllowedIpsChange, DeviceChange, PeerChange, PskChange, Step};

/// The longest request in bytes: room for some 20,000 peers.
pub const MAX_REQUEST: usize = 4 << 20;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Describe the device.
    Get,
    /// Change the device.
    Set(SetRequest),
}

/// The changes of a set request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetRequest {
    /// Remove all peers before carrying out the steps.
    pub replace_peers: bool,
    /// Only steps that concern WireGuard: its device and peers.
    pub steps: Vec<Step>,
}

/// Why a request was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UapiError {
    /// Something other than lines of `key=value`, or a key out of place.
    #[error("the request does not follow WireGuard's configuration protocol")]
    Protocol,
    /// A value that its key cannot have.
    #[error("a value in the request is out of range")]
    Value,
    /// Longer than [`MAX_REQUEST`].
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
}

impl UapiError {
    /// The error number that the protocol reports.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Protocol => libc::EPROTO,
            Self::Value => libc::EINVAL,
            Self::TooLong => libc::E2BIG,
        }
    }
}

/// Parses a request.
///
/// # Errors
/// See [`UapiError`].
pub fn parse(request: &[u8]) -> Result<Request, UapiError> {
    if request.len() > MAX_REQUEST {
        return Err(UapiError::TooLong);
    }
    let text = std::str::from_utf8(request).map_err(|_| UapiError::Protocol)?;
    let body = text.strip_suffix("\n\n").ok_or(UapiError::Protocol)?;
    let mut lines = body.split('\n');
    match lines.next() {
        Some("get=1") if body == "get=1" => Ok(Request::Get),
        Some("set=1") => lines
            .try_fold(Reader::default(), Reader::line)
            .map(Reader::finish),
        _ => Err(UapiError::Protocol),
    }
}

/// The part of a set request that has been read.
#[derive(Default)]
struct Reader {
    replace_peers: bool,
    device: DeviceChange,
    steps: Vec<Step>,
    peer: Option<PeerReader>,
}

/// The peer whose lines are being read.
struct PeerReader {
    change: PeerChange,
    remove: bool,
    replace_allowed_ips: bool,
    allowed_ips: BTreeSet<IpNet>,
}

impl Reader {
    fn line(mut self, line: &str) -> Result<Self, UapiError> {
        let (key, value) = line.split_once('=').ok_or(UapiError::Protocol)?;
        if key == "public_key" {
            self.end_peer();
            self.peer = Some(PeerReader::new(WgPublicKey(*read_key(value)?.expose())));
            return Ok(self);
        }
        match &mut self.peer {
            Some(peer) => peer.line(key, value)?,
            None => self.device_line(key, value)?,
        }
        Ok(self)
    }

    fn device_line(&mut self, key: &str, value: &str) -> Result<(), UapiError> {
        match key {
            "private_key" => {
                let key = read_key(value)?;
                if key.expose() == &[0; 32] {
                    // A device of ours always has a key.
                    return Err(UapiError::Value);
                }
                self.device.private_key = Some(WgSecretKey::from_bytes(&key));
            }
            "listen_port" => self.device.listen_port = Some(read(value)?),
            "fwmark" => self.device.fwmark = Some(read(value)?),
            "replace_peers" => self.replace_peers = read_true(value)?,
            _ => return Err(UapiError::Protocol),
        }
        Ok(())
    }

    fn end_peer(&mut self) {
        self.steps.extend(self.peer.take().map(PeerReader::finish));
    }

    fn finish(mut self) -> Request {
        self.end_peer();
        let mut steps = Vec::with_capacity(self.steps.len() + 1);
        if self.device != DeviceChange::default() {
            steps.push(Step::Configure(self.device));
        }
        steps.append(&mut self.steps);
        Request::Set(SetRequest {
            replace_peers: self.replace_peers,
            steps,
        })
    }
}

impl PeerReader {
    const fn new(public_key: WgPublicKey) -> Self {
        let change = PeerChange {
            public_key,
            create: true,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            allowed_ips: AllowedIpsChange::Keep,
        };
        Self {
            change,
            remove: false,
            replace_allowed_ips: false,
            allowed_ips: BTreeSet::new(),
        }
    }

    fn line(&mut self, key: &str, value: &str) -> Result<(), UapiError> {
        match key {
            "remove" => self.remove = read_true(value)?,
            "update_only" => self.change.create = !read_true(value)?,
            "preshared_key" => {
                let psk = read_key(value)?;
                let clear = psk.expose() == &[0; 32];
                self.change.preshared_key = Some(if clear {
                    PskChange::Clear
                } else {
                    PskChange::Set(psk)
                });
            }
            "endpoint" => self.change.endpoint = Some(read::<SocketAddr>(value)?),
            "persistent_keepalive_interval" => self.change.keepalive = Some(read(value)?),
            "replace_allowed_ips" => self.replace_allowed_ips = read_true(value)?,
            "allowed_ip" => {
                self.allowed_ips.insert(read::<IpNet>(value)?.trunc());
            }
            "protocol_version" if value == "1" => {}
            "protocol_version" => return Err(UapiError::Value),
            _ => return Err(UapiError::Protocol),
        }
        Ok(())
    }

    fn finish(mut self) -> Step {
        if self.remove {
            return Step::RemovePeer(self.change.public_key);
        }
        self.change.allowed_ips = if self.replace_allowed_ips {
            AllowedIpsChange::Replace(self.allowed_ips)
        } else if self.allowed_ips.is_empty() {
            AllowedIpsChange::Keep
        } else {
            AllowedIpsChange::Add(self.allowed_ips)
        };
        Step::SetPeer(self.change)
    }
}

fn read<T: FromStr>(value: &str) -> Result<T, UapiError> {
    value.parse().map_err(|_| UapiError::Value)
}

/// The protocol knows only `true`; leaving out the line means `false`.
fn read_true(value: &str) -> Result<bool, UapiError> {
    if value == "true" {
        Ok(true)
    } else {
        Err(UapiError::Value)
    }
}

/// 64 hexadecimal digits.
fn read_key(value: &str) -> Result<Secret<32>, UapiError> {
    let digits: &[u8; 64] = value.as_bytes().try_into().map_err(|_| UapiError::Value)?;
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0u8, |byte, digit| {
            let nibble = char::from(*digit)
                .to_digit(16)
                .and_then(|n| u8::try_from(n).ok());
            Ok(byte << 4 | nibble.ok_or(UapiError::Value)?)
        })?;
    }
    Ok(Secret::new(*key))
}

/// The answer to a get request, without the `errno` that closes it. Includes keys.
pub(crate) fn describe(
    private_key: Option<&WgSecretKey>,
    device: &ObservedDevice,
) -> Zeroizing<String> {
    /// The most bytes of a peer without its allowed IPs.
    const PEER: usize = 640;
    const ALLOWED_IP: usize = 64;
    let peers = device.peers.values();
    let allowed_ips: usize = peers.map(|peer| peer.allowed_ips.len()).sum();
    // Room for all of it at once: a text that grows leaves keys behind in freed memory.
    let room = PEER * (device.peers.len() + 1) + ALLOWED_IP * allowed_ips;
    let mut text = Zeroizing::new(String::with_capacity(room));
    if let Some(key) = private_key {
        push_key(&mut text, "private_key", key.expose());
    }
    push(&mut text, "listen_port", device.listen_port);
    if let Some(fwmark) = device.fwmark {
        push(&mut text, "fwmark", fwmark);
    }
    for (key, peer) in &device.peers {
        push_key(&mut text, "public_key", &key.0);
        push_peer(&mut text, peer);
    }
    text
}

fn push_peer(text: &mut String, peer: &ObservedPeer) {
    if let Some(psk) = &peer.preshared_key {
        push_key(text, "preshared_key", psk.expose());
    }
    push(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        push(text, "endpoint", endpoint);
    }
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    let handshake = peer.latest_handshake.and_then(since).unwrap_or_default();
    push(text, "last_handshake_time_sec", handshake.as_secs());
    push(text, "last_handshake_time_nsec", handshake.subsec_nanos());
    push(text, "tx_bytes", peer.tx_bytes);
    push(text, "rx_bytes", peer.rx_bytes);
    push(
        text,
        "persistent_keepalive_interval",
        peer.keepalive.unwrap_or(0),
    );
    for net in &peer.allowed_ips {
        push(text, "allowed_ip", net);
    }
}

fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

fn push_key(text: &mut String, name: &str, key: &[u8; 32]) {
    text.push_str(name);
    text.push('=');
    for digit in key.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
