//! What is said about one network: the signed statements, their merge, and what follows from them.

pub mod accept;
pub mod act;
pub mod acts;
pub mod address;
pub mod admission;
pub(crate) mod armour;
pub mod authority;
pub mod carried;
pub mod charter;
pub mod code;
pub(crate) mod crockford;
pub mod endpoint;
pub mod evidence;
pub(crate) mod held;
pub mod history;
pub mod ids;
pub mod index;
pub mod invite;
pub mod judgement;
pub mod ledger;
pub mod member;
pub mod membership;
pub mod name;
pub mod rank;
pub mod receipt;
pub mod records;
pub mod recovery;
pub mod room;
pub mod rules;
pub mod ruling;
pub mod sealed;
pub mod statement;
pub(crate) mod tally;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;
pub mod uses;
pub mod view;
pub mod void;

pub use charter::{AdmissionRule, Charter};
pub use ids::NetworkId;
pub use name::{Label, NetworkName};
pub use statement::{Signed, StatementError};
