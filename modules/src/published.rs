//! What this node shows to others: what its symbol table leads to, and no other object of the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_promises::ContentId;
use grid_promises::modules::{SymbolTable, builtins};
use parking_lot::Mutex;
use tracing::warn;

use crate::call::bytes_of;
use crate::execute::{ObjectError, ObjectSource};
use crate::objects::{Cache as _, Layers, MAX_REACHED, Reference};
use crate::roots::references;
use crate::settings::Host;

/// For how long it is not looked again what a table leads to of which something is missing.
const INCOMPLETE: Duration = Duration::from_secs(5);

/// The objects that are here, and which of them the present table leads to.
pub(crate) struct Published {
    local: Layers,
    reached: Mutex<Option<Arc<Table>>>,
    /// The table of a node whose configuration names none.
    first: Option<SymbolTable>,
}

/// A symbol table and what it leads to.
pub(crate) struct Table {
    id: ContentId,
    reached: BTreeSet<ContentId>,
    /// When to look again, if something is missing that names others: it may come.
    until: Option<Instant>,
}

impl Published {
    pub(crate) fn new(local: Layers) -> Self {
        Self {
            local,
            reached: Mutex::default(),
            first: SymbolTable::first(builtins::names()).ok(),
        }
    }

    /// The bytes of the table of a node whose configuration names none, by its id.
    pub(crate) fn first_table(&self, id: &ContentId) -> Option<Vec<u8>> {
        let first = self.first.as_ref()?;
        (first.id() == *id).then(|| first.encode())
    }

    /// The table, and what it leads to.
    pub(crate) fn table(&self, symbols: Option<ContentId>) -> Result<Arc<Table>, String> {
        let first = || self.first.as_ref().map(SymbolTable::id);
        let id = symbols
            .or_else(first)
            .ok_or("this node has no symbol table")?;
        // Held while it is read: others want the same.
        let mut cached = self.reached.lock();
        let is_fresh = |table: &&Arc<Table>| {
            table.id == id && table.until.is_none_or(|until| Instant::now() < until)
        };
        if let Some(table) = cached.as_ref().filter(is_fresh) {
            return Ok(Arc::clone(table));
        }
        let (reached, is_complete) = self.reach(id)?;
        let until = (!is_complete).then(|| Instant::now() + INCOMPLETE);
        let table = Arc::new(Table { id, reached, until });
        *cached = Some(Arc::clone(&table));
        Ok(table)
    }

    /// What a table leads to, as far as it is here, and whether all of what names others is. Another
    /// walk than the collector's, which must not go on where it does not see.
    fn reach(&self, table: ContentId) -> Result<(BTreeSet<ContentId>, bool), String> {
        let mut reached = BTreeSet::new();
        let mut unread = vec![table];
        let mut is_complete = true;
        while let Some(id) = unread.pop() {
            if !reached.insert(id) {
                continue;
            }
            let first = self.first_table(&id);
            let named = match (first, self.local.get(&id)) {
                (Some(bytes), _) => references(&id, &bytes),
                (None, Ok(Some(object))) => {
                    object.bytes().map_or_else(Vec::new, |b| references(&id, b))
                }
                (None, missing) => {
                    if let Err(error) = missing {
                        warn!("the symbol table leads to {id}: {error}");
                    }
                    is_complete = false;
                    Vec::new()
                }
            };
            for reference in named {
                match reference {
                    Reference::Leaf(id) => _ = reached.insert(id),
                    Reference::Maybe(id) | Reference::Inner(id) => unread.push(id),
                }
                if reached.len() > MAX_REACHED {
                    return Err("this node's symbol table leads to too much".to_owned());
                }
            }
        }
        Ok((reached, is_complete))
    }
}

impl Table {
    /// Its content id.
    pub(crate) const fn id(&self) -> ContentId {
        self.id
    }

    /// Whether an object is shown; if not, why.
    pub(crate) fn allows(&self, id: &ContentId) -> Result<(), String> {
        if self.reached.contains(id) {
            Ok(())
        } else {
            Err(format!("this node's symbol table does not lead to {id}"))
        }
    }
}

/// What a guest can `get` that a peer calls: its answer goes to the peer.
pub(crate) struct ForPeers {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) published: Published,
}

impl ObjectSource for ForPeers {
    fn get(&self, id: &ContentId, max: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        let failed = |why: String| ObjectError::Failed { why };
        let table = self.published.table(self.host.settings().symbols);
        if table.map_err(failed)?.allows(id).is_err() {
            // As if it were not there: what else is here is nobody's business.
            return Err(ObjectError::Missing);
        }
        let object = self.published.local.get(id);
        let object = object.map_err(|error| failed(error.to_string()))?;
        let object = object.ok_or(ObjectError::Missing)?;
        bytes_of(&object, max).ok_or(ObjectError::TooLong { max })
    }
}
