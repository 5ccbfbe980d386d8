//! The person's terminal: what is printed, what is said beside it, and what is read.

pub mod handing_over;
pub mod output;
pub mod progress;
