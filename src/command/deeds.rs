//! What owners did, in words.

use grid_promises::core::Undone;
use grid_promises::network::act::Action;

use super::named::{Named, Names};

/// What an owner did, and who it was.
#[must_use]
pub fn in_words(deed: &Undone, names: &Names) -> String {
    let one = |node| Named::list(&names.of_all(&[node]));
    let what = match &deed.action {
        Action::Admit { nodes, .. } => format!(
            "the admission by name of {}",
            Named::list(&names.of_all(nodes))
        ),
        Action::Close { invite, .. } => format!("the closing of the invite {}", invite.short()),
        Action::Revoke { node } => format!("the revocation of {}", one(*node)),
        Action::Appoint { node } => format!("the appointment of {}", one(*node)),
        Action::Dismiss { .. } => "the dismissal of an owner".to_owned(),
    };
    format!("{what} by {}", one(deed.owner))
}
