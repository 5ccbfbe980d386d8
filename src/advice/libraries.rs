//! What a person can do about an error of the libraries, which say what happened and why, and know no
//! commands.

use grid_keys::NodeId;
use grid_promises::core::error::Unacceptable;
use grid_promises::core::{CommandError, Elsewhere, Expulsion};
use grid_promises::network::AdmissionRule;
use grid_promises::network::invite::InviteError;
use grid_promises::network::name::NetworkName;
use grid_wg::Error as WireguardError;

use crate::values::moment;
use crate::values::units::span;

/// Why a command was not carried out, and what to do about it.
#[must_use]
pub fn on_command(error: &CommandError) -> String {
    match error {
        CommandError::NoSuchNetwork(_) => format!("{error}; `grid status` lists those it is in"),
        CommandError::NameTaken(name) => format!(
            "{error}; `grid status {name}` shows it, `grid leave-wireguard-net {name}` leaves it"
        ),
        CommandError::Oneself(name) => {
            format!("{error}; `grid leave-wireguard-net {name}` leaves the network")
        }
        CommandError::IsAnOwner {
            name,
            node,
            under_key,
        } => {
            let node = node.short();
            let with_key = if *under_key {
                ", and with `--recovery-key -` wherever it is"
            } else {
                ""
            };
            format!(
                "{error}; `grid dismiss-owner {name} {node}` does that, if it is below this node{with_key}"
            )
        }
        CommandError::NotSenior {
            under_key: true, ..
        } => format!("{error}; the recovery key is above it: add `--recovery-key -`"),
        CommandError::OnlyOwner { name, .. } => format!(
            "{error}; `grid appoint-owner {name} NODE` makes another one, `--force` leaves all the same"
        ),
        CommandError::PutOut { name, node, why } => match helps(*why) {
            Help::OtherInvite(but_for) => format!("{why}; {}", lets_in(but_for)),
            _ => on_expulsion(name, node, *why),
        },
        CommandError::NoInvites(name) => format!("{error}; {}", asks_there(name.as_str())),
        CommandError::NoApproval { name, .. } => {
            format!("{error}; `grid invite {name}` prints an invite")
        }
        CommandError::WasNotPutOut { name, rule, .. } if *rule == AdmissionRule::Invite => {
            format!("{error}; `grid invite {name}` prints one")
        }
        CommandError::NoRecoveryKey(name)
        | CommandError::NotSenior { name, .. }
        | CommandError::IsNoOwner { name, .. } => {
            format!("{error}; `grid owners {name}` shows who is")
        }
        CommandError::LosesActs { name, .. } => format!(
            "{error}; `--restate` does them once more as this node, `--up-to ACT` names the last one that counts (`grid \
             owners {name} --acts` lists them), `--void-all` makes all void"
        ),
        CommandError::NoSuchAct { name, .. } => {
            format!("{error}; `grid owners {name} --acts` lists them")
        }
        CommandError::NoSuchInvite { name, .. } => format!(
            "{error}; `grid invites {name}` lists those. One of another member that nobody used yet takes its whole id, or \
             the invite itself: `grid close-invite {name} -`"
        ),
        CommandError::AmbiguousInvite { name, .. } => {
            format!("{error}; `grid invites {name}` lists those that this node knows")
        }
        CommandError::Invite(invite) => on_invite(invite),
        CommandError::NobodyHasIt(name) => format!(
            "{error}; ask a member for an invite and run `grid join-wireguard-net {name} -`"
        ),
        CommandError::NoPeers(name) => format!(
            "{error}; give an invite (`grid join-wireguard-net {name} -`) or make a node a peer \
             (`grid exchange-keys HOST:PORT`)"
        ),
        CommandError::NobodyAnswered(name) => format!(
            "{error} (`grid status {name}` shows how it goes, `grid leave-wireguard-net {name}` ends \
             it)"
        ),
        CommandError::WaitsForOwner { name, code, .. } => {
            format!("{error}; `grid accept {name} {code}` on an owner's node admits it")
        }
        CommandError::NeedsKey(_) => {
            format!("{error} (`grid generate-keys` on its machine prints it)")
        }
        CommandError::NotAMember(name) => format!("{error}; `grid status {name}` says why"),
        CommandError::NoSuchNode { name, .. } => {
            format!("{error}; `grid status {name}` lists them")
        }
        CommandError::PublicRange { .. } => {
            format!("{error}; `--allow-public` takes it all the same")
        }
        CommandError::Unwritable(_) => {
            format!("{error}; {}", takes_changes_again())
        }
        CommandError::NoEndpoint => format!("{error}; name one with `--endpoint HOST:PORT`"),
        CommandError::CannotAccept {
            why: Unacceptable::FromEverybody,
            ..
        } => format!("{error} (`--from NODE`)"),
        _ => error.to_string(),
    }
}

/// Why this node is no longer a member, and what an owner can do about it.
#[must_use]
pub fn on_expulsion(net: &NetworkName, node: &NodeId, why: Expulsion) -> String {
    let accept = format!("`grid accept {net} {}`", node.short());
    match helps(why) {
        Help::ByName => {
            format!("{why}; no invite changes that: an owner admits it again with {accept}")
        }
        Help::OtherInvite(but_for) => format!(
            "{why}; an owner admits it again with {accept}, and once `grid leave-wireguard-net {net}` was run here, {}",
            lets_in(but_for)
        ),
        Help::Waiting => {
            format!("{why}; it asks now and then, and is in by itself once there is room")
        }
        Help::Unknown => why.to_string(),
    }
}

/// What lets a node in again.
enum Help {
    /// An owner who admits it by name, and nothing else: it is out by its own key.
    ByName,
    /// A new invite, of anybody but this node and those that came by it.
    OtherInvite(Option<NodeId>),
    /// It asks by itself.
    Waiting,
    Unknown,
}

const fn helps(why: Expulsion) -> Help {
    match why {
        Expulsion::Revoked | Expulsion::Dismissed => Help::ByName,
        Expulsion::RevokedWith(node) | Expulsion::DismissedWith(node) => {
            Help::OtherInvite(Some(node))
        }
        Expulsion::InviteClosed | Expulsion::OfficeEnded => Help::OtherInvite(None),
        Expulsion::NoRoom => Help::Waiting,
        Expulsion::NotAdmitted | Expulsion::InviteSpent | Expulsion::InviteExpired => Help::Unknown,
    }
}

fn lets_in(but_for: Option<NodeId>) -> String {
    match but_for {
        Some(node) => format!(
            "a new invite lets it in, of a member that did not come by {}",
            node.short()
        ),
        None => "a new invite lets it in".to_owned(),
    }
}

/// How a node joins a network whose owners accept each node.
#[must_use]
pub fn asks_there(net: &str) -> String {
    format!(
        "a node runs `grid exchange-keys HOST:PORT` with a member, then `grid join-wireguard-net {net}`, which shows its \
         code, and an owner runs `grid accept {net} CODE`"
    )
}

/// For a home that takes no changes.
#[must_use]
pub const fn takes_changes_again() -> &'static str {
    "make room on its disk or make it writable. Tunnels stay up meanwhile, and the server goes on by itself"
}

/// That another machine uses this node's key, and what to do about it.
#[must_use]
pub fn on_elsewhere(elsewhere: &Elsewhere) -> String {
    let at = match elsewhere.endpoints.as_slice() {
        [] => "an address of this node's own".to_owned(),
        some => some
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let is_last = if elsewhere.is_last {
        "; it has used up the numbers of this node's promises, so that this key promises nothing new"
    } else {
        ""
    };
    format!(
        "another machine uses this node's key: seen at {at}{is_last}; stop one of them, and make another node of the \
         clone with `grid generate-keys --new`"
    )
}

/// That statements which were written down may be missing, why, and what that comes to.
#[must_use]
pub fn on_lack(net: &NetworkName, is_owner: bool, why: &str) -> String {
    if is_owner {
        format!(
            "{why}; members have what others said. What this node did last as an owner may be missing where none of them \
             heard of it: `grid owners {net} --acts` lists what is known; do again what is not"
        )
    } else {
        format!("{why}; what others said is had again from the members")
    }
}

/// Why an invite cannot be used, and what to do about it.
#[must_use]
pub fn on_invite(error: &InviteError) -> String {
    let today = moment::format(moment::now());
    let today = today.split('T').next().unwrap_or_default();
    match error {
        InviteError::Empty => format!("{error}; `grid invite NET` on a member prints one"),
        InviteError::OtherNetwork { invited, .. } => {
            format!("{error}; run `grid join-wireguard-net {invited} -`")
        }
        InviteError::Expired { ago } => format!(
            "the invite expired {} ago by this machine's clock ({today}); if that is right, ask for a new one",
            span(*ago)
        ),
        InviteError::Future { ahead } => format!(
            "the invite was made {} in the future by this machine's clock ({today}); set the clock",
            span(*ahead)
        ),
        _ => error.to_string(),
    }
}

/// Why an interface is not as it should be, and what to do about it.
#[must_use]
pub fn on_wireguard(error: &WireguardError) -> String {
    match error.root() {
        WireguardError::ForeignInterface { kind, .. } if kind == "wireguard" => {
            format!("{error}; --adopt takes it over")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_follows_what_happened() {
        let name = || "foo".parse().unwrap();
        let hinted = [
            (
                CommandError::NoSuchNetwork(name()),
                "this node is not in a network \"foo\"; `grid status` lists those it is in",
            ),
            (
                CommandError::NameTaken(name()),
                "this node is already in a network \"foo\"; `grid status foo` shows it, `grid \
                 leave-wireguard-net foo` leaves it",
            ),
            (
                CommandError::Oneself(name()),
                "that is this node; `grid leave-wireguard-net foo` leaves the network",
            ),
            (
                CommandError::Invite(InviteError::Empty),
                "the invite is empty; `grid invite NET` on a member prints one",
            ),
            (
                CommandError::CannotAccept {
                    prefix: "192.0.2.0/24".parse().unwrap(),
                    why: Unacceptable::FromEverybody,
                },
                "a rule cannot accept 192.0.2.0/24: a rule accepts from one node (`--from NODE`)",
            ),
            (
                CommandError::NobodyAnswered(name()),
                "no member of \"foo\" answered in time; this node has claimed an address and keeps \
                 trying in the background (`grid status foo` shows how it goes, `grid \
                 leave-wireguard-net foo` ends it)",
            ),
        ];
        for (error, text) in hinted {
            assert_eq!(on_command(&error), text);
        }
    }

    #[test]
    fn no_invite_helps_those_alone_who_are_out_by_their_own_keys() {
        let (own, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let name: NetworkName = "foo".parse().unwrap();
        let on = |why| {
            let (name, node) = (name.clone(), own);
            let status = on_expulsion(&name, &own, why);
            [
                status,
                on_command(&CommandError::PutOut { name, node, why }),
            ]
        };
        for why in [Expulsion::Revoked, Expulsion::Dismissed] {
            for text in on(why) {
                assert!(text.contains("no invite changes that"), "{text}");
            }
        }
        for why in [
            Expulsion::RevokedWith(other),
            Expulsion::DismissedWith(other),
            Expulsion::InviteClosed,
        ] {
            let [status, joining] = on(why);
            for text in [&status, &joining] {
                assert!(!text.contains("no invite changes that"), "{text}");
                assert!(text.contains("a new invite lets it in"), "{text}");
            }
            // Who is no member yet is in no network to leave, and no owner knows it.
            assert!(
                status.contains("`grid leave-wireguard-net foo`"),
                "{status}"
            );
            assert!(!joining.contains("`grid"), "{joining}");
        }
        let with = on(Expulsion::RevokedWith(other)).concat();
        assert!(
            with.contains(&format!("did not come by {}", other.short())),
            "{with}"
        );
    }

    #[test]
    fn an_invite_that_is_not_known_can_be_handed_over() {
        let error = CommandError::NoSuchInvite {
            name: "foo".parse().unwrap(),
            invite: "abcd".to_owned(),
        };
        let text = on_command(&error);
        assert!(
            text.contains("takes its whole id, or the invite itself: `grid close-invite foo -`"),
            "{text}"
        );
    }

    #[test]
    fn where_there_is_no_hint_the_error_stands_alone() {
        let error = CommandError::InviteSpent;
        assert_eq!(on_command(&error), error.to_string());
    }
}
