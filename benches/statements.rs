//! What a day of a network of 1,000 members writes to the disk of each: `cargo bench -p grid --bench statements`.
//!
//! Each member renews its promise three times, each renewal is saved by itself, and each promise has 900 bytes.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use std::fs;
use std::time::Instant;

use grid::home::Home;
use grid::store::{InterfaceOptions, Store};
use grid_promises::core::Change;

const MEMBERS: u32 = 1000;
const RENEWALS: u32 = 3;
const LENGTH: usize = 900;

fn promise(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(LENGTH, 7);
    bytes
}

/// Bytes that this process has handed to the system to write.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("this system counts what is written");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|count| count.parse().ok())
        .expect("it says how much")
}

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = Home::find(Some(&dir.path().join("home"))).expect("a home");
    let store = Store::open(&home).expect("a store");
    let name = "foo".parse().expect("a name");
    fs::create_dir(home.nets().join("foo")).expect("a folder");
    let mut list: Vec<_> = (0..MEMBERS).map(promise).collect();
    let save = |list: &Vec<Vec<u8>>| {
        let change = Change::Statements(list.clone());
        store
            .apply(&name, &change, &InterfaceOptions::default())
            .expect("it is saved");
    };
    save(&list);
    let (before, begun) = (written(), Instant::now());
    for renewal in 1..=RENEWALS {
        for (at, member) in (0..MEMBERS).enumerate() {
            list[at] = promise(renewal * MEMBERS + member);
            save(&list);
        }
    }
    let saves = MEMBERS * RENEWALS;
    let (bytes, took) = (written() - before, begun.elapsed() / saves);
    println!("a day of {MEMBERS} members: {saves} saves, {bytes} bytes written, {took:?} each");
}
