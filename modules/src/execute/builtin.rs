//! Code that is part of this program, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use grid_promises::Message;

use super::error::CallError;
use super::{Executor, Verdict};

/// The built-ins that a descriptor can name.
#[derive(Clone, Default)]
pub struct Builtins(BTreeMap<&'static str, Arc<dyn Executor>>);

/// A built-in made of two functions.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// The entry point *accept*.
    pub accept: fn(&Message) -> Result<Verdict, CallError>,
    /// The entry point *handle*.
    pub handle: fn(&Message, &[u8]) -> Result<Message, CallError>,
}

impl Builtins {
    /// Adds one, in the place of one that may have that name.
    #[must_use]
    pub fn with(mut self, name: &'static str, code: impl Executor + 'static) -> Self {
        self.0.insert(name, Arc::new(code));
        self
    }

    /// The one with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Executor>> {
        self.0.get(name).cloned()
    }

    /// All names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }
}

impl Executor for Functions {
    fn accept(&self, parms: &Message) -> Result<Verdict, CallError> {
        (self.accept)(parms)
    }

    fn handle(&self, parms: &Message, payload: &[u8]) -> Result<Message, CallError> {
        (self.handle)(parms, payload)
    }
}

impl std::fmt::Debug for Builtins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;

    const ECHO: Functions = Functions {
        accept: |parms| Ok(Verdict::Accepted(parms.clone())),
        handle: |parms, payload| Ok(Message::new(parms.promise).payload(payload)),
    };

    #[test]
    fn a_builtin_is_found_by_its_name() {
        let builtins = Builtins::default().with("echo", ECHO).with("again", ECHO);
        assert_eq!(builtins.names().collect::<Vec<_>>(), ["again", "echo"]);
        assert!(builtins.get("other").is_none());
        let parms = Message::new(ContentId::of(b"p"));
        let answer = builtins.get("echo").unwrap().handle(&parms, b"x").unwrap();
        assert_eq!(answer, parms.payload("x"));
    }
}
