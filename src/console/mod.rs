//! Standard input, output and error.

pub mod handing_over;
pub mod output;
pub mod place;
pub mod plain;
pub mod progress;
