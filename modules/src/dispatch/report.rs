//! What a node has learned of who keeps which promise, for people.

use std::collections::BTreeMap;

use grid_promises::routes::{Entry, Routes, Sign, Target};
use grid_promises::{ContentId, Timestamp, texts};
use serde::{Deserialize, Serialize};

use crate::symbols::Symbols;

/// How much of an argument is shown, in bytes.
const SHOWN: usize = 64;

/// The answer to `routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesReport {
    /// What is known, in the order of the tree: a promise before what is known of it more narrowly.
    pub routes: Vec<RouteReport>,
}

/// What is known of one target at one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// The promise.
    pub promise: String,
    /// What it is called here, if it is.
    pub name: Option<String>,
    /// Whether this holds whatever module is asked for; then there is nothing in the next two.
    pub any_module: bool,
    /// The module that is asked for; none if none is.
    pub module: Option<String>,
    /// The first arguments, escaped where they are not printable ASCII, and cut.
    pub args: Vec<String>,
    /// `builtin`, `module` or `peer`.
    pub kind: String,
    /// Who: the name of the builtin, the content id of the code, or the node.
    pub target: String,
    /// What it is called here, if it is.
    pub target_name: Option<String>,
    /// Whether it accepts; else it rejected.
    pub accepts: bool,
    /// Until when that it rejected is remembered, in Unix time.
    pub rejected_until: Option<u64>,
    /// How many messages it handled as it promised.
    pub kept: u32,
    /// How many it accepted and failed at.
    pub broken: u32,
    /// The smoothed share of those that it kept, in percent.
    pub strength: u8,
    /// Whether it is asked after all others of its kind.
    pub demoted: bool,
    /// When something was recorded of it last, in Unix time.
    pub last_used: u64,
}

/// What people call promises and modules.
#[derive(Clone, Debug, Default)]
pub struct Names {
    promises: BTreeMap<ContentId, String>,
    modules: BTreeMap<ContentId, String>,
}

impl Names {
    /// Those of a symbol table, and of this program. What is not here has no name.
    #[must_use]
    pub fn of(symbols: &Symbols) -> Self {
        let mut names = Self::default();
        for (name, id) in symbols.table().names() {
            if let Ok(Some(module)) = symbols.descriptor(id) {
                names.promises.insert(*module.promise(), name.to_string());
                names.modules.insert(*module.code(), name.to_string());
            }
        }
        let own = texts::ALL.iter();
        names
            .promises
            .extend(own.map(|promise| (promise.id(), promise.name.to_owned())));
        names
    }

    fn module(&self, id: &ContentId) -> Option<String> {
        self.modules.get(id).cloned()
    }
}

/// What the tree says now, for people: what has lapsed is left out.
#[must_use]
pub fn report(routes: &Routes, names: &Names, now: Timestamp) -> RoutesReport {
    let known = routes.entries();
    let known = known.filter(|entry| entry.sign(now) != Sign::Lapsed);
    RoutesReport {
        routes: known.map(|entry| row(&entry, names, now)).collect(),
    }
}

fn row(entry: &Entry, names: &Names, now: Timestamp) -> RouteReport {
    let (kind, target, name) = match &entry.target {
        Target::Builtin(name) => ("builtin", name.to_string(), Some(name.to_string())),
        Target::Module(id) => ("module", id.to_string(), names.module(id)),
        Target::Peer(node) => ("peer", node.to_string(), None),
    };
    let accepts = entry.sign(now) == Sign::Accepts;
    let until = entry.rejected_until.filter(|_| !accepts);
    RouteReport {
        promise: entry.prefix.promise.to_string(),
        name: names.promises.get(&entry.prefix.promise).cloned(),
        any_module: entry.prefix.module.is_none(),
        module: entry.prefix.module.flatten().map(|id| id.to_string()),
        args: entry.prefix.args.iter().map(|arg| shown(arg)).collect(),
        kind: kind.to_owned(),
        target,
        target_name: name,
        accepts,
        rejected_until: until.map(|until| until.0),
        kept: entry.kept,
        broken: entry.broken,
        strength: entry.strength.percent(),
        demoted: entry.strength.is_demoted(),
        last_used: entry.last_used.0,
    }
}

/// The beginning of an argument, with everything but printable ASCII escaped.
fn shown(arg: &[u8]) -> String {
    let cut = arg.get(..SHOWN);
    let mut text = cut.unwrap_or(arg).escape_ascii().to_string();
    if cut.is_some_and(|cut| cut.len() < arg.len()) {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_argument_holds_harms_no_terminal() {
        assert_eq!(shown(b"a\x1b[2J\xff"), "a\\x1b[2J\\xff");
        assert_eq!(shown(&[b'x'; 65]).len(), SHOWN + 3);
    }
}
