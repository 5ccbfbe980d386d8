//! Commands that the server of the home carries out.

use std::time::Duration;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::args::{Command, Global};
use super::{background, handing_over, output, rehearsal, render, taking_down, words};
use crate::control::answer::{
    BrokenReport, ChangedReport, ConfigReport, ExchangedReport, InviteReport, JoinedReport,
    StatusReport,
};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::store::{Loaded, Store};

/// How long the server may take from one message to the next, beyond what was asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server that said that it ends may take to.
const ENDING: Duration = Duration::from_secs(10);

/// Carries a command out.
///
/// # Errors
/// Why it was not.
pub(super) fn call(home: &Home, global: &Global, mut command: Command) -> Outcome {
    let payload = match &command {
        Command::JoinWireguardNet(join) => handing_over::take(join)?,
        _ => Zeroizing::new(Vec::new()),
    };
    if let Some(rehearsed) = rehearse(home, &command, &payload) {
        return rehearsed;
    }
    complete(&mut command)?;
    let (name, words) =
        words::of(&command).ok_or_else(|| Failure::usage("that is not for a server to do"))?;
    let done = match reach(home, global, &command)? {
        Reached::Done => Ok(()),
        Reached::Server(client, is_new) => {
            let done = ask(client, global, &command, (name, &words), payload);
            if done.is_err() && is_new {
                background::stop_if_idle(home);
            }
            done
        }
    };
    match &command {
        Command::StopServer(stop) if stop.down => done.and_then(|()| taking_down::all(home)),
        _ => done,
    }
}

/// Has the server do it, and shows what it answers.
fn ask(
    mut client: Client,
    global: &Global,
    command: &Command,
    (name, words): (&str, &[String]),
    payload: Zeroizing<Vec<u8>>,
) -> Outcome {
    let limit = match command {
        Command::JoinWireguardNet(join) => PATIENCE + join.wait,
        _ => PATIENCE,
    };
    let answer = client.call(name, words, &payload, limit, output::say)?;
    drop(payload);
    show(global, command, &answer)?;
    if ends(command, &answer) && !client.wait_for_end(ENDING) {
        return Err(Failure::new(
            Exit::TimedOut,
            "the server said that it ends and is still there; its log says why",
        ));
    }
    Ok(())
}

fn rehearse(home: &Home, command: &Command, payload: &[u8]) -> Option<Outcome> {
    match command {
        Command::CreateWireguardNet(create) if create.tunnel.dry_run => {
            Some(rehearsal::create(home, create))
        }
        Command::JoinWireguardNet(join) if join.tunnel.dry_run => {
            Some(rehearsal::join(home, join, payload))
        }
        Command::LeaveWireguardNet(leave) if leave.dry_run => {
            Some(rehearsal::leave(home, &leave.net))
        }
        _ => None,
    }
}

/// The server has another working directory.
fn complete(command: &mut Command) -> Outcome {
    if let Command::CreateConfig(config) = command
        && let Some(path) = &mut config.output
    {
        *path = std::path::absolute(&*path)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        if path.to_str().is_none() {
            return Err(Failure::usage(format!(
                "{} is not UTF-8; choose another name",
                path.display()
            )));
        }
    }
    Ok(())
}

enum Reached {
    /// And whether it was started for this command.
    Server(Client, bool),
    /// There was nothing to ask a server.
    Done,
}

fn reach(home: &Home, global: &Global, command: &Command) -> Outcome<Reached> {
    match command {
        Command::CreateWireguardNet(_)
        | Command::JoinWireguardNet(_)
        | Command::ExchangeKeys(_) => {
            let (client, is_new) = background::connect_or_start(home, global)?;
            return Ok(Reached::Server(client, is_new));
        }
        _ => {}
    }
    if let Some(client) = Client::connect(home)? {
        return Ok(Reached::Server(client, false));
    }
    match command {
        Command::StopServer(stop) => {
            if !stop.down {
                output::say("no server runs");
            }
            Ok(Reached::Done)
        }
        Command::Status(status) if let Some(mut report) = idle(home)? => {
            if let Some(net) = &status.net {
                report.only(net)?;
            }
            let answer = serde_json::to_vec(&report).unwrap_or_default();
            show(global, command, &answer)?;
            Ok(Reached::Done)
        }
        Command::CreateConfig(config) => {
            let report = rehearsal::config(home, config)?;
            let answer = serde_json::to_vec(&report).unwrap_or_default();
            show(global, command, &answer)?;
            Ok(Reached::Done)
        }
        _ => Err(Failure::new(
            Exit::NoServer,
            format!(
                "no server runs for {}; `grid start-server` runs one in the foreground, \
                 `grid start-server --background` in the background",
                home.path().display()
            ),
        )),
    }
}

/// The status of a home without a server, if that is how it should be: it is in no network.
fn idle(home: &Home) -> Outcome<Option<StatusReport>> {
    let store = Store::look(home);
    let mut report = StatusReport::default();
    for loaded in store.networks()? {
        match loaded {
            Loaded::Whole(stored) if stored.record.is_left() => {
                report.left.push(stored.record.name().to_string());
            }
            Loaded::Whole(_) => return Ok(None),
            Loaded::Broken { name, error } => report.broken.push(BrokenReport {
                name,
                error: error.to_string(),
            }),
        }
    }
    if let Some(key) = store.node_key()? {
        report.node = key.id().to_string();
    }
    Ok(Some(report))
}

/// Shows what the server answered.
fn show(global: &Global, command: &Command, answer: &[u8]) -> Outcome {
    if global.json {
        output::print_bytes(answer)?;
        return output::print("\n");
    }
    match command {
        Command::Status(_) => output::print(&render::status(&read::<StatusReport>(answer)?)),
        Command::CreateWireguardNet(_) => {
            output::print(&render::joined("founded", &read::<JoinedReport>(answer)?))
        }
        Command::JoinWireguardNet(_) => {
            output::print(&render::joined("joined", &read::<JoinedReport>(answer)?))
        }
        Command::Invite(_) => {
            output::print(&read::<InviteReport>(answer)?.invite)?;
            output::print("\n")
        }
        Command::ExchangeKeys(_) => {
            output::print(&render::exchanged(&read::<ExchangedReport>(answer)?))
        }
        Command::CreateConfig(_) => {
            let report = read::<ConfigReport>(answer)?;
            output::print(&format!("{}\n", report.path))
        }
        _ => {
            let report = read::<ChangedReport>(answer)?;
            let already = if report.changed {
                ""
            } else {
                " (it was so already)"
            };
            output::print(&format!("{}{already}\n", report.text))
        }
    }
}

fn ends(command: &Command, answer: &[u8]) -> bool {
    matches!(
        command,
        Command::StopServer(_) | Command::LeaveWireguardNet(_)
    ) && read::<ChangedReport>(answer).is_ok_and(|report| report.stopping)
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Outcome<T> {
    serde_json::from_slice(answer).map_err(|error| {
        Failure::failed(format!(
            "the server's answer cannot be read ({error}): it is of another version; restart it"
        ))
    })
}
