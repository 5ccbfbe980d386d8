//! Hints that name `grid` commands. Errors, reports and the log take them from here, so that the names of
//! commands stand in one place.
//!
//! Each hint is part of a sentence; the caller writes the rest.

mod libraries;

use std::fmt::Display;

use grid_promises::modules::ModuleName;
use grid_promises::network::name::NetworkName;
use grid_promises::texts;
use ipnet::IpNet;

use crate::home::SYSTEM_HOME;

pub use libraries::{
    asks_there, on_command, on_elsewhere, on_expulsion, on_invite, on_lack, on_wireguard,
    takes_changes_again,
};

/// The command that shows the state of this node.
pub const STATUS: &str = "`grid status`";
/// The command that runs this node.
pub const START_SERVER: &str = "`grid start-server`";

/// For a command line without a command.
#[must_use]
pub const fn lists_and_explains() -> &'static str {
    "`grid --list` lists them, `grid --help` explains them"
}

/// For a name that a build without modules does not have.
#[cfg(not(feature = "modules"))]
#[must_use]
pub const fn lists_the_promises() -> &'static str {
    "`grid --list` lists the promises"
}

/// The commands that a mistyped one may be, as a question. `None`: none is like it.
#[must_use]
pub fn suggests(mistyped: &str) -> Option<String> {
    /// How alike two names are, from 0 to 1, when one may be taken for the other.
    const ALIKE: f64 = 0.8;
    /// By how much less alike a name may be that is worth mentioning beside the most alike.
    const BESIDE: f64 = 0.05;
    /// No name is longer, in bytes.
    const LONGEST: usize = 40;
    if mistyped.len() > LONGEST {
        return None;
    }
    let likeness = |name| strsim::jaro_winkler(mistyped, name);
    let commands = || texts::commands().map(|promise| (likeness(promise.name), promise.name));
    let best = commands().map(|(likeness, _)| likeness).fold(0.0, f64::max);
    let names: Vec<String> = commands()
        .filter(|(likeness, _)| *likeness >= ALIKE && *likeness >= best - BESIDE)
        .map(|(_, name)| format!("`grid {name}`"))
        .collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

/// Where a server can be had from.
#[must_use]
pub const fn runs_a_server() -> &'static str {
    "`grid start-server` runs one in the foreground, `grid start-server --background` in the background"
}

/// For a user without a node, on a machine that has one.
#[must_use]
pub fn is_the_machines() -> String {
    format!("the machine's node is in {SYSTEM_HOME}: use sudo")
}

/// For a server of another version.
#[must_use]
pub const fn restart() -> &'static str {
    "restart it (`grid stop-server`, `grid start-server`)"
}

/// For a home that was made on another machine.
#[must_use]
pub const fn on_a_copy() -> &'static str {
    "`grid generate-keys --new` makes another node of a clone, which has to join its networks again; `grid generate-keys \
     --moved` takes over a restored backup or a moved disk, where the other machine is gone"
}

/// For a home whose key is gone.
#[must_use]
pub const fn replaces_the_key() -> &'static str {
    "copy the key from a backup; or make another node of this home with `grid generate-keys --new`, which has to be invited \
     to its networks again"
}

/// For a home that was made on this machine, whose key is to be replaced.
#[must_use]
pub const fn is_no_copy() -> &'static str {
    "if this machine is a clone itself, give it a machine id of its own first (`systemd-machine-id-setup`); after \
     `--moved` by mistake, `grid generate-keys --new --force` gives up the key all the same; for a second node here, \
     choose another --home"
}

/// For a home that another server holds.
#[must_use]
pub const fn stops_the_other_server() -> &'static str {
    "`grid stop-server` stops it, --home chooses another home"
}

/// For a network that is on disk and has no other members.
#[must_use]
pub const fn invites() -> &'static str {
    "`grid invite` prints an invite"
}

/// For an open network that is on disk and has no other members.
#[must_use]
pub fn joins_there(net: &str) -> String {
    format!(
        "a node runs `grid exchange-keys HOST:PORT` with this one, then `grid join-wireguard-net {net}`"
    )
}

/// For a network that was founded without a recovery key.
#[must_use]
pub const fn has_no_key_for_good() -> &'static str {
    "no key, and none can be made later: found with `--recovery-key FILE` if this network is to outlive this machine"
}

/// For a network that this node would join for the first time.
#[must_use]
pub fn invites_this_node(net: &str) -> String {
    format!(
        "`grid join-wireguard-net {net} -` joins with an invite, or with an admission where owners accept each node"
    )
}

/// For an invite that was made, by its whole id.
#[must_use]
pub fn shows_and_closes(net: &NetworkName, invite: &str, by_an_owner: bool) -> String {
    let id = invite.get(..10).unwrap_or(invite);
    let shows = format!("its id is {id}: `grid invites {net}` shows who came by it");
    if by_an_owner {
        return format!("{shows}, `grid close-invite {net} {id}` closes it");
    }
    // Owners hear of it only once somebody comes by it, and know no beginning of its id before.
    format!(
        "{shows}; an owner closes it on its own node: `grid close-invite {net} {invite}`, or `grid close-invite {net} -` \
         with the invite on standard input"
    )
}

/// For an invite to another network than the one that was named.
#[must_use]
pub fn closes_there(net: &NetworkName) -> String {
    format!("`grid close-invite {net} -` closes it on an owner's node")
}

/// That the list of invites lacks one.
#[must_use]
pub fn invites_lacks(net: &NetworkName) -> String {
    format!("`grid invites {net}` will lack an invite that nobody used yet")
}

/// For a network without a recovery key.
#[must_use]
pub const fn has_no_recovery_key() -> &'static str {
    "no recovery key: whoever loses the founder's key cannot replace it, and whoever steals it keeps the network; \
     `grid create-wireguard-net NET --recovery-key FILE` founds one that has a key"
}

/// For the file of a recovery key whose network may be there.
#[must_use]
pub fn key_is_kept(net: &NetworkName, whether: &str, file: impl Display) -> String {
    format!("{whether} (`grid status {net}` shows it); its recovery key is in {file}")
}

/// For a recovery key that was not shown, and whose network may be there.
#[must_use]
pub fn key_was_not_shown(net: &NetworkName, whether: &str) -> String {
    format!(
        "{whether}, and its recovery key was not shown; `grid leave-wireguard-net {net}` ends it, so that you can found it \
         again with `--replace`"
    )
}

/// For a network that this node left.
#[must_use]
pub fn joins_again(net: &NetworkName) -> String {
    format!("`grid join-wireguard-net {net}` joins it again")
}

/// For the name of a network that this node left, which is to be another's.
#[must_use]
pub fn replaces(net: &NetworkName) -> String {
    format!(
        "{}, `--replace` founds another of that name all the same",
        joins_again(net)
    )
}

/// For networks that this node left.
#[must_use]
pub const fn join_again() -> &'static str {
    "`grid join-wireguard-net NET` joins it again"
}

/// For a node that is in no network.
#[must_use]
pub const fn founds_or_joins() -> &'static str {
    "`grid create-wireguard-net NET` founds one, `grid join-wireguard-net NET -` joins one with an invite"
}

/// For a network whose interface cannot be made.
#[must_use]
pub fn ends(net: &NetworkName) -> String {
    format!("`grid leave-wireguard-net {net}` ends it")
}

/// For a network that put this node out.
#[must_use]
pub fn forgets(net: &str) -> String {
    format!("`grid leave-wireguard-net {net}` forgets the network")
}

/// For a network whose members do not answer.
#[must_use]
pub fn see_status_of(net: &NetworkName) -> String {
    format!("see `grid status {net}`")
}

/// For a network whose members are being looked for.
#[must_use]
pub fn shows_how_it_goes(net: &str) -> String {
    format!("`grid status {net}` shows how it goes")
}

/// For a network that this node is not in.
#[must_use]
pub const fn lists_those_it_is_in() -> &'static str {
    "`grid status` lists those it is in"
}

/// For a network that is not on disk.
#[must_use]
pub const fn lists_the_networks() -> &'static str {
    "`grid status` lists the networks"
}

/// For a network that has no WireGuard at present.
#[must_use]
pub const fn status_says_why() -> &'static str {
    "`grid status` says why"
}

/// For a node that asks an owner to be admitted, by its code or its id.
#[must_use]
pub fn admits(net: &str, node: &str) -> String {
    format!("`grid accept {net} {node}` admits it")
}

/// For a code that was accepted before its node asked.
#[must_use]
pub fn withdraws(net: &str, code: impl Display) -> String {
    format!("`grid reject {net} {code}` takes that back")
}

/// For a prefix that somebody promises.
#[must_use]
pub fn accepts_from(net: &NetworkName, prefix: &IpNet) -> String {
    format!("`grid accept {net} {prefix} --from NODE` (`grid status {net}` lists the nodes)")
}

/// For members that go with another.
#[must_use]
pub fn admits_again(net: &str) -> String {
    format!("`grid accept {net} NODE` admits one again")
}

/// For nodes that are members again.
#[must_use]
pub fn keeps_out(net: &str) -> String {
    format!("`grid revoke {net} NODE` keeps one out")
}

/// For an owner whose acts have two branches.
#[must_use]
pub fn are_branches(net: &str, node: &str, under_key: bool) -> String {
    let key = if under_key {
        ", or anywhere with `--recovery-key -`"
    } else {
        ""
    };
    format!(
        "two branches of its acts are known, as after a restored backup or a stolen key: `grid owners {net} --acts` lists \
         them, and `grid dismiss-owner {net} {node} --restate --dry-run` on an owner above it{key} says how that ends"
    )
}

/// For owners whose keys are lost or stolen.
#[must_use]
pub fn ends_an_owner(net: &NetworkName) -> String {
    format!("`grid dismiss-owner {net} NODE --recovery-key -` ends one that is lost or stolen")
}

/// For a node that stays a member.
#[must_use]
pub fn puts_out(net: &str, node: &str) -> String {
    format!("`grid revoke {net} {node}` puts it out")
}

/// For a node that has not heard of all that its invite names.
#[must_use]
pub fn awaits_acts(count: usize) -> String {
    let acts = if count == 1 { "act" } else { "acts" };
    format!(
        "{count} {acts} of owners that the invite names have not come in: who was put out by them may still be shown as a \
         member; they come from members, so wait, or ask for a newer invite"
    )
}

/// For members of whom nobody who counts has seen anything any longer.
#[must_use]
pub fn are_unseen(names: &str) -> String {
    format!(
        "until members have seen them again, somebody else could take their IPv4 addresses: {names}"
    )
}

/// For a clock that is wrong.
#[must_use]
pub const fn sets_the_clock() -> &'static str {
    "what this node signs carries the right time; set the clock, for example with `timedatectl set-ntp true`"
}

/// For an invite that stands where another argument belongs. It is a secret, so it is not quoted.
#[must_use]
pub const fn misplaced_invite() -> &'static str {
    "an invite is where another argument belongs; write `grid join-wireguard-net NET -` and give the invite on \
     standard input"
}

/// For a network whose judge does not speak.
#[must_use]
pub fn dismisses_the_judge(net: &NetworkName) -> String {
    format!("`grid appoint-judge {net} none` dismisses it")
}

/// For a decision that could not be written down.
#[must_use]
pub fn replay_lacks(net: &NetworkName) -> String {
    format!("`grid replay {net}` will lack this decision")
}

/// For a port that another program has.
#[must_use]
pub const fn listens_elsewhere() -> &'static str {
    "choose another port with `grid start-server --listen ADDR:PORT` or \"listen\" in the configuration"
}

/// For a peer that is not known.
#[must_use]
pub const fn makes_a_peer() -> &'static str {
    "`grid exchange-keys HOST:PORT` makes a node a peer"
}

/// For an object that is not in the store.
#[must_use]
pub const fn lists_the_objects() -> &'static str {
    "`grid cas ls` lists what is"
}

/// For a name that meant something else before.
#[must_use]
pub const fn shows_the_table_before() -> &'static str {
    "`grid symbols --history` shows the table before"
}

/// For a symbol table that is not in the store.
#[must_use]
pub const fn lists_the_tables() -> &'static str {
    "`grid symbols --history` lists those that are"
}

/// For a native executable.
#[must_use]
pub fn allows(name: impl Display) -> String {
    format!("`grid allow {name}` allows it")
}

/// For a name that a peer has for something else.
#[must_use]
pub fn takes_the_peers(peer: &str, name: &ModuleName) -> String {
    format!("`grid adopt-symbols {peer} {name} --replace` takes the peer's")
}

/// For a name that only a peer has.
#[must_use]
pub fn adopts(peer: &str, name: &str) -> String {
    format!(
        "`grid adopt-symbols {peer} {name}` adopts it, and `grid --show {name}` says what it promises"
    )
}

/// For a name that nobody has.
#[must_use]
pub const fn lists_names_or_adopts() -> &'static str {
    "`grid --help` lists the commands, `grid symbols` the names of modules, and `grid adopt-symbols PEER` takes those \
     of a peer"
}

/// For a promise that is not known.
#[must_use]
pub const fn lists_the_names_of_promises() -> &'static str {
    "`grid symbols` lists the names; you can also give a content id"
}

/// For a name that is not known.
#[must_use]
pub const fn lists_the_names() -> &'static str {
    "`grid symbols` lists the names"
}

/// For a module that is to be a judge, and is not known.
#[must_use]
pub fn lists_names_or_publishes(module: &str) -> String {
    format!("`grid symbols` lists those that are, `grid publish {module} FILE` makes one")
}

/// For a network whose judge was appointed.
#[must_use]
pub fn replay_shows(net: &NetworkName) -> String {
    format!("`grid replay {net}` shows what it decides")
}

/// The command that shows what a module promises.
#[must_use]
pub fn shows(name: impl Display) -> String {
    format!("`grid --show {name}`")
}

/// For a symbol table that the configuration names and nobody has.
#[must_use]
pub const fn goes_to_another_table() -> &'static str {
    "`grid symbols --back ID` goes to another one, and without the line `symbols` in the \
     configuration the built-in names remain"
}

/// For a full disk.
#[must_use]
pub const fn makes_room() -> &'static str {
    "make room (`grid cas gc`) and try again"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner knows no invite that nobody used, and no beginning of its id.
    #[test]
    fn who_is_no_owner_is_told_how_an_owner_closes_its_invite() {
        let (net, id) = ("foo".parse().unwrap(), "kewnh5o6gqabcdefgh");
        let own = shows_and_closes(&net, id, true);
        assert!(
            own.contains("`grid close-invite foo kewnh5o6gq` closes it"),
            "{own}"
        );
        let others = shows_and_closes(&net, id, false);
        assert!(!others.contains("close-invite foo kewnh5o6gq`"), "{others}");
        for command in [
            "`grid close-invite foo kewnh5o6gqabcdefgh`",
            "`grid close-invite foo -`",
        ] {
            assert!(others.contains(command), "{others}");
        }
    }
}
