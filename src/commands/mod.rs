//! All commands, one file each: its arguments, its request, what the server does with that, its report,
//! and what a person sees.
//!
//! The list below is the only one: the parser, the dispatch of the command line and the dispatch of the
//! server are generated from it.

pub mod accept;
#[cfg(feature = "modules")]
pub mod adopt_symbols;
#[cfg(feature = "modules")]
pub mod allow;
pub mod appoint_judge;
mod appoint_owner;
#[cfg(feature = "modules")]
pub mod call_module;
#[cfg(feature = "modules")]
pub mod cas;
mod close_invite;
pub mod completions;
pub mod contract;
pub mod create_config;
pub mod create_wireguard_net;
mod dismiss_owner;
pub mod exchange_keys;
#[cfg(feature = "modules")]
pub mod fetch;
pub mod generate_keys;
pub mod install_service;
pub mod invite;
mod invites;
pub mod join_wireguard_net;
#[cfg(feature = "modules")]
mod judges;
pub mod leave_wireguard_net;
pub mod man;
#[cfg(not(feature = "modules"))]
pub mod no_modules;
pub mod owners;
mod promise;
#[cfg(feature = "modules")]
pub mod publish;
mod recover;
pub mod reject;
pub mod replay;
pub mod revoke;
#[cfg(feature = "modules")]
pub mod routes;
pub mod start_server;
pub mod status;
pub mod stop_server;
#[cfg(feature = "modules")]
pub mod symbols;
pub mod wait_online;
pub mod withdraw;

#[cfg(feature = "modules")]
pub use call_module::{call, show};
#[cfg(feature = "modules")]
use judges::{judge_code, judge_opinions};
#[cfg(not(feature = "modules"))]
pub use no_modules::{call, show};
#[cfg(not(feature = "modules"))]
use no_modules::{judge_code, judge_opinions};

use std::ffi::OsString;
use std::process::ExitCode;

use grid_promises::Message;

use crate::command::{Caller, Command as _, Served, served};
use crate::control::confidential::Confidential;
use crate::exit::Outcome;
use crate::node::service::Answering;
use crate::node::{NodeHandle, Progress};

/// Generates the subcommands and both dispatches.
///
/// A line names the subcommand, the type of its arguments and, if the server carries it out, that of its
/// request. An attribute holds for all of them: `#[cfg(feature = "modules")]`.
macro_rules! commands {
    (commands { $($(#[$attribute:meta])* $command:ident($args:ty) $(asks $request:ty)?;)* }
     requests { $($(#[$only:meta])* $other:ty;)* }) => {
        /// The commands, in the order in which `grid --help` lists them.
        #[derive(Debug, clap::Subcommand)]
        #[allow(missing_docs, reason = "what a command does is said in its file")]
        pub enum Command {
            $($(#[$attribute])* $command($args),)*
            /// Call a module by its name in the symbol table
            #[command(external_subcommand)]
            Module(Vec<OsString>),
        }

        impl Command {
            /// Runs the command. The exit code is that of the program that it called, if it called one.
            ///
            /// # Errors
            /// Why it failed.
            pub fn run(self, caller: &Caller) -> Outcome<ExitCode> {
                match self {
                    $($(#[$attribute])* Self::$command(args) => args.run(caller)?,)*
                    Self::Module(words) => return call(caller, &words),
                }
                Ok(ExitCode::SUCCESS)
            }
        }

        async fn carry_out(
            node: &NodeHandle,
            message: &Message,
            progress: &Progress,
        ) -> Outcome<crate::node::Answer> {
            $($(#[$attribute])* {
                $(if message.promise == <$request as Served>::PROMISE.id() {
                    return served::answer::<$request>(node, message, progress).await;
                })?
            })*
            $($(#[$only])*
            if message.promise == <$other as Served>::PROMISE.id() {
                return served::answer::<$other>(node, message, progress).await;
            })*
            Err(served::unknown(message))
        }

        /// Calls `look` for each request with the name of its command, its promise, and what serde says to
        /// an unknown field.
        #[cfg(test)]
        fn each_request(mut look: impl FnMut(&str, &str, String)) {
            $($(#[$attribute])* {
                $(let promise = <$request as Served>::PROMISE.name;
                look(stringify!($command), promise, complaint::<$request>());)?
            })*
            $($(#[$only])*
            look(stringify!($other), <$other as Served>::PROMISE.name, complaint::<$other>());)*
        }
    };
}

commands! {
    commands {
        StartServer(start_server::Args);
        StopServer(stop_server::Args) asks stop_server::Request;
        CreateWireguardNet(create_wireguard_net::Args) asks create_wireguard_net::Args;
        Invite(invite::Args) asks invite::Request;
        Invites(invites::Args) asks invites::Args;
        CloseInvite(close_invite::Args) asks close_invite::Args;
        JoinWireguardNet(join_wireguard_net::Args) asks join_wireguard_net::Request;
        LeaveWireguardNet(leave_wireguard_net::Args) asks leave_wireguard_net::Args;
        Status(status::Args) asks status::Args;
        Accept(accept::Args) asks accept::Request;
        Reject(reject::Args) asks reject::Args;
        AppointJudge(appoint_judge::Args) asks appoint_judge::Request;
        Replay(replay::Args);
        Promise(promise::Args) asks promise::Args;
        Withdraw(withdraw::Args) asks withdraw::Args;
        Revoke(revoke::Args) asks revoke::Args;
        Owners(owners::Args) asks owners::Args;
        AppointOwner(appoint_owner::Args) asks appoint_owner::Args;
        DismissOwner(dismiss_owner::Args) asks dismiss_owner::Args;
        Recover(recover::Args) asks recover::Request;
        ExchangeKeys(exchange_keys::Args) asks exchange_keys::Request;
        GenerateKeys(generate_keys::Args);
        CreateConfig(create_config::Args) asks create_config::Request;
        InstallService(install_service::Args);
        WaitOnline(wait_online::Args);
        #[cfg(feature = "modules")]
        Publish(publish::Args);
        #[cfg(feature = "modules")]
        Symbols(symbols::Args);
        #[cfg(feature = "modules")]
        AdoptSymbols(adopt_symbols::Args);
        #[cfg(feature = "modules")]
        Allow(allow::Args);
        Contract(contract::Args);
        #[cfg(feature = "modules")]
        Cas(cas::Args);
        #[cfg(feature = "modules")]
        Routes(routes::Args) asks routes::Request;
        Man(man::Args);
        Completions(completions::Args);
    }

    // Sent by other commands; no person types them.
    requests {
        #[cfg(feature = "modules")]
        fetch::Request;
    }
}

/// Carries out the request in a message from the control socket.
#[must_use]
pub fn serve(node: NodeHandle, message: Confidential, progress: Progress) -> Answering {
    Box::pin(async move { carry_out(&node, &message, &progress).await })
}

#[cfg(test)]
fn complaint<R: Served>() -> String {
    let read = serde_json::from_str::<R>(r#"{"no-such-field":0}"#);
    read.err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A server that ignored a field of a newer program would do something else than what was meant.
    #[test]
    fn no_request_takes_a_field_that_it_does_not_know() {
        each_request(|request, _, complaint| {
            assert!(
                complaint.contains("no-such-field"),
                "{request}: {complaint}"
            );
        });
    }

    /// Whether a request is read whose field at `place`, a JSON pointer, has another value.
    fn reads<R: Served>(request: &Value, place: &str, value: Value) -> bool {
        let mut request = request.clone();
        *request.pointer_mut(place).unwrap() = value;
        serde_json::from_value::<R>(request).is_ok()
    }

    /// The parser's bounds hold in the server too: another program can send a request as well.
    #[test]
    fn a_request_holds_only_what_the_command_line_takes() {
        let tunnel = json!({
            "backend": "auto", "port": null, "netns": null, "table": "auto", "metric": null, "adopt": false
        });
        let join = json!({ "net": "foo", "invite": null, "wait": "30s", "tunnel": tunnel });
        type Join = join_wireguard_net::Request;
        assert!(reads::<Join>(&join, "/wait", json!("1s")));
        assert!(reads::<Join>(&join, "/tunnel/port", json!(1)));
        for (place, value) in [
            ("/net", json!("a b")),
            ("/wait", json!("0s")),
            ("/wait", json!("18446744073709551615s")),
            ("/wait", json!({ "secs": 1, "nanos": 0 })),
            ("/tunnel/port", json!(0)),
            ("/tunnel/port", json!(65_536)),
            ("/tunnel/table", json!("255")),
            ("/tunnel/netns", json!("../x")),
            ("/tunnel/metric", json!(-1)),
        ] {
            assert!(
                !reads::<Join>(&join, place, value.clone()),
                "{place} {value}"
            );
        }

        let found = json!({ "net": "foo", "ipv4": null, "admission": "invite", "tunnel": tunnel });
        assert!(!reads::<create_wireguard_net::Args>(
            &found,
            "/tunnel/port",
            json!(0)
        ));
        assert!(!reads::<create_wireguard_net::Args>(
            &found,
            "/ipv4",
            json!("10.0.0.0/33")
        ));

        let invite = json!({ "net": "foo", "expires": "24h", "uses": 1, "endpoints": [] });
        assert!(!reads::<invite::Request>(
            &invite,
            "/expires",
            json!("9999999d")
        ));

        let rule = json!({ "net": "foo", "prefix": "10.0.0.0/8" });
        let other = json!("10.1.2.3/8");
        assert!(reads::<promise::Args>(&rule, "/prefix", json!("10.1.2.3")));
        assert!(!reads::<promise::Args>(&rule, "/prefix", other.clone()));
        assert!(!reads::<withdraw::Args>(&rule, "/prefix", other.clone()));
        let rule = json!({ "net": "foo", "prefix": "10.0.0.0/8", "from": null });
        assert!(!reads::<reject::Args>(&rule, "/prefix", other.clone()));
        let rule =
            json!({ "net": "foo", "what": { "prefix": { "prefix": "10.0.0.0/8", "from": "a" } } });
        assert!(!reads::<accept::Request>(
            &rule,
            "/what/prefix/prefix",
            other
        ));
    }

    #[test]
    fn requests_are_made_under_the_promise_of_their_command() {
        each_request(|command, promise, _| {
            let mut name = String::new();
            for letter in command.chars().filter(|_| !command.contains("::")) {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.extend(letter.to_lowercase());
            }
            assert!(name.is_empty() || name == promise, "{command}: {promise}");
        });
    }
}
