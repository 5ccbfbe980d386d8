//! Asking the server of the home, and showing what it answers.

use std::time::Duration;

use super::background;
use super::caller::{Caller, Report};
use super::served::{self, Served};
use crate::advice;
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};

/// How long a server that said that it ends may take to.
const ENDING: Duration = Duration::from_secs(10);

/// Has the server of the home carry a request out, and shows the report.
///
/// # Errors
/// No server runs, or why it was not done.
pub fn ask<R: Served<Report: Report>>(caller: &Caller, request: &R) -> Outcome {
    let client = Client::connect(caller.home())?.ok_or_else(|| no_server(caller))?;
    ask_through(client, caller, request)
}

/// As [`ask`]; starts a server in the background if none runs, and stops it again if nothing comes of
/// the request.
///
/// # Errors
/// No server could be started, or why it was not done.
pub fn ask_or_start<R: Served<Report: Report>>(caller: &Caller, request: &R) -> Outcome {
    let (client, is_new) = background::connect_or_start(caller)?;
    let done = ask_through(client, caller, request);
    if done.is_err() && is_new {
        background::stop_if_idle(caller.home());
    }
    done
}

/// As [`ask`], through a connection that stands.
///
/// # Errors
/// Why it was not done.
pub fn ask_through<R: Served<Report: Report>>(
    mut client: Client,
    caller: &Caller,
    request: &R,
) -> Outcome {
    let answered = served::call(&mut client, request, output::say)?;
    if caller.wants_json() {
        caller.print_json(&answered.json)?;
    } else {
        caller.show(&answered.report)?;
    }
    if R::ends_the_server(&answered.report) && !client.wait_for_end(ENDING) {
        return Err(Failure::new(
            Exit::TimedOut,
            "the server said that it ends and is still there; its log says why",
        ));
    }
    Ok(())
}

/// No server runs.
#[must_use]
pub fn no_server(caller: &Caller) -> Failure {
    Failure::new(
        Exit::NoServer,
        format!(
            "no server runs for {}; {}",
            caller.home().path().display(),
            advice::runs_a_server()
        ),
    )
}
