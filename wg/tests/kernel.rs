//! The kernel back end for real, where the kernel has WireGuard: every test says SKIPPED
//! elsewhere. With a user-mode kernel or in a virtual machine they run on any host.

// What fails here fails a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use std::net::UdpSocket;

use common::{in_namespace, ip, key, requirements, wg, wish};
use common::{netns, routing, scenarios};
use grid_wg::ownership::GROUP;
use grid_wg::{Backend, BackendChoice, BackendKind, Error, Observed, Place, open, plan, preflight};

const CHOICE: BackendChoice = BackendChoice::Kernel;

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

macro_rules! or_skip {
    () => {
        if let Some(reason) = missing() {
            common::skipped(&reason);
            return;
        }
    };
}

/// Runs where there is no WireGuard in the kernel, and only there.
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

#[test]
fn a_plan_comes_true_and_leaves_nothing_to_do() {
    or_skip!();
    in_namespace(|| common::comes_true(&mut *backend(), BackendKind::Kernel));
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
        let theirs = wish("theirs1", 1);
        backend()
            .apply(&plan(&theirs, &Observed::default()))
            .unwrap();
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
        // From now on the key proves it.
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
        // What is left when we are stopped after the first message of the first plan.
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
        assert!(
            second
                .remove(&desired.name, &desired.private_key.public())
                .unwrap()
        );
        assert_eq!(common::link_index("stay0"), None);
    });
}

#[test]
fn a_port_in_use_is_an_error_and_nothing_changes() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let mut desired = wish("port0", 1);
        let held = UdpSocket::bind("[::]:0").unwrap();
        desired.listen_port = held.local_addr().unwrap().port();
        let error = backend
            .apply(&plan(&desired, &Observed::default()))
            .unwrap_err();
        assert!(matches!(error.root(), Error::PortInUse { .. }), "{error}");
        assert!(
            matches!(
                error,
                Error::Apply {
                    rolled_back: true,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(common::link_index("port0"), None);
    });
}

#[test]
fn an_interface_that_vanishes_meanwhile_is_told() {
    or_skip!();
    in_namespace(|| {
        let mut backend = backend();
        let mut desired = wish("gone0", 1);
        common::reconcile(&mut *backend, &desired);
        let own = desired.private_key.public();
        let observed = backend.observe(&desired.name, &own).unwrap();
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

/// Both ends in the kernel, and one end in each: the two back ends speak one protocol.
macro_rules! scenarios {
    ($($module:ident::$name:ident, $mixed:ident);* $(;)?) => {
        $(#[test]
        fn $name() {
            or_skip!();
            $module::$name((CHOICE, CHOICE));
        }

        #[test]
        fn $mixed() {
            or_skip!();
            $module::$name((CHOICE, BackendChoice::Userspace));
            $module::$name((BackendChoice::Userspace, CHOICE));
        })*
    };
}

scenarios! {
    scenarios::a_keepalive_builds_the_session, a_keepalive_builds_the_session_mixed;
    scenarios::two_sites_talk_through_the_tunnel, two_sites_talk_through_the_tunnel_mixed;
    scenarios::a_changed_peer_leaves_the_other_session_alone, a_changed_peer_leaves_the_other_session_alone_mixed;
    scenarios::a_new_preshared_key_on_both_ends_works, a_new_preshared_key_on_both_ends_works_mixed;
    scenarios::a_wrong_preshared_key_lets_nothing_through, a_wrong_preshared_key_lets_nothing_through_mixed;
    scenarios::an_inner_source_that_is_not_the_peers_is_dropped, an_inner_source_that_is_not_the_peers_is_dropped_mixed;
    scenarios::an_endpoint_follows_the_peer, an_endpoint_follows_the_peer_mixed;
    scenarios::garbage_on_the_port_harms_nothing, garbage_on_the_port_harms_nothing_mixed;
    scenarios::bulk_traffic_passes, bulk_traffic_passes_mixed;
    routing::the_tunnels_own_packets_do_not_loop, the_tunnels_own_packets_do_not_loop_mixed;
    netns::two_namespaces_talk_through_the_tunnel, two_namespaces_talk_through_the_tunnel_mixed;
}

#[test]
#[ignore = "takes an hour, or some seconds in a kernel with simulated time"]
fn an_hour_of_keepalives_mixed() {
    or_skip!();
    scenarios::an_hour_of_keepalives((CHOICE, BackendChoice::Userspace));
}
