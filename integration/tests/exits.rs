//! Where routes through an interface go, and where the interface lives.

grid_integration::scenario_tests!("exits":
    everything_goes_through_an_exit_but_the_tunnel_itself,
    routes_go_where_they_are_told,
    an_interface_lives_in_another_namespace,
    an_interface_is_adopted_only_by_word,
);
