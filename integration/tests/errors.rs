//! Bad input gets a clear error, and nothing is lost.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

grid_integration::scenario_tests!("errors":
    bad_invites_are_refused,
    a_spent_invite_is_refused,
    bad_files_stop_a_server,
    a_bad_network_file_stops_that_network,
    a_machine_that_lacks_something_is_told,
    what_is_taken_is_left_alone,
    a_port_that_is_taken_is_waited_for,
    a_full_range_admits_nobody,
);
