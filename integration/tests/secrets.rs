//! Nothing secret leaves a node.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

grid_integration::scenario_tests!("secrets":
    nothing_secret_leaves_a_node,
);
