//! Many nodes in virtual time, on a network that loses, repeats, delays and reorders.
//!
//! The simulator drives the very [`Core`](crate::core::Core) that the program runs. One seed decides everything, so that
//! a failing run can be replayed. It refuses to look into a core: what it checks is what a driver
//! could see (effects, disks, status).

mod node;
mod world;

pub use node::{Disk, SimNode};
pub use world::{Faults, NodeIndex, World};
