//! The symbol table that the configuration of a home names.

use grid_modules::symbols::Symbols;
use grid_promises::modules::SymbolTable;

use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::{Config, Store};

/// The names of a home. It need not exist.
///
/// # Errors
/// The table that the configuration names is not in the store, is damaged, or is no table.
pub fn open(home: &Home, config: &Config) -> Outcome<Symbols> {
    Ok(Symbols::open(&home.cache(), config.symbols)?)
}

/// Makes the next table of a home, and has the configuration name it. `change` is given the present
/// one; if it says that nothing changes, nothing is written.
///
/// # Errors
/// What `change` says, or the table cannot be written. The table before still stands then.
pub fn change<T>(
    home: &Home,
    change: impl FnOnce(&Symbols) -> Outcome<(Option<SymbolTable>, T)>,
) -> Outcome<(Symbols, T)> {
    let store = Store::open(home)?;
    store.edit_config(|config, draft| {
        let mut symbols = open(home, config)?;
        let (next, result) = change(&symbols)?;
        if let Some(next) = next {
            symbols.advance(next)?;
            draft.set_symbols(symbols.id());
        }
        Ok((symbols, result))
    })
}

/// Sees to it that the table is in the store, and knows every built-in module of this version.
///
/// # Errors
/// As [`change`].
pub fn ensure(home: &Home, config: &Config) -> Outcome {
    let symbols = open(home, config)?;
    symbols.keep()?;
    if with_builtins(&symbols)?.is_some() {
        change(home, |symbols| Ok((with_builtins(symbols)?, ())))?;
    }
    Ok(())
}

fn with_builtins(symbols: &Symbols) -> Outcome<Option<SymbolTable>> {
    let next = symbols.with_builtins();
    next.map_err(|error| Failure::failed(error.to_string()))
}
