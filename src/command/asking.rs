//! Sending a request to the server of the home, and printing its report.

use std::time::Duration;

use super::background;
use super::caller::{Caller, Report};
use super::served::{self, Served};
use crate::advice;
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};

/// How often a server is looked for or started, if the one that was found is ending.
pub const TRIES: u32 = 5;
/// How long a server may take to end once it said that it does.
pub const ENDING: Duration = Duration::from_secs(10);

/// Sends a request to the server of the home, and prints the report.
///
/// # Errors
/// No server runs, or why the request failed.
pub fn ask<R: Served<Report: Report>>(caller: &Caller, request: &R) -> Outcome {
    let client = Client::connect(caller.home())?.ok_or_else(|| no_server(caller))?;
    ask_through(client, caller, request)
}

/// Sends a request to the server of the home, and gives the report instead of printing it.
///
/// # Errors
/// No server runs, or why the request failed.
pub fn report_of<R: Served>(caller: &Caller, request: &R) -> Outcome<R::Report> {
    let mut client = Client::connect(caller.home())?.ok_or_else(|| no_server(caller))?;
    Ok(served::call(&mut client, request, output::say)?.report)
}

/// As [`ask`]. Starts a server in the background if none runs, and stops it again if the request fails.
///
/// # Errors
/// No server could be started, or why the request failed.
pub fn ask_or_start<R: Served<Report: Report>>(caller: &Caller, request: &R) -> Outcome {
    with_server(caller, |client| ask_through(client, caller, request))
}

/// As [`ask_or_start`], and gives the report instead of printing it.
///
/// # Errors
/// No server could be started, or why the request failed.
pub fn report_or_start<R: Served>(caller: &Caller, request: &R) -> Outcome<R::Report> {
    with_server(caller, |mut client| {
        Ok(served::call(&mut client, request, output::say)?.report)
    })
}

/// Does what needs a server. Starts one in the background if none runs, and stops it again if `work` fails;
/// one that is ending is replaced.
///
/// # Errors
/// No server could be started, or why `work` failed.
pub fn with_server<T>(caller: &Caller, work: impl Fn(Client) -> Outcome<T>) -> Outcome<T> {
    let mut tries = TRIES;
    loop {
        let client = background::connect_or_start(caller)?;
        tries -= 1;
        match work(client) {
            // Said by a server that was about to end, which did not begin the request.
            Err(failure) if failure.exit == Exit::NoServer && tries > 0 => {}
            Err(failure) => {
                background::stop_if_idle(caller.home());
                return Err(failure);
            }
            done => return done,
        }
    }
}

/// As [`ask`], over a connection that is open already.
///
/// # Errors
/// Why the request failed.
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
            "the server agreed to stop but is still running; its log says why",
        ));
    }
    Ok(())
}

/// The failure of a command that needs a server, when none runs.
#[must_use]
pub fn no_server(caller: &Caller) -> Failure {
    let home = caller.home();
    let what_to_do = if home.is_beside_the_machines() {
        advice::is_the_machines()
    } else {
        advice::runs_a_server().to_owned()
    };
    Failure::new(
        Exit::NoServer,
        format!(
            "no server is running for {}; {what_to_do}",
            home.path().display()
        ),
    )
}
