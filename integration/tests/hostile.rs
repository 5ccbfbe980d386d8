//! A member that misbehaves changes nothing between the others.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

grid_integration::scenario_tests!("hostile":
    lies_of_a_member_change_nothing,
    false_evidence_changes_nothing,
    noise_of_a_member_changes_nothing,
);
