//! A judge for a network in which gateways route subnets: it believes every member about its own
//! addresses, and a member called `gateway-...` about private subnets that are not connected here.
//!
//! A name proves nothing: whoever is let into the network can call itself so. This judge is for
//! networks whose members trust one another and make mistakes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use grid_guest::judge::{Member, Opinion, PROMISE, Prefix, Records};
use grid_guest::{Answer, Parms, Verdict};

grid_guest::promise! {
    name: "judge-gateways",
    promise: PROMISE,
    calls: [],
    pure: true,
    accept: accept,
    handle: handle,
}

/// The private networks: RFC 1918 and RFC 4193.
const PRIVATE: [Prefix; 4] = [
    v4(Ipv4Addr::new(10, 0, 0, 0), 8),
    v4(Ipv4Addr::new(172, 16, 0, 0), 12),
    v4(Ipv4Addr::new(192, 168, 0, 0), 16),
    Prefix {
        address: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)),
        length: 7,
    },
];

const fn v4(address: Ipv4Addr, length: u8) -> Prefix {
    Prefix {
        address: IpAddr::V4(address),
        length,
    }
}

fn accept(parms: &Parms<'_>) -> Verdict {
    if parms.args.is_empty() {
        Verdict::Accept
    } else {
        Verdict::Reject("a judge takes no arguments".into())
    }
}

fn handle(parms: &Parms<'_>, payload: &[u8]) -> Answer {
    // No records: what this answers is no judgement, and the node says so.
    let judgement = Records::decode(payload)
        .map(|records| records.judge(|member, prefix| think(&records, member, prefix)));
    Answer::to(parms).payload(judgement.unwrap_or_default())
}

fn think(records: &Records<'_>, member: &Member<'_>, prefix: &Prefix) -> Opinion {
    let no = |why: String| Opinion {
        accepts: false,
        why,
    };
    if member.is_own(prefix) {
        return Opinion {
            accepts: true,
            why: "an address of its own".into(),
        };
    }
    if !member.label.starts_with("gateway-") {
        return no("only gateways route subnets".into());
    }
    if !PRIVATE.iter().any(|private| private.contains(prefix)) {
        return no("not a private network".into());
    }
    match records.connected.iter().find(|here| here.overlaps(prefix)) {
        Some(here) => no(format!("{here} is connected here")),
        None => Opinion {
            accepts: true,
            why: format!("a private network behind {}", member.label),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_guest::judge::Ranges;

    fn member<'a>(label: &'a str, prefixes: &[Prefix]) -> Member<'a> {
        Member {
            node: &[1; 32],
            label,
            ipv4: v4(Ipv4Addr::new(10, 7, 0, 1), 32),
            ipv6: Prefix {
                address: IpAddr::V6(Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, 1)),
                length: 128,
            },
            held_by: None,
            prefixes: prefixes.to_vec(),
        }
    }

    #[test]
    fn it_believes_gateways_about_private_networks() {
        let ours = Ranges {
            network: &[],
            ipv4: v4(Ipv4Addr::new(10, 7, 0, 0), 16),
            ipv6: PRIVATE[3],
        };
        let records = Records {
            network: ours,
            own: &[9; 32],
            rules: vec![],
            connected: vec![v4(Ipv4Addr::new(192, 168, 1, 0), 24)],
            others: vec![],
            members: vec![],
        };
        let subnet = v4(Ipv4Addr::new(192, 168, 7, 0), 24);
        let public = v4(Ipv4Addr::new(198, 51, 100, 0), 24);
        let (gateway, box_) = (member("gateway-1", &[subnet]), member("box", &[subnet]));
        let says = |member: &Member<'_>, prefix: &Prefix| think(&records, member, prefix);
        assert!(says(&gateway, &subnet).accepts);
        assert!(says(&box_, &box_.ipv4).accepts && says(&box_, &box_.ipv6).accepts);
        for (member, prefix, why) in [
            (&box_, subnet, "only gateways"),
            (&gateway, public, "not a private"),
            (&gateway, records.connected[0], "connected here"),
        ] {
            let opinion = says(member, &prefix);
            assert!(
                !opinion.accepts && opinion.why.contains(why),
                "{}",
                opinion.why
            );
        }
    }
}
