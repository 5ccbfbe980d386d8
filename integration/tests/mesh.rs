//! One invite, a full mesh.

grid_integration::scenario_tests!("mesh":
    five_nodes_with_one_invite_form_a_full_mesh,
);
