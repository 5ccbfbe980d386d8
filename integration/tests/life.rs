//! Servers and members that come and go.

grid_integration::scenario_tests!("life":
    a_killed_server_comes_back_as_itself,
    the_mesh_outlives_its_founder,
    all_servers_are_killed_at_once,
    who_leaves_is_gone_and_can_come_back,
    who_is_revoked_stays_out,
    a_server_survives_its_terminal,
    members_of_both_sides_meet_after_a_partition,
    changes_by_hand_in_user_space_are_put_right_at_once,
);
