//! From a wish to a plan to an interface, on a back end in memory.
//!
//! Run it with `cargo run --example plan`. It needs no rights and touches nothing of the host.

#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use grid_keys::{Secret, WgSecretKey};

use grid_wg::{Backend as _, Desired, DesiredPeer, Fake, Mtu, Routing, plan};

fn main() -> Result<()> {
    let key = |byte| WgSecretKey::from_bytes(&Secret::new([byte; 32]));
    let peer = |host: u8| -> Result<DesiredPeer> {
        Ok(DesiredPeer {
            endpoint: Some(format!("192.0.2.{host}:51820").parse()?),
            allowed_ips: BTreeSet::from([format!("10.77.0.{host}/32").parse()?]),
            ..DesiredPeer::default()
        })
    };
    let mut desired = Desired {
        name: "foo".parse()?,
        private_key: key(1),
        listen_port: 51820,
        mtu: Mtu::DEFAULT,
        fwmark: None,
        addresses: BTreeSet::from(["10.77.0.11/16".parse()?]),
        peers: BTreeMap::from([(key(2).public(), peer(12)?)]),
        routes: BTreeSet::new(),
        routing: Routing::default(),
    };
    let own = desired.private_key.public();
    let mut host = Fake::new();

    let first = plan(&desired, &host.observe(&desired.name, &own)?);
    print!("Nothing is there yet:\n{first}");
    host.apply(&first)?;

    let again = plan(&desired, &host.observe(&desired.name, &own)?);
    ensure!(
        again.is_empty(),
        "applied, yet there is more to do: {again}"
    );
    println!("\nApplied; the same wish again: nothing to do.");

    desired.peers.insert(key(3).public(), peer(13)?);
    let second = plan(&desired, &host.observe(&desired.name, &own)?);
    print!("\nOne more peer touches one peer:\n{second}");
    host.apply(&second)?;

    // Somebody changes the interface behind our back: the next plan puts it right.
    host.tamper(&desired.name, |interface| {
        interface.peers.remove(&key(2).public());
    });
    let repair = plan(&desired, &host.observe(&desired.name, &own)?);
    print!("\nA peer was removed by hand:\n{repair}");
    host.apply(&repair)?;
    ensure!(plan(&desired, &host.observe(&desired.name, &own)?).is_empty());
    Ok(())
}
