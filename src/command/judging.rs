//! Asking a judge on the command line. Its code is fetched if it is not here.

use grid_modules::judge::{self, Judge, JudgeError};
use grid_modules::objects::Cache as _;
use grid_promises::ContentId;
use grid_promises::network::history::Decision;
use grid_promises::network::judgement::{self, Opinions};

use crate::exit::Outcome;
use crate::home::Home;
use crate::store::Store;
use crate::symbols;

/// Fetches an object. When it returns, the object is in the store.
pub type Fetch<'a> = dyn Fn(&ContentId) -> Outcome + 'a;

/// Checks that code is that of a judge. Fetches it if it is not here.
///
/// # Errors
/// It is not, or it cannot be fetched.
pub fn can_judge(home: &Home, id: &ContentId, fetch: &Fetch<'_>) -> Result<(), String> {
    let config = Store::look(home)
        .config()
        .map_err(|error| error.to_string())?;
    let symbols = symbols::open(home, &config).map_err(|failure| failure.text)?;
    let local = symbols.local();
    let here = || local.get(id).map_err(|error| error.to_string());
    let object = match here()? {
        Some(object) => object,
        None => {
            fetch(id).map_err(|failure| failure.text)?;
            here()?.ok_or_else(|| format!("its code {id} is not here"))?
        }
    };
    judge::check(&object).map(drop).map_err(|error| match error {
        JudgeError::OtherPromise => "it makes another promise than `grid --show judge`".to_owned(),
        error => error.to_string(),
    })
}

/// Asks a judge about the records of a decision.
///
/// # Errors
/// It cannot be fetched, or does not answer.
pub fn opinions(
    home: &Home,
    id: &ContentId,
    decision: &Decision,
    fetch: &Fetch<'_>,
) -> Result<Opinions, String> {
    can_judge(home, id, fetch)?;
    let config = Store::look(home)
        .config()
        .map_err(|error| error.to_string())?;
    let symbols = symbols::open(home, &config).map_err(|failure| failure.text)?;
    let engine = judge::engine(&home.cache()).map_err(|error| error.to_string())?;
    let said = Judge::load(&engine, &*symbols.local(), id)
        .and_then(|judge| judge.ask(&decision.records.encode()))
        .map_err(|error| error.to_string())?;
    judgement::read(&said, &decision.records).map_err(|error| error.to_string())
}
