//! The program on a kernel that has WireGuard: this machine's, or one of the lab's.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

grid_integration::scenario_tests!("kernel":
    four_nodes_choose_the_kernel,
    a_peer_removed_by_hand_comes_back,
    traffic_goes_on_while_the_server_is_dead,
    leaving_takes_away_what_was_made_and_nothing_else,
    kernel_and_userspace_form_one_mesh,
    nodes_join_and_stay_with_loss_and_delay,
);
