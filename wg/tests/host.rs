//! How a host is set up to handle packets, in real namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod common;

use common::{add_veth_pair, in_namespace, ip, requirements as missing};
use grid_wg::Place;
use grid_wg::host::{Forwarding, forwards, strict_reverse_path};

fn set(file: &str, value: u8) {
    std::fs::write(format!("/proc/sys/net/{file}"), value.to_string()).unwrap();
}

#[test]
fn a_strict_reverse_path_filter_is_found() {
    or_skip!();
    in_namespace(|| {
        // sysctl would take the dot in the second name for a slash.
        add_veth_pair("lan0", "lan0.7");
        let lan = "lan0".parse().unwrap();
        for file in ["all", "default", "lo", "lan0", "lan0.7"] {
            set(&format!("ipv4/conf/{file}/rp_filter"), 0);
        }
        let strict = |except: &[_]| {
            let mut names = strict_reverse_path(except).unwrap();
            names.sort();
            names
        };
        set("ipv4/conf/lan0/rp_filter", 1);
        assert!(strict(&[]).is_empty(), "it is down");
        ip(&["link", "set", "lan0", "up"]);
        ip(&["link", "set", "lan0.7", "up"]);
        assert_eq!(strict(&[]), ["lan0"]);
        assert!(strict(std::slice::from_ref(&lan)).is_empty());
        // The larger of the two counts; loopback never does.
        set("ipv4/conf/all/rp_filter", 1);
        assert_eq!(strict(&[]), ["lan0", "lan0.7"]);
        assert_eq!(strict(&[lan]), ["lan0.7"]);
        set("ipv4/conf/all/rp_filter", 2);
        assert!(strict(&[]).is_empty());
    });
}

#[test]
fn forwarding_is_that_of_the_place() {
    or_skip!();
    in_namespace(|| {
        ip(&["netns", "add", "blue"]);
        let blue = Place::in_netns("blue".parse().unwrap());
        let inside = |ipv4: u8, ipv6: u8| {
            let files = "/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";
            let set = "echo $1 > $3; echo $2 > $4";
            let script = format!("set -eu -- {ipv4} {ipv6} {files}; {set}");
            ip(&["netns", "exec", "blue", "sh", "-c", &script]);
        };
        for (v4, v6) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            set("ipv4/ip_forward", v4);
            set("ipv6/conf/all/forwarding", v6);
            inside(1 - v4, 1 - v6);
            let (ipv4, ipv6) = (v4 == 1, v6 == 1);
            assert_eq!(
                forwards(&Place::default()).unwrap(),
                Forwarding { ipv4, ipv6 }
            );
            let (ipv4, ipv6) = (!ipv4, !ipv6);
            assert_eq!(forwards(&blue).unwrap(), Forwarding { ipv4, ipv6 });
        }
    });
}
