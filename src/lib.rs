//! The program `grid`.

pub mod home;
pub mod store;
