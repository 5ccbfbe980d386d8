//! Two networks on a node, and joining without an invite.

grid_integration::scenario_tests!("networks":
    two_networks_at_once,
    an_open_network_is_joined_by_name,
    a_network_by_invite_is_not_joined_by_name,
    an_owner_admits_who_asked,
);
