//! Modules as judges of what members promise.

#![cfg(feature = "modules")]

grid_integration::scenario_tests!("judges":
    a_judge_decides_and_its_decisions_replay,
    what_is_no_judge_is_not_appointed,
);
