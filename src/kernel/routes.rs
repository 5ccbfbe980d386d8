//! What a node has learned of who keeps which promise, on disk and for people.
//!
//! The tree itself is `grid_promises::routes`. Here is the file that it survives in
//! (`cache/routes`), and what is shown of it. It is a cache: a file that cannot be read is set aside,
//! and the tree fills again by use.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use grid_promises::routes::{Entry, Limits, Routes, Sign, Target};
use grid_promises::{ContentId, Timestamp, texts};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::symbols::Symbols;
use crate::home::Home;

/// The longest file that is read, in bytes: more than any tree within its limits has.
const MAX_FILE: u64 = 256 << 20;
/// How much of an argument is shown, in bytes.
const SHOWN: usize = 64;

/// The file that a home's tree is kept in.
#[derive(Clone, Debug)]
pub struct RoutesFile(PathBuf);

/// What people call promises and modules.
#[derive(Clone, Debug, Default)]
pub struct Names {
    promises: BTreeMap<ContentId, String>,
    modules: BTreeMap<ContentId, String>,
}

/// What a node has learned, for people.
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

impl RoutesFile {
    /// That of a home.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self(home.cache().join("routes"))
    }

    /// The tree, as it was saved last. `None` if it never was.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold a tree. It was not touched.
    pub fn read(&self) -> io::Result<Option<Routes>> {
        let length = match fs::metadata(&self.0) {
            Ok(about) => about.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if length > MAX_FILE {
            return Err(invalid(format!("it has {length} bytes")));
        }
        let bytes = fs::read(&self.0)?;
        let routes = Routes::import(&bytes, Limits::STANDARD);
        routes.map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// The tree, as it was saved last; an empty one if there is none. A damaged file is set aside,
    /// where it is not read again, and the log says so.
    #[must_use]
    pub fn read_or_empty(&self) -> Routes {
        let error = match self.read() {
            Ok(routes) => return routes.unwrap_or_default(),
            Err(error) => error,
        };
        let path = self.0.display();
        let aside = self.0.with_extension("damaged");
        match fs::rename(&self.0, &aside) {
            Ok(()) => warn!(
                "{path} cannot be read: {error}; it is now {}, and who keeps which promise is \
                 learned anew",
                aside.display()
            ),
            Err(left) => warn!(
                "{path} cannot be read: {error}, nor be set aside: {left}; who keeps which promise \
                 is learned anew"
            ),
        }
        Routes::default()
    }

    /// Saves an exported tree in the place of the one before, all at once.
    ///
    /// # Errors
    /// The disk's. The file before still stands then.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = self.0.with_extension("new.tmp");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.0)
    }
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

/// The wall clock, in Unix time.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.unwrap_or_default().as_secs())
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
    use grid_promises::routes::Key;

    #[test]
    fn a_tree_is_found_again_and_a_damaged_one_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        let file = RoutesFile::of(&home);
        assert!(file.read_or_empty().is_empty());
        let mut routes = Routes::default();
        let key = Key::promise(ContentId::of(b"p"));
        routes
            .accepted(key, &Target::builtin("fetch"), now())
            .unwrap();
        file.write(&routes.export()).unwrap();
        assert_eq!(file.read_or_empty().export(), routes.export());
        let mut bytes = routes.export();
        bytes.pop();
        file.write(&bytes).unwrap();
        assert!(file.read().is_err());
        assert!(file.read_or_empty().is_empty());
        assert!(file.read().unwrap().is_none(), "it was set aside");
        let aside = home.cache().join("routes.damaged");
        assert_eq!(fs::read(aside).unwrap(), bytes);
    }

    #[test]
    fn what_an_argument_holds_harms_no_terminal() {
        assert_eq!(shown(b"a\x1b[2J\xff"), "a\\x1b[2J\\xff");
        assert_eq!(shown(&[b'x'; 65]).len(), SHOWN + 3);
    }
}
