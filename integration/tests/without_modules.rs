//! A build without modules: `cargo test -p grid-integration --no-default-features --test without_modules`.

#![cfg(not(feature = "modules"))]

grid_integration::scenario_tests!("without_modules":
    what_is_about_modules_is_refused_by_name,
    a_judge_that_cannot_be_asked_lets_nobody_in,
);
