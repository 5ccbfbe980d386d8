//! What happens besides: machines restart, networks split, keys are copied, the founder notices something.

use std::time::Duration;

use super::super::play::Play;
use super::super::stage::{self, FOUNDER, HONEST, OWNER, key};

pub fn restart(play: &mut Play) {
    let node = play.honest();
    play.world.kill(node);
    play.world.start(node);
}

/// Some honest machines reach one another no longer.
pub fn split(play: &mut Play) {
    let far = play.dice.below(1 << HONEST.len());
    play.world
        .partition(|node| u8::from(HONEST.contains(&node) && far >> node & 1 == 1));
}

pub fn heal(play: &mut Play) {
    play.world.partition(|_| 0);
}

/// The key and the disk of a machine run on another one.
pub fn copy(play: &mut Play) {
    if play.copy.is_some() || !play.dice.one_in(3) {
        return;
    }
    let honest = play.honest();
    let of = play
        .dice
        .one_in(2)
        .then_some(honest)
        .filter(|of| *of != FOUNDER && !play.truth.owner_acted);
    let disk = match of {
        Some(of) => play.world.nodes[of].disk.clone(),
        None => play.stage.disks[usize::from(stage::REVOKED)].clone(),
    };
    let n = of.unwrap_or(usize::from(stage::REVOKED));
    let machine = play.world.add_stopped(key(u16::try_from(n).unwrap()));
    play.world.nodes[machine].disk = disk;
    play.world.start(machine);
    play.copy = Some((machine, of));
}

/// The founder finds one of them out, and puts it out.
pub fn revoke(play: &mut Play) {
    let insiders = play.insiders();
    let known: Vec<u16> = insiders.into_iter().filter(|n| *n != OWNER).collect();
    if known.is_empty() || !play.dice.one_in(2) || play.world.nodes[FOUNDER].core.is_none() {
        return;
    }
    let node = key(play.dice.pick(&known)).id();
    play.wait(Duration::from_secs(1));
    if play
        .world
        .run_command(FOUNDER, stage::revoke(&node))
        .is_ok()
    {
        play.truth.revoked.insert(node);
    }
}

/// Nothing happens for long.
pub fn hour(play: &mut Play) {
    if !play.dice.one_in(12) {
        return;
    }
    for _ in 0..6 {
        play.wait(Duration::from_secs(600));
    }
}
