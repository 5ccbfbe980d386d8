//! A command in words, as it goes to the server. Secrets are not among them.

use super::args::{Command, Join, TunnelOptions};
use super::duration;
use grid_wg::Table;

use crate::store::{Backend, table_word};
use clap::ValueEnum as _;

/// The promise that a command calls, and its words. `None` for commands that need no server.
#[must_use]
pub fn of(command: &Command) -> Option<(&'static str, Vec<String>)> {
    let mut words = Words::default();
    let name = match command {
        // `--down` is not the server's to do.
        Command::StopServer(_) => "stop-server",
        Command::CreateWireguardNet(create) => {
            words.add(&create.net);
            words.option("--ipv4", create.ipv4);
            if let Some(value) = create.admission.to_possible_value() {
                words.option("--admission", Some(value.get_name()));
            }
            words.tunnel(&create.tunnel);
            "create-wireguard-net"
        }
        Command::Invite(invite) => {
            words.add(&invite.net);
            words.option("--expires", Some(duration::format(invite.expires)));
            words.option("--uses", Some(invite.uses));
            for endpoint in &invite.endpoint {
                words.option("--endpoint", Some(endpoint));
            }
            "invite"
        }
        Command::JoinWireguardNet(join) => {
            words.join(join);
            "join-wireguard-net"
        }
        Command::LeaveWireguardNet(leave) => {
            words.add(&leave.net);
            "leave-wireguard-net"
        }
        Command::Status(status) => {
            if let Some(net) = &status.net {
                words.add(net);
            }
            "status"
        }
        Command::Accept(accept) => {
            words.add(&accept.net);
            words.add(&accept.what);
            words.option("--from", accept.from.as_ref());
            "accept"
        }
        Command::Reject(reject) => {
            words.add(&reject.net);
            words.add(reject.prefix);
            words.option("--from", reject.from.as_ref());
            "reject"
        }
        #[cfg(feature = "modules")]
        Command::AppointJudge(appoint) => {
            words.add(&appoint.net);
            words.add(&appoint.module);
            "appoint-judge"
        }
        Command::Promise(promise) => {
            words.add(&promise.net);
            words.add(promise.prefix);
            "promise"
        }
        Command::Withdraw(promise) => {
            words.add(&promise.net);
            words.add(promise.prefix);
            "withdraw"
        }
        Command::Revoke(revoke) => {
            words.add(&revoke.net);
            words.add(&revoke.node);
            "revoke"
        }
        Command::ExchangeKeys(exchange) => {
            words.add(&exchange.peer);
            "exchange-keys"
        }
        Command::CreateConfig(config) => {
            words.add(&config.net);
            let path = config.output.as_ref().and_then(|path| path.to_str());
            words.option("--output", path);
            "create-config"
        }
        Command::StartServer(_)
        | Command::GenerateKeys
        | Command::InstallService(_)
        | Command::WaitOnline(_)
        | Command::Contract(_)
        | Command::Replay(_)
        | Command::Module(_)
        | Command::Man { .. }
        | Command::Completions { .. } => return None,
        #[cfg(feature = "modules")]
        Command::Publish(_)
        | Command::Symbols(_)
        | Command::AdoptSymbols(_)
        | Command::Allow(_)
        | Command::Cas(_)
        | Command::Routes => return None,
    };
    Some((name, words.0))
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(&mut self, word: impl ToString) {
        self.0.push(word.to_string());
    }

    /// As one word, so that a value that begins with a dash stays a value.
    fn option(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.push(format!("{name}={}", value.to_string()));
        }
    }

    fn join(&mut self, join: &Join) {
        self.add(&join.net);
        if join.invite.is_some() {
            self.add("-");
        }
        self.option("--wait", Some(duration::format(join.wait)));
        self.tunnel(&join.tunnel);
    }

    fn tunnel(&mut self, options: &TunnelOptions) {
        if options.backend != Backend::Auto {
            self.option("--backend", Some(options.backend.as_str()));
        }
        self.option("--port", options.port);
        self.option("--netns", options.netns.as_ref());
        if options.table != Table::Auto {
            self.option("--table", Some(table_word(options.table)));
        }
        self.option("--metric", options.metric);
        if options.adopt {
            self.add("--adopt");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use super::*;
    use clap::Parser as _;

    fn parse(words: &[&str]) -> Command {
        let cli = Cli::try_parse_from(std::iter::once("grid").chain(words.iter().copied()));
        cli.unwrap().command.unwrap()
    }

    #[test]
    fn the_server_reads_what_the_person_typed() {
        for typed in [
            &[
                "create-wireguard-net",
                "foo",
                "--ipv4",
                "10.7.0.0/16",
                "--admission",
                "open",
            ][..],
            &[
                "create-wireguard-net",
                "foo",
                "--backend",
                "userspace",
                "--port",
                "7",
                "--netns",
                "/run/netns/box",
                "--table",
                "7",
                "--metric",
                "50",
                "--adopt",
            ],
            &[
                "invite",
                "foo",
                "--expires",
                "7d",
                "--uses",
                "3",
                "--endpoint",
                "192.0.2.1:9",
            ],
            &["join-wireguard-net", "foo", "-", "--wait", "2m"],
            &["join-wireguard-net", "foo"],
            &["leave-wireguard-net", "foo"],
            &["status"],
            &["status", "foo"],
            &["accept", "foo", "10.0.0.0/8", "--from", "box"],
            &["reject", "foo", "::/0"],
            &["promise", "foo", "192.168.7.0/24"],
            &["withdraw", "foo", "192.168.7.0/24"],
            &["revoke", "foo", "box"],
            &["exchange-keys", "192.0.2.1:51821"],
            &["create-config", "foo", "--output", "/tmp/x"],
            &["stop-server"],
        ] {
            let command = parse(typed);
            let (name, words) = of(&command).unwrap();
            assert_eq!(name, typed[0]);
            let mut again = vec![name];
            again.extend(words.iter().map(String::as_str));
            assert_eq!(format!("{:?}", parse(&again)), format!("{command:?}"));
        }
    }

    #[test]
    fn an_invite_is_not_among_the_words() {
        let command = parse(&["join-wireguard-net", "foo", "grid-invite-1.secret"]);
        let (_, words) = of(&command).unwrap();
        assert_eq!(words[..2], ["foo", "-"]);
        assert!(!words.concat().contains("secret"));
    }
}
