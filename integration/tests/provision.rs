//! The script that Vagrant provisions its machines with.

grid_integration::scenario_tests!("provision":
    provision_makes_three_machines_a_network,
    provision_says_what_is_missing,
);
