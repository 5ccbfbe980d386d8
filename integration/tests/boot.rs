//! Servers under a service manager, and invites that were left for them.

grid_integration::scenario_tests!("boot":
    an_invite_in_the_folder_joins_and_is_used_up,
    addresses_are_up_before_any_peer_is_there,
    an_invite_waits_for_members_and_survives_a_kill,
    invites_that_cannot_be_used_are_set_aside,
    the_watchdog_is_fed_by_the_driver,
    who_waits_to_be_online_waits_no_longer_than_asked,
    the_service_manager_is_told_what_becomes_of_the_networks,
);
