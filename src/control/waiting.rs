//! What a person is told who waits for a network: one sentence for each thing that is waited for, and
//! only once it takes long. The server says them; whoever reads what a command said knows them by
//! these functions.

use std::time::Duration;

use grid_promises::network::name::NetworkName;

/// After how long a waiting person is told for what.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// While no member of the network has answered.
#[must_use]
pub fn for_members(net: &NetworkName) -> String {
    format!("looking for members of \"{net}\"")
}

/// While no owner has admitted this node.
#[must_use]
pub fn for_an_owner(net: &str, code: &str) -> String {
    format!("waiting for an owner of \"{net}\" to accept this node: its code is {code}")
}

/// While no member has completed a handshake.
#[must_use]
pub fn for_an_answer(net: &NetworkName) -> String {
    format!("waiting for a member of \"{net}\" to answer through WireGuard")
}

/// While a node that is to become a peer has not answered.
#[must_use]
pub fn for_a_peer(place: impl std::fmt::Display) -> String {
    format!("asking {place}")
}
