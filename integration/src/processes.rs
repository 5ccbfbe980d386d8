//! The process table, as `/proc` shows it.

use std::fs;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    parent: u32,
    /// Its command line, first the program.
    pub(crate) arguments: Vec<String>,
}

#[cfg(test)]
impl Process {
    /// A process that does not exist.
    pub(crate) fn new(arguments: Vec<String>) -> Self {
        Self {
            id: 0,
            parent: 0,
            arguments,
        }
    }
}

/// All processes that descend from `root`, without it.
pub(crate) fn descendants(root: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    below(root, ids.filter_map(read).collect())
}

fn read(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // State and parent follow the name, which may hold anything.
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0);
    Some(Process {
        id,
        parent,
        arguments: words
            .map(|word| String::from_utf8_lossy(word).into())
            .collect(),
    })
}

fn below(root: u32, mut others: Vec<Process>) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    loop {
        let is_below = |process: &Process| {
            process.parent == root || found.iter().any(|known| known.id == process.parent)
        };
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_below);
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        others = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_are_descendants_and_nobody_else() {
        let process = |(id, parent)| Process {
            id,
            parent,
            arguments: Vec::new(),
        };
        let all = [(9, 7), (7, 5), (5, 1), (6, 1), (8, 5)].map(process);
        let mut found: Vec<u32> = below(5, all.to_vec()).iter().map(|p| p.id).collect();
        found.sort_unstable();
        assert_eq!(found, [7, 8, 9]);
    }

    #[test]
    fn a_child_is_found_with_its_command_line() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let is_it = |process: &Process| process.arguments.get(1).is_some_and(|word| word == "100");
        // The system may show the child before it shows its words.
        let mut looks = (0..500).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            descendants(std::process::id())
        });
        let found = looks.find(|found| found.iter().any(is_it));
        assert!(found.is_some(), "{:?}", descendants(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
