//! Where a message can go.

use crate::content_id::ContentId;
use grid_keys::NodeId;

/// Who may handle a message. The order is that of dispatch: builtins, fetched modules, peers; within
/// these by name, id and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Code of this program, by its name of 1 to [`Target::MAX_NAME`] bytes.
    Builtin(Box<str>),
    /// Fetched code, WASM or native, by its content id.
    Module(ContentId),
    /// Another node.
    Peer(NodeId),
}

impl Target {
    /// The longest name of a builtin, in bytes.
    pub const MAX_NAME: usize = 64;

    /// A builtin. The length of its name is checked when something is recorded of it.
    #[must_use]
    pub fn builtin(name: &str) -> Self {
        Self::Builtin(name.into())
    }

    /// The kind of this target.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Builtin(_) => Class::Builtin,
            Self::Module(_) => Class::Module,
            Self::Peer(_) => Class::Peer,
        }
    }

    /// Whether the tree can hold it.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Builtin(name) => (1..=Self::MAX_NAME).contains(&name.len()),
            Self::Module(_) | Self::Peer(_) => true,
        }
    }
}

/// The kinds of targets, in the order of dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// [`Target::Builtin`].
    Builtin,
    /// [`Target::Module`].
    Module,
    /// [`Target::Peer`].
    Peer,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Builtin, Self::Module, Self::Peer];
}

/// One value for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass<T> {
    /// That of builtins.
    pub builtin: T,
    /// That of fetched modules.
    pub module: T,
    /// That of peers.
    pub peer: T,
}

impl<T> ByClass<T> {
    /// The value of one class.
    pub const fn get(&self, class: Class) -> &T {
        match class {
            Class::Builtin => &self.builtin,
            Class::Module => &self.module,
            Class::Peer => &self.peer,
        }
    }

    /// The value of one class, to be changed.
    pub const fn get_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Builtin => &mut self.builtin,
            Class::Module => &mut self.module,
            Class::Peer => &mut self.peer,
        }
    }
}
