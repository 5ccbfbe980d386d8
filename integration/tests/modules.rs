//! Modules that are published on one node and run on another.

#![cfg(feature = "modules")]

grid_integration::scenario_tests!("modules":
    a_module_of_a_peer_is_adopted_and_run,
    an_executable_of_a_peer_runs_once_it_is_allowed,
    a_name_that_is_here_stays_what_it_is,
    who_takes_no_part_in_fetching_says_so,
);
