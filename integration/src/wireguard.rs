//! What WireGuard on a node says of itself: the cross-platform userspace interface
//! (`get=1` on `/run/wireguard/NAME.sock`), and the `wg` program where there is one.
//!
//! Private and pre-shared keys are dropped while the answer is read: this module tells only whether
//! there is a pre-shared key.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;

use crate::node::Node;

/// A WireGuard public key. Shown in base64, as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One WireGuard interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The UDP port.
    pub listen_port: Option<u16>,
    /// The peers, in the order in which they were told.
    pub peers: Vec<Peer>,
}

/// One peer of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub public_key: PublicKey,
    /// Whether a pre-shared key that is not all zero is set.
    pub has_preshared_key: bool,
    /// Where packets for it go.
    pub endpoint: Option<SocketAddr>,
    /// The prefixes that are routed to it and accepted from it.
    pub allowed_ips: Vec<IpNet>,
    /// The time of the last handshake, as Unix time; `None` before the first.
    pub last_handshake: Option<Duration>,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// The interval of persistent keepalives; `None` when they are off.
    pub persistent_keepalive: Option<Duration>,
}

/// Reads interface `name` of `node` through its socket.
///
/// # Errors
/// When there is no such socket (the kernel's WireGuard has none), it does not answer within five
/// seconds, answers an error, or says what cannot be read.
pub fn read(node: &Node, name: &str) -> Result<Interface> {
    let path = node.path(&format!("/run/wireguard/{name}.sock"));
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "cannot connect to /run/wireguard/{name}.sock of node {}",
            node.name()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"get=1\n\n")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    parse(lines.iter().map(String::as_str))
        .with_context(|| format!("cannot read the state of {name} on node {}", node.name()))
}

fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Interface> {
    let mut interface = Interface::default();
    let mut ended = false;
    for line in lines {
        // Not quoted in an error: the value may be a key.
        let (key, value) = line.split_once('=').context("a line without `=`")?;
        if key == "public_key" {
            interface.peers.push(Peer::new(value)?);
            continue;
        }
        match (key, interface.peers.last_mut()) {
            ("errno", _) => {
                if value != "0" {
                    bail!("it answered errno {value}");
                }
                ended = true;
            }
            ("listen_port", _) => interface.listen_port = Some(value.parse()?),
            (_, Some(peer)) => peer
                .set(key, value)
                .with_context(|| format!("the value of {key}"))?,
            _ => {}
        }
    }
    if ended {
        Ok(interface)
    } else {
        bail!("the answer is not complete")
    }
}

impl Peer {
    fn new(key: &str) -> Result<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(key.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .context("a public key that is not 64 hexadecimal digits")?;
        Ok(Self {
            public_key: PublicKey(bytes),
            has_preshared_key: false,
            endpoint: None,
            allowed_ips: Vec::new(),
            last_handshake: None,
            tx_bytes: 0,
            rx_bytes: 0,
            persistent_keepalive: None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "preshared_key" => self.has_preshared_key = value.bytes().any(|b| b != b'0'),
            "endpoint" => self.endpoint = Some(value.parse()?),
            "allowed_ip" => self.allowed_ips.push(value.parse()?),
            "last_handshake_time_sec" => {
                let seconds = Duration::from_secs(value.parse()?);
                let before = self.last_handshake.unwrap_or_default();
                self.last_handshake = Some(before + seconds).filter(|time| !time.is_zero());
            }
            "last_handshake_time_nsec" => {
                let part = Duration::from_nanos(value.parse()?);
                let before = self.last_handshake.unwrap_or_default();
                self.last_handshake = Some(before + part).filter(|time| !time.is_zero());
            }
            "tx_bytes" => self.tx_bytes = value.parse()?,
            "rx_bytes" => self.rx_bytes = value.parse()?,
            "persistent_keepalive_interval" => {
                self.persistent_keepalive =
                    Some(Duration::from_secs(value.parse()?)).filter(|every| !every.is_zero());
            }
            _ => {}
        }
        Ok(())
    }
}

/// What `wg show NAME` prints on `node`.
///
/// # Errors
/// [`crate::Missing`] when this machine has no `wg`; else what it complained about.
pub fn wg_show(node: &Node, name: &str) -> Result<String> {
    let output = node.tool(&["wg", "show", name], "", Duration::from_secs(10))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`wg show {name}` on node {} ended with {}: {said}",
            node.name(),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=12912
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
allowed_ip=192.168.4.4/32
allowed_ip=fd00::4/128
endpoint=[abcd:23::33%2]:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=5
tx_bytes=38333
rx_bytes=2224
persistent_keepalive_interval=25
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
last_handshake_time_sec=0
last_handshake_time_nsec=0
persistent_keepalive_interval=0
errno=0";

    #[test]
    fn an_answer_is_read_without_its_secrets() {
        let text = ANSWER.replace("%2", "");
        let interface = parse(text.lines()).unwrap();
        assert_eq!(interface.listen_port, Some(12912));
        let [first, second] = interface.peers.as_slice() else {
            panic!("two peers")
        };
        assert!(first.has_preshared_key && !second.has_preshared_key);
        assert_eq!(first.allowed_ips.len(), 2);
        assert_eq!(first.endpoint, Some("[abcd:23::33]:51820".parse().unwrap()));
        assert_eq!(first.last_handshake, Some(Duration::new(1_700_000_000, 5)));
        assert_eq!((first.tx_bytes, first.rx_bytes), (38333, 2224));
        assert_eq!(first.persistent_keepalive, Some(Duration::from_secs(25)));
        assert_eq!(
            (second.last_handshake, second.persistent_keepalive),
            (None, None)
        );
        let shown = format!("{interface:?}");
        assert!(
            !shown.contains("e84b5a6d") && !shown.contains("18851509"),
            "{shown}"
        );
    }

    #[test]
    fn an_answer_that_stops_early_or_fails_is_refused() {
        let cut = ANSWER.replace("%2", "").replace("errno=0", "");
        assert!(parse(cut.trim_end().lines()).is_err());
        assert!(
            parse("errno=13".lines())
                .unwrap_err()
                .to_string()
                .contains("13")
        );
        let bad = parse("public_key=zz\nerrno=0".lines()).unwrap_err();
        assert!(bad.to_string().contains("hexadecimal"));
    }
}
