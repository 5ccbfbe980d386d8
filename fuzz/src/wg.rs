//! The decoders of `grid-wg`.

use std::fmt::Write;

use grid_wg::kernel::dump::Dump;
use grid_wg::step::{AllowedIpsChange, PskChange, Step};
use grid_wg::uapi::{MAX_REQUEST, Request, SetRequest, parse};

/// A request says the same when it is written out again, and asks for nothing but what WireGuard
/// itself has: no addresses, no routes, no interfaces.
pub fn wg_uapi(data: &[u8]) {
    let Ok(request) = parse(data) else { return };
    assert!(data.len() <= MAX_REQUEST);
    let Request::Set(set) = &request else { return };
    let text = write_out(set);
    assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&request), "{text}");
}

/// What the kernel says of a device costs no more than it says: a key is 32 bytes, a prefix at least
/// an address and a length, and no prefix has bits behind it.
pub fn wg_dump(data: &[u8]) {
    // A peer can go on in the next message.
    for messages in [&[data][..], &[data, data]] {
        let read = messages
            .iter()
            .try_fold(Dump::default(), |dump, message| dump.push(message));
        let Ok(device) = read.map(Dump::finish) else {
            continue;
        };
        assert!(device.peers.len() * 32 <= data.len());
        let nets = || device.peers.values().flat_map(|peer| &peer.allowed_ips);
        assert!(nets().count() * 5 <= data.len());
        assert!(nets().all(|net| net.trunc() == *net));
    }
}

/// A set request in the words of the protocol.
fn write_out(set: &SetRequest) -> String {
    let mut text = String::from("set=1\n");
    if set.replace_peers {
        text.push_str("replace_peers=true\n");
    }
    for step in &set.steps {
        write_step(&mut text, step);
    }
    text.push('\n');
    text
}

fn write_step(text: &mut String, step: &Step) {
    match step {
        Step::Configure(device) => {
            if let Some(key) = &device.private_key {
                line(text, "private_key", hex(key.expose()));
            }
            if let Some(port) = device.listen_port {
                line(text, "listen_port", port);
            }
            if let Some(mark) = device.fwmark {
                line(text, "fwmark", mark);
            }
        }
        Step::RemovePeer(key) => {
            line(text, "public_key", hex(&key.0));
            line(text, "remove", true);
        }
        Step::SetPeer(peer) => {
            line(text, "public_key", hex(&peer.public_key.0));
            if !peer.create {
                line(text, "update_only", true);
            }
            match &peer.preshared_key {
                Some(PskChange::Set(key)) => line(text, "preshared_key", hex(key.expose())),
                Some(PskChange::Clear) => line(text, "preshared_key", hex(&[0; 32])),
                None => {}
            }
            if let Some(endpoint) = peer.endpoint {
                line(text, "endpoint", endpoint);
            }
            if let Some(seconds) = peer.keepalive {
                line(text, "persistent_keepalive_interval", seconds);
            }
            let nets = match &peer.allowed_ips {
                AllowedIpsChange::Keep => return,
                AllowedIpsChange::Add(nets) => nets,
                AllowedIpsChange::Replace(nets) => {
                    line(text, "replace_allowed_ips", true);
                    nets
                }
            };
            for net in nets {
                line(text, "allowed_ip", net);
            }
        }
        other => panic!("a request of WireGuard's protocol asks for {other:?}"),
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{key}={value}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
