//! Two nodes with the same candidate address.

grid_integration::scenario_tests!("claims":
    two_claims_of_one_address_settle_on_two,
);
