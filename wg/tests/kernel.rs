//! The kernel back end for real, where the kernel has WireGuard; elsewhere every test says SKIPPED. In
//! a user-mode kernel or a virtual machine they run on any host.

// A failure here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use common::{in_namespace, ip, key, requirements, wg, wish};
use common::{netns, routing, scenarios};
use grid_wg::ownership::GROUP;
use grid_wg::{Backend, BackendChoice, BackendKind, Error, Place, open, plan, preflight};

const CHOICE: BackendChoice = BackendChoice::Kernel;
const KIND: BackendKind = BackendKind::Kernel;

fn backend() -> Box<dyn Backend> {
    open(CHOICE, &Place::default()).unwrap()
}

/// Why these tests cannot run here, if they cannot.
fn missing() -> Option<String> {
    match preflight(CHOICE, &Place::default()) {
        Ok(_) => requirements(),
        Err(error @ (Error::KernelLacksWireGuard | Error::NoNetAdmin)) => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// Runs only where the kernel has no WireGuard.
#[test]
fn a_kernel_without_wireguard_is_told_apart() {
    match preflight(CHOICE, &Place::default()) {
        Err(Error::KernelLacksWireGuard) => {
            assert!(matches!(
                open(CHOICE, &Place::default()).map(drop),
                Err(Error::KernelLacksWireGuard)
            ));
            let auto = preflight(BackendChoice::Auto, &Place::default());
            assert!(matches!(
                auto,
                Ok(BackendKind::Userspace) | Err(Error::NoTun(_))
            ));
        }
        _ => common::skipped("this kernel has WireGuard, or this user may not ask for it"),
    }
}

#[test]
fn auto_takes_the_kernel() {
    or_skip!();
    assert_eq!(
        preflight(BackendChoice::Auto, &Place::default()).unwrap(),
        BackendKind::Kernel
    );
}

shared_tests!();

#[test]
fn a_foreign_interface_is_left_alone_until_it_is_adopted() {
    or_skip!();
    in_namespace(|| {
        common::add_veth("theirs0");
        common::refuses_foreign(&mut *backend(), "theirs0", "veth");
        let veth = "theirs0".parse().unwrap();
        assert!(matches!(
            backend().adopt(&veth),
            Err(Error::ForeignInterface { .. })
        ));
        // WireGuard, but with another key: another server on this host.
        common::create(&mut *backend(), &wish("theirs1", 1)).unwrap();
        common::refuses_foreign(&mut *backend(), "theirs1", "wireguard");
        // WireGuard without a key, made by hand.
        ip(&["link", "add", "theirs2", "type", "wireguard"]);
        common::refuses_foreign(&mut *backend(), "theirs2", "wireguard");
        let mut ours = backend();
        let mut desired = wish("theirs2", 66);
        desired.listen_port += 1;
        desired.routes.remove(&common::net("192.168.66.0/24"));
        ours.adopt(&desired.name).unwrap();
        let steps = common::reconcile(&mut *ours, &desired);
        assert!(!steps.is_empty());
        // From now on the key proves that it is ours.
        assert!(common::reconcile(&mut *backend(), &desired).is_empty());
        assert!(matches!(
            ours.adopt(&"none0".parse().unwrap()),
            Err(Error::InterfaceGone { .. })
        ));
    });
}

#[test]
fn an_interface_without_a_key_is_ours_if_it_has_our_mark() {
    or_skip!();
    in_namespace(|| {
        // What we leave behind if we are killed after the first message of the first plan.
        let group = GROUP.to_string();
        ip(&["link", "add", "half0", "group", &group, "type", "wireguard"]);
        let desired = wish("half0", 1);
        assert!(!common::reconcile(&mut *backend(), &desired).is_empty());
    });
}

#[test]
fn a_restart_finds_everything_as_it_was() {
    or_skip!();
    in_namespace(|| {
        let desired = wish("stay0", 1);
        let mut first = backend();
        common::reconcile(&mut *first, &desired);
        drop(first);
        let mut second = backend();
        assert!(common::reconcile(&mut *second, &desired).is_empty());
        assert!(common::remove(&mut *second, &desired));
        assert_eq!(common::link_index("stay0"), None);
    });
}

#[test]
fn an_interface_that_vanishes_meanwhile_is_told() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let mut desired = wish("gone0", 1);
        common::reconcile(&mut *backend, &desired);
        let observed = common::observe(&mut *backend, &desired);
        desired.fwmark = None;
        common::delete_link("gone0");
        let result = backend.apply(&plan(&desired, &observed));
        assert!(
            matches!(result, Err(Error::InterfaceGone { .. })),
            "{result:?}"
        );
        common::reconcile(&mut *backend, &desired);
    });
}

#[test]
fn wg_shows_the_interface() {
    or_skip!();
    in_namespace(|| {
        let desired = wish("show0", 1);
        common::reconcile(&mut *backend(), &desired);
        let Some(shown) = wg(&["show", "show0"]) else {
            common::skipped("there is no wg on this machine");
            return;
        };
        assert!(
            shown.contains(&format!("public key: {}", key(1).public())),
            "{shown}"
        );
        assert_eq!(
            shown.matches("preshared key: (hidden)").count(),
            2,
            "{shown}"
        );
        assert!(shown.contains("192.168.66.0/24"), "{shown}");
    });
}

two_site_tests!((CHOICE, CHOICE));

/// One end in the kernel and one in userspace: both back ends speak the same protocol.
mod mixed {
    use super::*;

    two_site_tests!(
        (CHOICE, BackendChoice::Userspace),
        (BackendChoice::Userspace, CHOICE),
    );
}

#[test]
#[ignore = "takes an hour, or some seconds in a kernel with simulated time"]
fn an_hour_of_keepalives_mixed() {
    or_skip!();
    scenarios::an_hour_of_keepalives((CHOICE, BackendChoice::Userspace));
}
