//! Bad input at the real command line: it gets the documented exit code and one sentence that says
//! what is wrong and what to do, and changes nothing on the machine.

mod invites;
mod machine;
mod must_fail;
mod state;

use crate::scenario::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bad_invites_are_refused",
        run: invites::bad_invites,
    },
    Scenario {
        name: "a_spent_invite_is_refused",
        run: invites::spent_invite,
    },
    Scenario {
        name: "bad_files_stop_a_server",
        run: machine::bad_files,
    },
    Scenario {
        name: "a_bad_network_file_stops_that_network",
        run: machine::bad_network_file,
    },
    Scenario {
        name: "a_machine_that_lacks_something_is_told",
        run: machine::lacking,
    },
    Scenario {
        name: "what_is_taken_is_left_alone",
        run: machine::taken,
    },
    Scenario {
        name: "a_port_that_is_taken_is_waited_for",
        run: machine::taken_for_a_while,
    },
    Scenario {
        name: "addresses_that_the_machine_refuses_are_not_reported",
        run: machine::without_ipv6,
    },
    Scenario {
        name: "a_configuration_goes_where_the_person_says",
        run: machine::configuration,
    },
    Scenario {
        name: "a_full_range_admits_nobody",
        run: machine::full_range,
    },
];
