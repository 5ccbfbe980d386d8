//! What members say that their clocks show: one voice a [line](crate::core::mesh::line), so that one person's many nodes
//! are one.

use std::collections::BTreeMap;

use crate::core::clock::{Offset, Voice};
use crate::core::mesh::line::Line;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaker {
    /// An owner, who is a line of its own.
    Owner,
    /// Somebody under a line.
    Under(Line),
    /// Somebody where all members stand under one line: a young network has no other.
    Alone,
}

/// The voices of those who speak. A line says what the middle of its members say, so that the many outweigh the few.
pub(crate) fn of(said: impl Iterator<Item = (Speaker, Offset)>) -> Vec<Voice> {
    let mut single = Vec::new();
    let mut by_line: BTreeMap<Line, Vec<Offset>> = BTreeMap::new();
    for (speaker, offset) in said {
        match speaker {
            Speaker::Owner => single.push(Voice::of_owner(offset)),
            Speaker::Alone => single.push(Voice::of_line(offset)),
            Speaker::Under(line) => by_line.entry(line).or_default().push(offset),
        }
    }
    let lines = by_line.into_values().filter_map(|mut said| {
        said.sort_unstable();
        said.get(said.len() / 2).copied().map(Voice::of_line)
    });
    single.into_iter().chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::NodeId;

    #[test]
    fn a_line_has_one_voice_and_an_owner_its_own() {
        let line = |n| Speaker::Under(Line::Invite(NodeId([n; 32])));
        let said = [
            (line(1), 900),
            (line(1), 0),
            (line(2), 5),
            (line(1), 2),
            (Speaker::Owner, 1),
            (Speaker::Alone, 7),
            (Speaker::Alone, 7),
        ];
        let expected = [
            Voice::of_owner(1),
            Voice::of_line(7),
            Voice::of_line(7),
            Voice::of_line(2),
            Voice::of_line(5),
        ];
        assert_eq!(of(said.into_iter()), expected);
    }
}
