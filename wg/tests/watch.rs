//! Changes to a real network, as the kernel reports them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::{in_namespace, ip, link_index, requirements as missing};
use grid_wg::{Place, Watch};

/// Whether a change to this interface is reported within a second.
fn hears(watch: &mut Watch, index: u32) -> bool {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        match watch.read() {
            Ok(changes) if changes.interfaces.contains(&index) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    false
}

/// Waits until the kernel has reported everything.
fn quiet(watch: &mut Watch) {
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(200) {
        match watch.read() {
            Ok(_) => since = Instant::now(),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn every_kind_of_change_is_told() {
    or_skip!();
    in_namespace(|| {
        common::add_veth("seen0");
        common::add_veth_pair("other0", "other1");
        ip(&["link", "set", "other0", "up"]);
        ip(&["link", "set", "other1", "up"]);
        let index = link_index("seen0").unwrap();
        let mut watch = Watch::open(&Place::default()).unwrap();
        quiet(&mut watch);
        let changes: [&[&str]; 9] = [
            &["addr", "add", "192.0.2.1/24", "dev", "seen0"],
            &["link", "set", "seen0", "up"],
            &["link", "set", "seen0", "mtu", "1400"],
            &["route", "add", "198.51.100.0/24", "dev", "seen0"],
            &["route", "del", "198.51.100.0/24", "dev", "seen0"],
            &[
                "-6",
                "addr",
                "add",
                "2001:db8::1/64",
                "dev",
                "seen0",
                "nodad",
            ],
            &["addr", "del", "192.0.2.1/24", "dev", "seen0"],
            &["link", "set", "seen0", "down"],
            &["link", "del", "seen0"],
        ];
        for change in changes {
            ip(change);
            assert!(hears(&mut watch, index), "{change:?}");
            quiet(&mut watch);
        }
        ip(&["addr", "add", "203.0.113.1/24", "dev", "other0"]);
        assert!(
            !hears(&mut watch, index),
            "another interface is not this one"
        );
    });
}

#[test]
fn a_rule_of_ours_is_told_and_no_other() {
    or_skip!();
    in_namespace(|| {
        let mut watch = Watch::open(&Place::default()).unwrap();
        let mut heard = |what: &[&str]| {
            quiet(&mut watch);
            ip(what);
            let until = Instant::now() + Duration::from_millis(300);
            let mut heard = false;
            while Instant::now() < until {
                heard |= watch.read().is_ok_and(|changes| changes.rules);
                std::thread::sleep(Duration::from_millis(5));
            }
            heard
        };
        let ours = ["priority", "9999", "protocol", "103", "table", "9"];
        let theirs = ["priority", "9999", "protocol", "4", "table", "9"];
        for family in ["-4", "-6"] {
            for verb in ["add", "del"] {
                assert!(heard(&[&[family, "rule", verb], &ours[..]].concat()));
                assert!(!heard(&[&[family, "rule", verb], &theirs[..]].concat()));
            }
        }
    });
}
