//! `grid recover NET FILE|-`: makes this node an owner, with the key that is above every owner.
//!
//! The key is a secret: it comes from paper through standard input, or from a file, crosses the control socket in the
//! request's payload, and is wiped at both ends. The server does not keep it.

use std::path::PathBuf;

use grid_promises::core::Command as Wish;
use grid_promises::network::name::NetworkName;
use grid_promises::network::recovery::RecoveryKey;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::named::Named;
use crate::command::{Caller, Command, Served, asking};
use crate::console::handing_over;
use crate::exit::{Failure, Outcome};
use crate::node::{NodeHandle, Progress};
use crate::values::secret::SecretText;
use crate::values::text;

/// Make this node an owner with the recovery key
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, which this node is in or waits to be admitted to
    net: NetworkName,

    /// The file that holds the recovery key, or `-` to read it from standard input
    #[arg(value_name = "FILE|-")]
    key: PathBuf,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    key: SecretText,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let request = Request {
            net: self.net,
            key: handing_over::recovery_key(&self.key)?,
        };
        read(&request.key)?;
        asking::ask(caller, &request)
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::RECOVER;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let mut text = format!("this node is an owner of \"{}\"", self.net);
        let wish = Wish::Recover {
            key: read(&self.key)?,
            name: self.net.clone(),
        };
        let reply = node.command(wish, None).await?;
        let status = node.status().await?;
        let network = status.network(self.net.as_str()).into_iter();
        let mut remain: Vec<Named> = network
            .flat_map(|network| &network.owners)
            .filter(|owner| owner.live && owner.depth > 0 && owner.node != status.node)
            .map(|owner| Named {
                node: owner.node.clone(),
                name: owner.name.clone(),
                own: false,
            })
            .collect();
        remain.dedup_by(|one, other| one.node == other.node);
        if !remain.is_empty() {
            let remain: Vec<String> = remain.iter().map(Named::in_full).collect();
            text.push_str("; owners beside it: ");
            text.push_str(&remain.join(", "));
            text.push_str("; ");
            text.push_str(&advice::ends_an_owner(&self.net));
        }
        Ok(ChangedReport::of(&reply, text))
    }
}

/// Reads what a person wrote down.
pub(super) fn read(key: &SecretText) -> Outcome<RecoveryKey> {
    RecoveryKey::from_text(key.expose())
        .map_err(|error| Failure::usage(format!("{error}; nothing was changed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request;

    #[test]
    fn the_key_is_in_the_payload_alone_and_never_shown() {
        let request = Request {
            net: "foo".parse().unwrap(),
            key: "0123-4567".parse().unwrap(),
        };
        assert!(!format!("{request:?}").contains("0123"));
        let message = request::encode(Request::PROMISE.id(), &request).unwrap();
        assert!(!message.args.concat().windows(4).any(|word| word == b"0123"));
        let error = read(&request.key).unwrap_err().to_string();
        assert!(!error.contains("0123"), "{error}");
    }
}
