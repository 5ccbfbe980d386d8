//! What only owners may do: by nobody, and by a thief of an owner's key.

use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::admission::{Admission, Grant};
use grid_promises::network::statement::Signed;

use super::super::common::{forge, sorted};
use super::super::play::Play;
use super::super::stage::{HONEST, MEMBER, OUTSIDERS, OWNER, REVOKED, key};
use super::super::truth::Way;
use super::noise::anybody;

/// Something that an owner can do to others, and whom it lets in.
fn action(play: &mut Play) -> (Action, Vec<u16>) {
    let honest = key(u16::try_from(play.honest()).unwrap()).id();
    match play.dice.below(7) {
        0 | 1 => (Action::Revoke { node: honest }, vec![]),
        2 => {
            let named = vec![REVOKED, OUTSIDERS.start, MEMBER];
            let nodes: Vec<_> = named.iter().map(|n| key(*n).id()).collect();
            let admit = Action::Admit {
                nodes: sorted(&nodes),
                over: vec![],
            };
            (admit, named)
        }
        3 => (
            Action::Appoint {
                node: key(MEMBER).id(),
            },
            vec![MEMBER],
        ),
        4 => {
            let office = OfficeId::founding(&play.id(), &key(0).id());
            let dismiss = Action::Dismiss {
                office,
                cut: office.0,
                heir: Some(key(OWNER).id()),
            };
            (dismiss, vec![])
        }
        _ => {
            let honest = &play.stage.honest;
            let of = play.dice.index(honest.len());
            let links = &play.stage.honest[of].promise.admission;
            let grant = links
                .first()
                .and_then(|link| Signed::<Grant>::decode(&link.grant).ok());
            let invite = grant.map_or_else(|| key(1000).id(), |grant| grant.invite);
            let close = Action::Close {
                invite,
                before: play.stage.net.charter.created,
                keep: vec![],
            };
            (close, vec![])
        }
    }
}

fn act(play: &Play, (number, previous): (u32, ActId), action: Action) -> Act {
    Act {
        network: play.id(),
        owner: key(OWNER).id(),
        office: play.office(),
        number: number + 1,
        previous,
        action,
        issued: play.now().timestamp(),
    }
}

/// The thief does something, after what it did before.
fn go_on(play: &mut Play) -> Vec<u8> {
    let (action, named) = action(play);
    for n in named {
        play.truth.let_in(key(n).id(), Way::Owner);
        let new = || play.net.node(n, Admission::default());
        play.nodes.entry(n).or_insert_with(new);
    }
    play.truth.owner_acted = true;
    let act = act(play, play.tip, action);
    play.tip = (act.number, act.act_id());
    forge(&act, &key(OWNER))
}

/// Acts by an office that the signer does not have, or that there is not.
pub fn by_nobody(play: &mut Play) {
    let n = anybody(play);
    let (action, _) = action(play);
    let office = match play.dice.below(3) {
        0 => OfficeId::founding(&play.id(), &key(0).id()),
        1 => play.office(),
        _ => OfficeId(ActId([7; 32])),
    };
    let owner = if play.dice.one_in(2) {
        key(n).id()
    } else {
        key(0).id()
    };
    // What a thief of that key signs with it is another move.
    if owner == key(OWNER).id() && office == play.office() {
        return;
    }
    let body = Act {
        office,
        owner,
        previous: office.0,
        ..act(play, (0, office.0), action)
    };
    let said = [forge(&body, &key(n))];
    for to in HONEST {
        play.push(n, to, &said);
    }
}

/// Whether the thief may act in this run. Not where the key of an honest node was copied: who is put out calls nobody, and
/// the others look for it where the copy was.
fn may_steal(play: &Play) -> bool {
    play.copy.is_none_or(|(_, of)| of.is_none())
}

/// Whoever stole an owner's key does what it can.
pub fn by_thief(play: &mut Play) {
    if !may_steal(play) || !play.dice.one_in(3) {
        return;
    }
    let count = 1 + play.dice.below(3);
    let said: Vec<Vec<u8>> = (0..count).map(|_| go_on(play)).collect();
    play.spread(&said);
}

/// Two acts after one.
pub fn fork(play: &mut Play) {
    if !may_steal(play) || !play.dice.one_in(3) {
        return;
    }
    let before = play.tip;
    let one = go_on(play);
    play.tip = before;
    let other = go_on(play);
    play.spread(&[one]);
    play.spread(&[other]);
}

/// Very many.
pub fn flood(play: &mut Play) {
    if !may_steal(play) || !play.dice.one_in(6) {
        return;
    }
    let count = play.dice.pick(&[20, 60]);
    let said: Vec<Vec<u8>> = (0..count).map(|_| go_on(play)).collect();
    play.spread(&said);
}
