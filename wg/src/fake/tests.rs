//! The back end in memory keeps the rules that the kernel keeps, and refuses what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use grid_keys::{Secret, WgSecretKey};

use super::*;
use crate::desired::{Desired, DesiredPeer};
use crate::mtu::Mtu;
use crate::plan::plan;
use crate::routing::Routing;

fn wish() -> Desired {
    let private_key = WgSecretKey::from_bytes(&Secret::new([1; 32]));
    let peer = WgSecretKey::from_bytes(&Secret::new([2; 32])).public();
    Desired {
        name: "wg0".parse().unwrap(),
        private_key,
        listen_port: 1,
        mtu: Mtu::DEFAULT,
        fwmark: Some(3),
        addresses: BTreeSet::from(["10.0.0.1/24".parse().unwrap()]),
        peers: BTreeMap::from([(peer, DesiredPeer::default())]),
        routes: BTreeSet::new(),
        routing: Routing::default(),
    }
}

#[test]
fn a_foreign_interface_is_refused_until_it_is_adopted() {
    let mut fake = Fake::new();
    let desired = wish();
    let first = plan(&desired, &Observed::default());
    fake.set_foreign(desired.name.clone(), "wireguard");
    let refused = |result: Result<(), Error>| {
        assert!(
            matches!(result, Err(Error::ForeignInterface { .. })),
            "{result:?}"
        );
    };
    refused(fake.observe(&desired.name, &first.own).map(drop));
    refused(fake.apply(&first).map(drop));
    refused(fake.remove(&desired.name, &first.own).map(drop));
    assert_eq!(fake.interface(&desired.name), None);
    fake.adopt(&desired.name).unwrap();
    let adopted = fake.observe(&desired.name, &first.own).unwrap();
    fake.apply(&plan(&desired, &adopted)).unwrap();
    assert_eq!(fake.interface(&desired.name).unwrap().peers.len(), 1);
    fake.set_foreign("eth0".parse().unwrap(), "device");
    refused(fake.adopt(&"eth0".parse().unwrap()));
}

#[test]
fn a_plan_that_fails_takes_back_the_interface_it_created() {
    let mut fake = Fake::new();
    let desired = wish();
    let first = plan(&desired, &Observed::default());
    fake.fail_after(3);
    let error = fake.apply(&first).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Apply {
                step: 4,
                rolled_back: true,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(matches!(error.root(), Error::Os { .. }));
    assert!(error.to_string().contains("nothing changed"), "{error}");
    assert_eq!(fake.interface(&desired.name), None);
    let report = fake.apply(&first).unwrap();
    assert!(report.created && report.peers_set == 1 && report.steps == first.steps.len());
}

#[test]
fn a_plan_for_an_interface_that_vanished_changes_nothing() {
    let mut fake = Fake::new();
    let mut desired = wish();
    fake.apply(&plan(&desired, &Observed::default())).unwrap();
    let own = desired.private_key.public();
    let observed = fake.observe(&desired.name, &own).unwrap();
    desired.listen_port = 2;
    fake.vanish(&desired.name);
    let result = fake.apply(&plan(&desired, &observed));
    assert!(
        matches!(result, Err(Error::InterfaceGone { .. })),
        "{result:?}"
    );
    assert!(
        !fake
            .remove(&desired.name, &desired.private_key.public())
            .unwrap()
    );
}

#[test]
fn rules_outlive_the_interface_and_go_with_its_removal() {
    let mut fake = Fake::new();
    let mut desired = wish();
    desired.routes = BTreeSet::from(["0.0.0.0/0".parse().unwrap()]);
    let own = desired.private_key.public();
    let first = plan(&desired, &Observed::default());
    fake.apply(&first).unwrap();
    fake.vanish(&desired.name);
    let left = fake.observe(&desired.name, &own).unwrap();
    assert_eq!((left.interface, left.rules.len()), (None, 2));
    // Nobody wants them any more, or everybody still does: the removal takes them.
    assert!(!fake.remove(&desired.name, &own).unwrap());
    assert_eq!(
        fake.observe(&desired.name, &own).unwrap(),
        Observed::default()
    );

    fake.fail_after(first.steps.len() - 1);
    fake.apply(&first).unwrap_err();
    assert_eq!(
        fake.observe(&desired.name, &own).unwrap(),
        Observed::default()
    );
}
