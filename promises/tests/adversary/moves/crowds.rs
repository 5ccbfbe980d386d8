//! Keys without number, let in by a member.

use grid_promises::network::admission::{Admission, Grant, Link};
use grid_promises::network::statement::Signed;

use super::super::common::{HOUR, Node, T0};
use super::super::play::Play;
use super::super::stage::{CLOSED, HONEST, OUTSIDERS, OWNER, REVOKED, SYBILS, key};
use super::super::truth::Way;

/// An invite.
struct Door {
    host: Node,
    /// The number of its key.
    invite: u16,
    grant: Signed<Grant>,
}

impl Door {
    fn way(&self) -> Way {
        Way::Guest {
            host: self.host.id(),
            invite: self.grant.invite,
        }
    }
}

/// An invite of one of the adversary's nodes, of now or of long ago.
fn open(play: &mut Play, n: u16, host: Node, uses: u32, is_old: bool) -> Door {
    play.invites += 1;
    let invite = play.invites;
    let mut body = play.net.grant_body(&host.id(), invite, uses);
    let now = play.now().timestamp();
    body.issued = if is_old { T0 } else { now };
    body.expires = body.issued.after(12 * HOUR);
    body.office = (n == OWNER).then(|| play.office());
    let grant = Signed::sign(body, &host.key).unwrap();
    Door {
        host,
        invite,
        grant,
    }
}

/// The promise of a node that comes in by an invite.
fn guest(play: &mut Play, door: &Door, n: u16) -> Node {
    let Door {
        host,
        invite,
        grant,
    } = door;
    let now = play.now().timestamp();
    let joined = if play.dice.one_in(3) {
        grant.issued
    } else {
        now
    };
    let link = Link {
        grant: grant.clone(),
        used: play.net.grant_use(*invite, &key(n).id(), joined),
        seen: None,
    };
    // What an owner lets in hangs on its office alone.
    let admission = if grant.office.is_some() {
        Admission::from_links(vec![link])
    } else {
        host.admission.extended(link)
    };
    let sequence = play.nodes.get(&n).map_or(0, |node| node.body.sequence);
    let claims = play.net.node(n, admission);
    claims.at(sequence + 1, now)
}

fn some_sybils(play: &mut Play) -> Vec<u16> {
    let most = SYBILS.len() as u64;
    let count = 1 + play.dice.below(6);
    (0..count)
        .map(|_| SYBILS.start + u16::try_from(play.dice.below(most)).unwrap())
        .collect()
}

/// A member, or one that it let in, lets in some, also more than the invite is for.
pub fn sybils(play: &mut Play) {
    let n = play.insider();
    let is_old = play.dice.one_in(3);
    let uses = u32::try_from(1 + play.dice.below(5)).unwrap();
    let_in(play, n, uses, is_old);
}

fn let_in(play: &mut Play, n: u16, uses: u32, is_old: bool) {
    let Some(host) = play.nodes.get(&n).cloned() else {
        return;
    };
    let door = open(play, n, host, uses, is_old);
    play.truth.made_invite(door.grant.invite, uses);
    let mut said = Vec::new();
    for guest_n in some_sybils(play) {
        let node = guest(play, &door, guest_n);
        let way = if n == OWNER { Way::Owner } else { door.way() };
        play.truth.let_in(node.id(), way);
        said.push(node.bytes());
        play.nodes.insert(guest_n, node);
    }
    play.spread(&said);
}

/// A revoked node made an invite before it was revoked, or says so; so does somebody who never was in.
pub fn dated_back(play: &mut Play) {
    let (n, host) = if play.dice.one_in(2) {
        (REVOKED, play.stage.member(REVOKED))
    } else {
        let n = OUTSIDERS.start;
        (n, play.net.node(n, Admission::default()))
    };
    let door = open(play, n, host, 9, true);
    let mut said = Vec::new();
    for guest_n in OUTSIDERS.skip(1) {
        let node = guest(play, &door, guest_n);
        // If a thief of an owner's key lets the host in, its guests are in.
        play.truth.let_in(node.id(), door.way());
        said.push(node.bytes());
    }
    play.spread(&said);
    push_as_outsiders(play, &said);
}

/// The invite that the revoked node came by has uses left.
pub fn closed(play: &mut Play) {
    let door = Door {
        host: play.net.founder(),
        invite: CLOSED,
        grant: play.net.grant(&key(0), CLOSED, 9),
    };
    let said: Vec<Vec<u8>> = OUTSIDERS
        .map(|guest_n| guest(play, &door, guest_n).bytes())
        .collect();
    play.spread(&said);
    push_as_outsiders(play, &said);
}

fn push_as_outsiders(play: &mut Play, said: &[Vec<u8>]) {
    for (n, to) in OUTSIDERS.zip(HONEST) {
        play.push(n, to, said);
    }
}

/// A member renews its promise many times.
pub fn renew(play: &mut Play) {
    let n = play.insider();
    let Some(node) = play.nodes.get(&n).cloned() else {
        return;
    };
    let now = play.now().timestamp();
    let count = play.dice.pick(&[5, 30]);
    let last = node.body.sequence;
    let said: Vec<Vec<u8>> = (1..=count)
        .map(|more| node.at(last.saturating_add(more), now).bytes())
        .collect();
    let to = play.honest();
    let at_once = play.dice.pick(&[1, 20]);
    for promise in said.chunks(at_once) {
        play.push(n, to, promise);
    }
    play.nodes
        .insert(n, node.at(last.saturating_add(count), now));
}
