//! Requests of WireGuard's configuration protocol: which are read, which are refused, and what `wg` gets.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const KEY: &str = "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52";

fn set(body: &str) -> Result<SetRequest, UapiError> {
    parse(format!("set=1\n{body}\n").as_bytes()).map(|request| match request {
        Request::Set(set) => set,
        Request::Get => panic!("a set request became a get request"),
    })
}

#[test]
fn reads_get() {
    assert_eq!(parse(b"get=1\n\n"), Ok(Request::Get));
    for bad in [
        "",
        "get=1",
        "get=1\n",
        "get=1\nprivate_key=1\n\n",
        "get=2\n\n",
        "put=1\n\n",
    ] {
        assert_eq!(parse(bad.as_bytes()), Err(UapiError::Protocol), "{bad:?}");
    }
}

/// The example of the protocol's page, with its several peers.
#[test]
fn reads_a_set_request_as_wg_sends_it() {
    let zero = "0".repeat(64);
    let request = set(&format!(
        "private_key={KEY}\nfwmark=0\nlisten_port=12912\nreplace_peers=true\n\
         public_key={KEY}\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\n\
         endpoint=[abcd:23::33]:51820\npersistent_keepalive_interval=25\n\
         public_key={KEY}\nupdate_only=true\npreshared_key={zero}\nallowed_ip=10.1.2.3/8\n\
         public_key={KEY}\nremove=true\n"
    ))
    .unwrap();
    assert!(request.replace_peers);
    let [
        Step::Configure(device),
        Step::SetPeer(first),
        Step::SetPeer(second),
        Step::RemovePeer(_),
    ] = request.steps.as_slice()
    else {
        panic!("{:?}", request.steps)
    };
    assert_eq!((device.fwmark, device.listen_port), (Some(0), Some(12912)));
    assert!(device.private_key.is_some());
    assert!(first.create);
    assert_eq!(first.endpoint, Some("[abcd:23::33]:51820".parse().unwrap()));
    assert_eq!(first.keepalive, Some(25));
    let nets = |text: &str| BTreeSet::from([text.parse().unwrap()]);
    assert_eq!(
        first.allowed_ips,
        AllowedIpsChange::Replace(nets("192.168.4.4/32"))
    );
    assert!(!second.create);
    assert_eq!(second.preshared_key, Some(PskChange::Clear));
    assert_eq!(
        second.allowed_ips,
        AllowedIpsChange::Add(nets("10.0.0.0/8"))
    );
}

#[test]
fn refuses_what_is_out_of_range_or_out_of_place() {
    let peer = format!("public_key={KEY}\n");
    for (body, why) in [
        ("listen_port=65536\n".to_owned(), UapiError::Value),
        ("listen_port=-1\n".to_owned(), UapiError::Value),
        ("private_key=12\n".to_owned(), UapiError::Value),
        (
            format!("private_key={}\n", "0".repeat(64)),
            UapiError::Value,
        ),
        (
            format!("private_key={}\n", "g".repeat(64)),
            UapiError::Value,
        ),
        (
            format!("private_key={}\n", "é".repeat(32)),
            UapiError::Value,
        ),
        ("replace_peers=false\n".to_owned(), UapiError::Value),
        ("errno=0\n".to_owned(), UapiError::Protocol),
        ("nonsense\n".to_owned(), UapiError::Protocol),
        ("allowed_ip=10.0.0.0/8\n".to_owned(), UapiError::Protocol),
        (format!("{peer}listen_port=1\n"), UapiError::Protocol),
        (format!("{peer}allowed_ip=10.0.0.0/33\n"), UapiError::Value),
        (format!("{peer}allowed_ip=10.0.0.0\n"), UapiError::Value),
        (format!("{peer}endpoint=host:1\n"), UapiError::Value),
        (format!("{peer}protocol_version=2\n"), UapiError::Value),
        ("\nlisten_port=1\n".to_owned(), UapiError::Protocol),
    ] {
        assert_eq!(set(&body), Err(why), "{body:?}");
    }
    assert_eq!(parse(&vec![b'a'; MAX_REQUEST + 1]), Err(UapiError::TooLong));
    assert_eq!(parse(b"set=1\n\xff=1\n\n"), Err(UapiError::Protocol));
}

#[test]
fn errors_do_not_repeat_the_request() {
    let error = set(&format!("private_key={KEY}x\n")).unwrap_err();
    assert!(!error.to_string().contains(&KEY[..8]));
}

#[test]
fn a_description_reads_as_a_set_request_of_the_same_content() {
    let key = WgSecretKey::from_bytes(&read_key(KEY).unwrap());
    let peer = ObservedPeer {
        preshared_key: Some(Secret::new([7; 32])),
        endpoint: Some("[fe80::1%3]:5".parse().unwrap()),
        allowed_ips: BTreeSet::from(["10.0.0.0/8".parse().unwrap(), "fd00::/64".parse().unwrap()]),
        keepalive: Some(25),
        latest_handshake: Some(UNIX_EPOCH + Duration::new(1_700_000_000, 5)),
        rx_bytes: u64::MAX,
        tx_bytes: 2,
    };
    let device = ObservedDevice {
        public_key: Some(key.public()),
        listen_port: 51820,
        fwmark: Some(u32::MAX),
        peers: [(key.public(), peer.clone())].into(),
    };
    let text = describe(Some(&key), &device);
    assert!(text.contains("last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\n"));
    assert!(
        text.contains(&format!("rx_bytes={}\ntx_bytes=2\n", u64::MAX))
            || text.contains("tx_bytes=2\nrx_bytes=")
    );
    let settable: String = text
        .lines()
        .filter(|line| !line.starts_with("last_") && !line.contains("x_bytes"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let request = set(&settable).unwrap();
    let [Step::Configure(device), Step::SetPeer(read)] = request.steps.as_slice() else {
        panic!()
    };
    assert_eq!(device.private_key.as_ref(), Some(&key));
    assert_eq!(
        (device.listen_port, device.fwmark),
        (Some(51820), Some(u32::MAX))
    );
    assert_eq!(read.preshared_key, peer.preshared_key.map(PskChange::Set));
    assert_eq!(
        (read.endpoint, read.keepalive),
        (peer.endpoint, peer.keepalive)
    );
    assert_eq!(read.allowed_ips, AllowedIpsChange::Add(peer.allowed_ips));
}

/// The room that is reserved suffices for the longest possible peer.
#[test]
fn a_description_never_grows() {
    let peer = ObservedPeer {
        preshared_key: Some(Secret::new([0xff; 32])),
        endpoint: Some(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"
                .parse()
                .unwrap(),
        ),
        allowed_ips: BTreeSet::from(["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"
            .parse()
            .unwrap()]),
        keepalive: Some(u16::MAX),
        latest_handshake: Some(UNIX_EPOCH + Duration::new(u64::MAX >> 2, 999_999_999)),
        rx_bytes: u64::MAX,
        tx_bytes: u64::MAX,
    };
    let key = WgSecretKey::from_bytes(&Secret::new([0xff; 32]));
    let peers = (0..10).map(|n| (WgPublicKey([n; 32]), peer.clone()));
    let device = ObservedDevice {
        public_key: Some(key.public()),
        listen_port: u16::MAX,
        fwmark: Some(u32::MAX),
        peers: peers.collect(),
    };
    let text = describe(Some(&key), &device);
    assert_eq!(text.capacity(), 640 * 11 + 64 * 10);
}

proptest! {
    #[test]
    fn any_bytes_are_an_ordinary_event(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_lines_are_an_ordinary_event(
        lines in proptest::collection::vec("(public_key|private_key|allowed_ip|endpoint|remove)=[0-9a-f:./]{0,70}", 0..10)
    ) {
        let _ = set(&format!("{}\n", lines.join("\n")));
    }
}

#[test]
fn the_corpus_is_an_ordinary_event() {
    crate::corpus::replay("wg_uapi", parse);
}
