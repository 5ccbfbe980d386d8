//! Who may be at the other end of a connection, and what happens when it is someone else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use std::time::Duration;

use common::raw::{self, Shows};
use common::{Node, key};
use grid_net::{AttemptError, ConnectError};
use quinn::{ConnectionError, TransportErrorCode};

const GRID: &[&[u8]] = &[b"grid/1"];

#[tokio::test]
async fn the_expected_key_is_let_through() {
    let (a, b) = (Node::start(1), Node::start(2));
    let connected = a
        .endpoint
        .connect(Some(key(2).id()), &[b.addr()])
        .await
        .unwrap();
    assert_eq!(connected.peer, key(2).id());
}

#[tokio::test]
async fn without_an_expectation_the_result_says_who_it_is() {
    let (a, b) = (Node::start(1), Node::start(2));
    let connected = a.endpoint.connect(None, &[b.addr()]).await.unwrap();
    assert_eq!(connected.peer, key(2).id());
}

#[tokio::test]
async fn another_key_is_refused_and_both_are_named() {
    let (a, mut b) = (Node::start(1), Node::start(2));
    let error = a
        .endpoint
        .connect(Some(key(3).id()), &[b.addr()])
        .await
        .unwrap_err();
    let expected = ConnectError::IdentityMismatch {
        expected: key(3).id(),
        found: key(2).id(),
        remote: b.addr(),
    };
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(text.contains(&key(2).id().to_string()) && text.contains(&key(3).id().to_string()));
    b.quiet(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn the_right_node_at_the_second_address_is_found() {
    let (a, wrong, right) = (Node::start(1), Node::start(2), Node::start(3));
    let addrs = [wrong.addr(), right.addr()];
    let connected = a.endpoint.connect(Some(right.id()), &addrs).await.unwrap();
    assert_eq!(
        (connected.peer, connected.remote),
        (right.id(), right.addr())
    );
}

#[tokio::test]
async fn a_server_that_shows_a_key_it_does_not_hold_is_refused() {
    let a = Node::start(1);
    let thief = raw::server(Shows::StolenKey(key(2), key(3)), GRID);
    tokio::spawn({
        let thief = thief.clone();
        async move { thief.accept().await.unwrap().await }
    });
    let addr = thief.local_addr().unwrap();
    let error = a
        .endpoint
        .connect(Some(key(2).id()), &[addr])
        .await
        .unwrap_err();
    assert!(is_no_grid_node(&error), "{error}");
}

#[tokio::test]
async fn servers_with_x509_or_another_protocol_are_refused() {
    let a = Node::start(1);
    for (shows, alpn) in [
        (Shows::X509, GRID),
        (Shows::RawKey(key(2)), &[&b"h3"[..]][..]),
        (Shows::RawKey(key(2)), &[][..]),
    ] {
        let server = raw::server(shows, alpn);
        tokio::spawn({
            let server = server.clone();
            async move { server.accept().await.unwrap().await }
        });
        let addr = server.local_addr().unwrap();
        let error = a.endpoint.connect(None, &[addr]).await.unwrap_err();
        assert!(is_no_grid_node(&error), "{error}");
    }
}

fn is_no_grid_node(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Failed(attempts)
        if matches!(attempts[..], [(_, AttemptError::NotAGridNode(_))]))
}

/// Dials as a client that shows `shows`, waits for the end, and returns the TLS alert.
async fn refusal(node: &mut Node, shows: Shows, alpn: &[&[u8]]) -> u8 {
    let client = raw::socket();
    let config = raw::client_config(shows, alpn);
    let dialled = client
        .connect_with(config, node.addr(), "x.invalid")
        .unwrap()
        .await;
    // The client's side of TLS 1.3 is over before the server has looked at the client.
    let error = match dialled {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    node.quiet(Duration::from_millis(20)).await;
    assert!(node.endpoint.connections().is_empty());
    let code = match &error {
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::TransportError(error) => error.code,
        other => panic!("{other}"),
    };
    (0..=255)
        .find(|&alert| TransportErrorCode::crypto(alert) == code)
        .expect("a TLS alert")
}

#[tokio::test]
async fn clients_that_are_no_nodes_are_refused() {
    const HANDSHAKE_FAILURE: u8 = 40;
    const DECRYPT_ERROR: u8 = 51;
    const CERTIFICATE_REQUIRED: u8 = 116;
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let mut node = Node::start(1);
    let mut refused = Vec::new();
    for (shows, alpn) in [
        (Shows::Nothing, GRID),
        (Shows::X509, GRID),
        (Shows::PromisedKey, GRID),
        (Shows::StolenKey(key(2), key(3)), GRID),
        (Shows::RawKey(key(2)), &[&b"h3"[..]][..]),
        (Shows::RawKey(key(2)), &[][..]),
    ] {
        refused.push(refusal(&mut node, shows, alpn).await);
    }
    assert_eq!(refused[..2], [HANDSHAKE_FAILURE; 2]);
    assert_eq!(refused[2], CERTIFICATE_REQUIRED);
    assert_eq!(refused[3], DECRYPT_ERROR);
    assert_eq!(refused[4..], [NO_APPLICATION_PROTOCOL; 2]);
}

/// The same raw client is accepted as a node once it holds the key that it shows: the refusals above
/// have no other cause.
#[tokio::test]
async fn a_raw_client_with_its_own_key_is_let_in() {
    let mut node = Node::start(1);
    let (_endpoint, _connection) = raw::join(2, node.addr()).await;
    assert_eq!(node.connected().await, key(2).id());
}
