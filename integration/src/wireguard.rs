//! The state of WireGuard on a node, as WireGuard itself reports it: over the cross-platform userspace
//! interface (`get=1` on `/run/wireguard/NAME.sock`), or through the `wg` program where there is one,
//! which also reads the kernel's WireGuard.
//!
//! Private and pre-shared keys are dropped while the answer is read: only whether there is a
//! pre-shared key is kept.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
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

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub listen_port: Option<u16>,
    /// The peers, in the order in which they were told.
    pub peers: Vec<Peer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub public_key: PublicKey,
    /// Whether a pre-shared key that is not all zero is set.
    pub has_preshared_key: bool,
    /// Where packets for it go.
    pub endpoint: Option<SocketAddr>,
    /// The prefixes that are routed to it and accepted from it.
    pub allowed_ips: Vec<IpNet>,
    /// The time of the last handshake, as Unix time; `None` before the first.
    pub last_handshake: Option<Duration>,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    /// The interval of persistent keepalives; `None` when they are off.
    pub persistent_keepalive: Option<Duration>,
}

/// Reads interface `name` of `node`: through its socket, or, where it has none because the kernel
/// runs it, through `wg`.
///
/// # Errors
/// [`crate::Missing`] when there is neither a socket nor a `wg`; else when there is no such
/// interface, or it does not answer within five seconds, with an error, or unintelligibly.
pub fn read(node: &Node, name: &str) -> Result<Interface> {
    let path = node.path(&format!("/run/wireguard/{name}.sock"));
    if path.exists() {
        read_socket(node, name, &path)
    } else {
        read_dump(node, name)
    }
}

fn read_socket(node: &Node, name: &str, path: &Path) -> Result<Interface> {
    let mut stream = UnixStream::connect(path).with_context(|| {
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

fn read_dump(node: &Node, name: &str) -> Result<Interface> {
    let printed = wg(node, &["show", name, "dump"])?;
    parse_dump(&printed)
        .with_context(|| format!("cannot read the state of {name} on node {}", node.name()))
}

/// Reads `wg show NAME dump`: a line for the interface, one for each peer, tabs between the fields.
fn parse_dump(text: &str) -> Result<Interface> {
    let mut lines = text.lines();
    let own: Vec<&str> = lines
        .next()
        .context("no line for the interface")?
        .split('\t')
        .collect();
    let [_private, _public, port, _mark] = own[..] else {
        bail!("not four fields in line 1")
    };
    let listen_port = Some(port.parse()?).filter(|port| *port != 0);
    let peers = lines.map(Peer::from_dump).collect::<Result<_>>()?;
    Ok(Interface { listen_port, peers })
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
    fn from_dump(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [key, psk, endpoint, allowed, handshake, rx, tx, keepalive] = fields[..] else {
            bail!("not eight fields in the line of a peer");
        };
        let given = |text: &str| text != "(none)";
        let key = data_encoding::BASE64.decode(key.as_bytes()).ok();
        let handshake = Duration::from_secs(handshake.parse()?);
        let allowed = allowed.split(',').filter(|text| given(text));
        Ok(Self {
            public_key: PublicKey(
                key.and_then(|bytes| bytes.try_into().ok())
                    .context("a key that is not base64")?,
            ),
            has_preshared_key: given(psk),
            endpoint: given(endpoint).then(|| endpoint.parse()).transpose()?,
            allowed_ips: allowed.map(str::parse).collect::<Result<_, _>>()?,
            last_handshake: Some(handshake).filter(|time| !time.is_zero()),
            tx_bytes: tx.parse()?,
            rx_bytes: rx.parse()?,
            persistent_keepalive: match keepalive {
                "off" => None,
                seconds => Some(Duration::from_secs(seconds.parse()?)),
            },
        })
    }
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

/// Removes a peer from interface `name` of `node`, as `wg set` does, behind the server's back.
///
/// # Errors
/// As [`read`].
pub fn remove_peer(node: &Node, name: &str, peer: &PublicKey) -> Result<()> {
    let path = node.path(&format!("/run/wireguard/{name}.sock"));
    if !path.exists() {
        return wg(node, &["set", name, "peer", &peer.to_string(), "remove"]).map(drop);
    }
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let key = data_encoding::HEXLOWER.encode(&peer.0);
    stream.write_all(format!("set=1\npublic_key={key}\nremove=true\n\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.trim() != "errno=0" {
        bail!("{name} on node {} answered {answer:?}", node.name());
    }
    Ok(())
}

/// What `wg show NAME` prints on `node`.
///
/// # Errors
/// [`crate::Missing`] when this machine has no `wg`; else what it complained about.
pub fn wg_show(node: &Node, name: &str) -> Result<String> {
    wg(node, &["show", name])
}

fn wg(node: &Node, arguments: &[&str]) -> Result<String> {
    let command: Vec<&str> = std::iter::once("wg")
        .chain(arguments.iter().copied())
        .collect();
    let output = node.tool(&command, "", Duration::from_secs(10))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let command = command.join(" ");
        bail!(
            "`{command}` on node {} ended with {}: {said}",
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
    fn a_dump_says_the_same() {
        let text = ANSWER.replace("%2", "");
        let mut wanted = parse(text.lines()).unwrap();
        // A dump has whole seconds only.
        wanted.peers[0].last_handshake = Some(Duration::from_secs(1_700_000_000));
        let keys: Vec<String> = wanted
            .peers
            .iter()
            .map(|p| p.public_key.to_string())
            .collect();
        let dump = format!(
            "private\tpublic\t12912\toff\n\
             {}\tpsk=\t[abcd:23::33]:51820\t192.168.4.4/32,fd00::4/128\t1700000000\t2224\t38333\t25\n\
             {}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n",
            keys[0], keys[1]
        );
        assert_eq!(parse_dump(&dump).unwrap(), wanted);
        assert!(parse_dump("").is_err());
        assert!(parse_dump("private\tpublic\t1\toff\nkey\t(none)").is_err());
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
