//! `grid invites NET`: shows the invites to a network, as far as this node can know of them.

use std::io::{self, Write};

use grid_keys::NodeId;
use grid_promises::core::{Command as Wish, Reply, VoidInvite};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::named::{Named, Names};
use crate::command::{Caller, Command, Report, Served, asking};
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::units::span;
use crate::values::{moment, text};

/// Show the invites to a network: those that were used, and those that this node made
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,
}

/// The invites to a network.
#[derive(Debug, Serialize, Deserialize)]
pub struct InvitesReport {
    /// The network.
    net: String,
    /// The invites, the latest first.
    invites: Vec<OneInvite>,
}

/// One invite. Its key, which admits, is not in it.
#[derive(Debug, Serialize, Deserialize)]
struct OneInvite {
    /// Its id: the public half of its key.
    invite: String,
    /// Who made it.
    issuer: Named,
    /// Whether that is this node.
    is_own: bool,
    /// How many nodes it may admit.
    uses: u32,
    /// How many used it.
    used: usize,
    /// Who used it, as far as that is known.
    #[serde(default)]
    users: Vec<Named>,
    /// When it was made, in Unix time, as its maker says.
    made: u64,
    /// Until when it can be used, in Unix time.
    expires: u64,
    /// Whether an owner closed it.
    closed: bool,
    /// Why it lets nobody else in, if that is because of who made it.
    #[serde(default)]
    void: Option<String>,
}

impl OneInvite {
    fn by(&self) -> &str {
        if self.is_own {
            "this node"
        } else {
            self.issuer.word()
        }
    }
}

impl Report for InvitesReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.invites.is_empty() {
            return writeln!(out, "nobody came by an invite, and this node made none");
        }
        let now = moment::now().0;
        let widest = self
            .invites
            .iter()
            .map(|one| one.by().chars().count())
            .max();
        let width = widest.unwrap_or_default().clamp(2, 20);
        writeln!(
            out,
            "{:10}  {:width$}  {:>9}  {:>8}  EXPIRES     WHO CAME BY IT",
            "INVITE", "BY", "USED", "MADE"
        )?;
        for one in &self.invites {
            let id: String = one.invite.chars().take(10).collect();
            let by: String = one.by().chars().take(width).collect();
            let used = format!("{}/{}", one.used, one.uses);
            let made = span(now.saturating_sub(one.made));
            let expires = match one.expires.checked_sub(now) {
                _ if one.closed => "closed".to_owned(),
                Some(_) if one.void.is_some() => "void".to_owned(),
                Some(left) => format!("in {}", span(left)),
                None => "expired".to_owned(),
            };
            let line = format!("{id}  {by:width$}  {used:>9}  {made:>8}  {expires:10}");
            let users = Named::list(&one.users);
            writeln!(out, "{}", format!("{line}  {users}").trim_end())?;
            if expires == "void" {
                writeln!(
                    out,
                    "{:10}  {}",
                    "",
                    one.void.as_deref().unwrap_or_default()
                )?;
            }
        }
        Ok(())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::INVITES;
    type Report = InvitesReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<InvitesReport> {
        let names = Names::of(node, &self.net).await?;
        let wish = Wish::Invites {
            name: self.net.clone(),
        };
        let Reply::Invites(invites) = node.command(wish, None).await? else {
            return Err(unexpected());
        };
        let invites = invites.into_iter().map(|one| OneInvite {
            invite: one.invite.to_string(),
            is_own: names.is_own(&one.issuer),
            issuer: names.of_one(one.issuer),
            uses: one.uses,
            used: one.users.len(),
            users: names.of_all(&one.users),
            made: one.issued.0,
            expires: one.expires.0,
            closed: one.is_closed,
            void: one.void.map(|why| in_words(why, one.issuer, &names)),
        });
        Ok(InvitesReport {
            net: self.net.to_string(),
            invites: invites.collect(),
        })
    }
}

/// Why an invite of this issuer lets nobody else in.
fn in_words(why: VoidInvite, issuer: NodeId, names: &Names) -> String {
    let (node, became) = match why {
        VoidInvite::Revoked(node) => (node, "was revoked"),
        VoidInvite::Dismissed(node) => (node, "was dismissed"),
        VoidInvite::NoMember(node) => (node, "is no member any longer"),
    };
    let named = names.of_one(node);
    let who = if named.own {
        named.word().to_owned()
    } else {
        named.in_full()
    };
    let what = if node == issuer {
        "who made it"
    } else {
        "by which whoever made it came"
    };
    format!("it lets nobody else in: {who}, {what}, {became}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(first: u8) -> NodeId {
        NodeId([first; 32])
    }

    #[test]
    fn an_invite_of_somebody_who_is_out_is_void_and_says_why() {
        let names = Names::new(&node(1), [(node(2), "c"), (node(3), "d")]);
        let issuer = names.of_one(node(3));
        let invite = |void: Option<VoidInvite>, closed| OneInvite {
            invite: node(9).to_string(),
            issuer: issuer.clone(),
            is_own: false,
            uses: 3,
            used: 0,
            users: Vec::new(),
            made: moment::now().0,
            expires: moment::now().0 + 3600,
            closed,
            void: void.map(|why| in_words(why, node(3), &names)),
        };
        let report = InvitesReport {
            net: "foo".to_owned(),
            invites: vec![
                invite(Some(VoidInvite::Revoked(node(2))), false),
                invite(Some(VoidInvite::Dismissed(node(3))), true),
                invite(None, false),
            ],
        };
        let mut out = Vec::new();
        report.show(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].trim_end().ends_with("  void"), "{text}");
        let c = node(2).to_string();
        assert_eq!(
            lines[2].trim_start(),
            format!(
                "it lets nobody else in: c ({}), by which whoever made it came, was revoked",
                &c[..10]
            )
        );
        assert!(lines[3].trim_end().ends_with("  closed"), "{text}");
        assert!(lines[4].contains("  in "), "{text}");
    }
}
