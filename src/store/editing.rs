//! Changes that commands make to the configuration: one key at a time. What people wrote, comments and
//! order, stays as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use grid_promises::ContentId;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Value, value};

use super::callers::Accepted;
use super::error::StoreError;
use super::files::toml_error;

/// The configuration as it is being changed.
#[derive(Debug)]
pub struct Draft {
    document: DocumentMut,
    is_changed: bool,
}

impl Draft {
    /// The configuration as it is now.
    ///
    /// # Errors
    /// [`StoreError::Config`] with line and column.
    pub(super) fn of(path: &Path, text: &str) -> Result<Self, StoreError> {
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            toml_error(path, text, error.span(), error.message())
        })?;
        Ok(Self {
            document,
            is_changed: false,
        })
    }

    /// The configuration as it is to be, if that is another one.
    pub(super) fn changed(self) -> Option<String> {
        self.is_changed.then(|| self.document.to_string())
    }

    /// Sets the symbol table.
    pub fn set_symbols(&mut self, table: &ContentId) {
        let is_new = self.document.get("symbols").is_none();
        self.document["symbols"] = value(table.to_string());
        if is_new && let Some(mut key) = self.document.as_table_mut().key_mut("symbols") {
            key.leaf_decor_mut().set_prefix(
                "\n# The symbol table: which names this node knows (`grid symbols`).\n",
            );
        }
        self.is_changed = true;
    }

    /// Sets the list of promises that this node takes part in. `names` says what people call them.
    pub fn set_accept(&mut self, accept: &[Accepted], names: &BTreeMap<ContentId, String>) {
        let entries = accept.iter().map(|entry| (entry.promise, written(entry)));
        self.set_list("accept", entries.collect(), names);
    }

    /// Sets the list of native executables that may run here.
    pub fn set_allow(&mut self, ids: &[ContentId], names: &BTreeMap<ContentId, String>) {
        let is_new = self.document.get("allow").is_none();
        let entries = ids.iter().map(|id| (*id, Value::from(id.to_string())));
        self.set_list("allow", entries.collect(), names);
        if is_new && let Some(mut key) = self.document.as_table_mut().key_mut("allow") {
            key.leaf_decor_mut().set_prefix(
                "\n# Native executables that may run here, by content id (`grid allow NAME`).\n",
            );
        }
    }

    fn set_list(
        &mut self,
        key: &str,
        entries: Vec<(ContentId, Value)>,
        names: &BTreeMap<ContentId, String>,
    ) {
        let old = self.document.get(key).and_then(Item::as_array);
        let mut comments = old.map(comments).unwrap_or_default();
        for (id, name) in names {
            comments
                .entry(id.to_string())
                .or_insert_with(|| format!(" # {name}"));
        }
        let mut array = Array::new();
        let mut before = String::from("\n  ");
        let is_empty = entries.is_empty();
        for (id, mut entry) in entries {
            let comment = comments.get(&id.to_string()).cloned().unwrap_or_default();
            *entry.decor_mut() = toml_edit::Decor::new(&before, "");
            array.push_formatted(entry);
            before.clear();
            let _ = write!(before, "{comment}\n  ");
        }
        array.set_trailing_comma(!is_empty);
        array.set_trailing(before.trim_end_matches(' ').to_owned());
        self.document[key] = value(array);
        self.is_changed = true;
    }
}

/// An entry of the accept list: the promise alone, where its callers are the usual ones.
fn written(entry: &Accepted) -> Value {
    let promise = Value::from(entry.promise.to_string());
    if entry.is_usual() {
        return promise;
    }
    let mut table = InlineTable::new();
    table.insert("promise", promise);
    let with = entry.with.iter().map(ToString::to_string);
    table.insert("for", Value::Array(with.collect()));
    table.into()
}

/// The content id that an entry of a list begins with.
fn id_of(entry: &Value) -> Option<&str> {
    let table = entry.as_inline_table();
    table.map_or_else(|| entry.as_str(), |table| table.get("promise")?.as_str())
}

/// The comment behind each value of a list that has one value a line.
fn comments(array: &Array) -> BTreeMap<String, String> {
    let behind = |index: usize| {
        let next = array.get(index + 1).and_then(|next| next.decor().prefix());
        let raw = next.or_else(|| Some(array.trailing()).filter(|_| index + 1 == array.len()));
        raw.and_then(|raw| raw.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let mut comments = BTreeMap::new();
    for (index, entry) in array.iter().enumerate() {
        let text = behind(index);
        let line = text.lines().next().unwrap_or_default().trim_end();
        if let Some(id) = id_of(entry)
            && line.trim_start().starts_with('#')
        {
            comments.insert(id.to_owned(), line.to_owned());
        }
    }
    comments
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;
    use crate::home::Home;
    use crate::store::{Config, Store, Who, config};
    use grid_files::atomic;
    use grid_files::crash::{CutDisk, OWNER};
    use grid_files::disk::Disk as _;

    fn on(disk: CutDisk) -> Store<CutDisk> {
        Store::on(&Home::find(Some(Path::new("/h"))).unwrap(), disk, OWNER)
    }

    /// What a restart finds.
    fn restarted(disk: CutDisk) -> (Store<CutDisk>, Config, String) {
        let store = on(disk);
        store.recover().unwrap();
        let left = store.disk.list(Path::new("/h")).unwrap();
        assert!(
            !left
                .iter()
                .any(|entry| entry.name.ends_with(atomic::UNFINISHED)),
            "{left:?}"
        );
        let (config, text) = (store.config().unwrap(), store.config_text().unwrap());
        (store, config, text)
    }

    #[test]
    fn a_cut_anywhere_leaves_the_configuration_before_or_after() {
        let empty = on(CutDisk::new(&[Path::new("/h")]));
        empty.prepare().unwrap();
        let mine = b"# mine\nlabel = \"box\"\n";
        atomic::write_file(&empty.disk, Path::new("/h"), "config", mine).unwrap();
        let (mut disk, mut units) = (empty.disk, 0);
        let [a, b, c] = ids();
        let names = BTreeMap::from([(a, "first".to_owned())]);
        type Change<'a> = &'a dyn Fn(&mut Draft);
        let changes: [Change<'_>; 4] = [
            &|draft| draft.set_symbols(&a),
            &|draft| draft.set_accept(&[a, b].map(Accepted::usual), &names),
            &|draft| draft.set_allow(&[c], &names),
            &|draft| draft.set_symbols(&b),
        ];
        for (number, change) in changes.iter().enumerate() {
            let edit = |store: &Store<CutDisk>| {
                store.edit_config(|_, draft| -> Result<(), StoreError> {
                    change(draft);
                    Ok(())
                })
            };
            let (_, before, _) = restarted(disk.whole());
            let done = on(disk.whole());
            edit(&done).unwrap();
            let (_, after, text) = restarted(done.disk.whole());
            assert_ne!(before, after);
            let mut judged = HashSet::new();
            for cut in 0..done.disk.used() {
                let store = on(disk.cut_after(cut));
                edit(&store).unwrap_err();
                for crashed in store.disk.crashed() {
                    if !judged.insert(crashed.tree()) {
                        continue;
                    }
                    let at = format!("change {number}, cut at {cut}");
                    let (store, now, _) = restarted(crashed);
                    assert!(now == before || now == after, "{at}: {now:?}");
                    edit(&store).unwrap();
                    let (_, now, _) = restarted(store.disk);
                    assert_eq!(now, after, "{at}, done again");
                }
            }
            // What was reported done survives a power cut at once, with every word of it.
            for crashed in done.disk.crashed() {
                assert_eq!(restarted(crashed).2, text, "change {number}");
            }
            units += done.disk.used();
            disk = done.disk;
        }
        assert!(units > 500, "only {units} places were cut");
    }

    #[test]
    fn what_fails_or_changes_nothing_writes_nothing() {
        let empty = on(CutDisk::new(&[Path::new("/h")]));
        empty.prepare().unwrap();
        empty.ensure_config().unwrap();
        let store = on(empty.disk.whole());
        let before = store.disk.tree();
        let refused = store.edit_config(|_, draft| {
            draft.set_symbols(&ids()[0]);
            Err::<(), _>(StoreError::damaged("it", "no"))
        });
        refused.unwrap_err();
        store.edit_config(|_, _| Ok::<_, StoreError>(())).unwrap();
        assert_eq!(store.disk.tree(), before);
    }

    fn draft(text: &str) -> Draft {
        Draft {
            document: text.parse().unwrap(),
            is_changed: false,
        }
    }

    fn ids() -> [ContentId; 3] {
        [b"a", b"b", b"c"].map(|bytes| ContentId::of(bytes))
    }

    #[test]
    fn what_people_wrote_stays() {
        let text = "# mine\nlabel = \"box\" # a box\n\n# the end\n";
        let mut edited = draft(text);
        edited.set_symbols(&ids()[0]);
        let after = edited.document.to_string();
        assert!(
            after.starts_with("# mine\nlabel = \"box\" # a box\n"),
            "{after}"
        );
        assert!(after.contains("# the end"), "{after}");
        assert!(
            after.contains(&format!("symbols = \"{}\"\n", ids()[0])),
            "{after}"
        );
        // A second change touches the value alone.
        let mut again = draft(&after);
        again.set_symbols(&ids()[1]);
        let expected = after.replace(&ids()[0].to_string(), &ids()[1].to_string());
        assert_eq!(again.document.to_string(), expected);
    }

    #[test]
    fn a_list_keeps_the_comments_of_what_stays_in_it() {
        let [a, b, c] = ids();
        let text = format!("accept = [\n  \"{a}\", # first, mine\n  \"{b}\", # second\n]\n");
        let names = BTreeMap::from([(c, "third".to_owned())]);
        let mut edited = draft(&text);
        let usual = Accepted::usual;
        edited.set_accept(&[usual(a), usual(b)], &BTreeMap::new());
        assert_eq!(edited.document.to_string(), text);
        edited.set_accept(&[usual(a), usual(c)], &names);
        assert_eq!(
            edited.document.to_string(),
            format!("accept = [\n  \"{a}\", # first, mine\n  \"{c}\", # third\n]\n")
        );
        // Saying for whom leaves the comment where it is, and so does taking it back.
        let listed = edited.document.to_string();
        let open = Accepted {
            promise: c,
            with: vec![Who::Network("foo".parse().unwrap()), Who::Anybody],
        };
        edited.set_accept(&[usual(a), open.clone()], &names);
        assert_eq!(
            edited.document.to_string(),
            format!(
                "accept = [\n  \"{a}\", # first, mine\n  \
                 {{ promise = \"{c}\", for = [\"foo\", \"anybody\"] }}, # third\n]\n"
            )
        );
        let read = config::decode("config".as_ref(), &edited.document.to_string()).unwrap();
        assert_eq!(read.accept, [usual(a), open]);
        edited.set_accept(&[usual(a), usual(c)], &names);
        assert_eq!(edited.document.to_string(), listed);
        edited.set_accept(&[usual(c)], &names);
        let read = config::decode("config".as_ref(), &edited.document.to_string()).unwrap();
        assert_eq!(read.accept, [usual(c)]);
        edited.set_accept(&[], &names);
        let read = config::decode("config".as_ref(), &edited.document.to_string()).unwrap();
        assert!(read.accept.is_empty());
        edited.set_allow(&[a, b], &names);
        let read = config::decode("config".as_ref(), &edited.document.to_string()).unwrap();
        assert_eq!(read.allow, [a, b]);
    }
}
