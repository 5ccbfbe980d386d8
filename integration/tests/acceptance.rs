//! Prefixes that are promised, accepted, rejected and withdrawn.

grid_integration::scenario_tests!("acceptance":
    a_subnet_is_routed_only_where_it_is_accepted,
    what_is_connected_here_is_not_accepted_by_default,
    a_default_route_is_not_accepted_by_default,
);
