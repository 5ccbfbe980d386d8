//! `grid owners NET`: shows who decides in a network.

use std::io::{self, Write};

use grid_promises::Timestamp;
use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::act::Action;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::deeds;
use crate::command::named::{Names, short};
use crate::command::{Caller, Command, Report, Served, asking};
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::status::OwnerReport;
use crate::node::{NodeHandle, Progress};
use crate::values::{moment, text};

/// Show who decides in a network
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// Also list what the owners did: when, the first digits of its id, and what
    #[arg(long)]
    #[serde(default)]
    acts: bool,
}

/// Who decides.
#[derive(Debug, Serialize, Deserialize)]
pub struct OwnersReport {
    /// The network.
    pub net: String,
    /// This node.
    #[serde(default)]
    pub own: String,
    /// Whether its charter names a recovery key.
    pub recovery_key: bool,
    /// Every office, ended ones too; seniors first.
    pub owners: Vec<OwnerReport>,
    /// Offices that others took the place of.
    #[serde(default)]
    pub heirs: Vec<HeirReport>,
    /// What they did, if that was asked for; the latest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts: Option<Vec<ActReport>>,
}

/// An office whose holder took the place of one that was dismissed.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeirReport {
    /// The office that ended.
    pub ended: String,
    /// The one that is above those that it appointed, in its place.
    pub office: String,
}

/// Something that an owner did.
#[derive(Debug, Serialize, Deserialize)]
pub struct ActReport {
    /// Its id.
    pub act: String,
    /// When it was done, in Unix time, as its owner says.
    pub at: u64,
    /// Who did it.
    pub owner: String,
    /// What it was, in words.
    pub what: String,
    /// Whether it counts.
    pub counts: bool,
}

impl Report for OwnersReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let holders = self.holders();
        let words = || holders.iter().map(|offices| self.word(offices[0]));
        let width = words().map(|word| word.chars().count()).max();
        let width = width.unwrap_or_default();
        for offices in &holders {
            let ended = if offices[0].live { "" } else { ", dismissed" };
            let count: usize = offices.iter().map(|office| office.acts).sum();
            let acts = if count == 1 { "act" } else { "acts" };
            let (word, from) = (self.word(offices[0]), self.from(offices[0]));
            writeln!(out, "{word:width$}  {from}, {count} {acts}{ended}")?;
            // Those that ended say nothing of one that decides.
            let shown = offices
                .iter()
                .filter(|office| office.live == offices[0].live);
            for office in shown {
                show_heads(office, width, out)?;
            }
        }
        if !self.recovery_key {
            writeln!(out, "{}", advice::has_no_recovery_key())?;
        }
        for act in self.acts.iter().flatten() {
            let (at, id) = (moment::format(Timestamp(act.at)), short(&act.act));
            let void = if act.counts { "" } else { ", void" };
            writeln!(out, "{at}  {id}  {}{void}", act.what)?;
        }
        Ok(())
    }
}

/// The last acts of an office.
fn show_heads(office: &OwnerReport, width: usize, out: &mut dyn Write) -> io::Result<()> {
    match office.heads.as_slice() {
        [] => Ok(()),
        [last] => writeln!(out, "{:width$}  last act {}", "", short(last)),
        several => {
            let several: Vec<&str> = several.iter().map(|head| short(head)).collect();
            writeln!(
                out,
                "{:width$}  TWO BRANCHES of its acts are known, as after a restored backup or a stolen key: {}",
                "",
                several.join(", ")
            )
        }
    }
}

impl OwnersReport {
    /// The offices of each node; the one by which it decides comes first.
    fn holders(&self) -> Vec<Vec<&OwnerReport>> {
        let mut holders: Vec<Vec<&OwnerReport>> = Vec::new();
        for office in &self.owners {
            let same = |offices: &&mut Vec<&OwnerReport>| offices[0].node == office.node;
            match holders.iter_mut().find(same) {
                Some(offices) if office.live && !offices[0].live => offices.insert(0, office),
                Some(offices) => offices.push(office),
                None => holders.push(vec![office]),
            }
        }
        holders
    }

    fn word(&self, owner: &OwnerReport) -> String {
        if owner.depth == 0 {
            return "the recovery key".to_owned();
        }
        let (id, name) = (short(&owner.node), owner.name.as_str());
        let own = if owner.node == self.own {
            ", this node"
        } else {
            ""
        };
        match name {
            "" => format!("{id}{own}"),
            name => format!("{name} ({id}{own})"),
        }
    }

    fn from(&self, owner: &OwnerReport) -> String {
        if owner.depth == 0 {
            return "above all owners".to_owned();
        }
        let above = owner.above.as_ref().and_then(|above| self.office(above));
        let (Some(above), Some(_)) = (above, owner.since) else {
            return "founder".to_owned();
        };
        let mut text = format!("appointed by {}", self.word(above));
        let mut heirs = self.heirs.iter();
        let place = heirs.find(|heir| heir.office == owner.office);
        if let Some(ended) = place.and_then(|heir| self.office(&heir.ended)) {
            text.push_str(&format!(" in place of {}", self.word(ended)));
        }
        if let Some(heir) = self.in_place_of(&above.office).filter(|_| owner.live) {
            text.push_str(&format!(", below {} now", self.word(heir)));
        }
        text
    }

    fn office(&self, id: &str) -> Option<&OwnerReport> {
        self.owners.iter().find(|office| office.office == id)
    }

    /// The last of those that took the place of an office, one after the other; `None` if nobody did.
    fn in_place_of(&self, ended: &str) -> Option<&OwnerReport> {
        let next = |office: &str| {
            let mut heirs = self.heirs.iter();
            let heir = heirs.find(|heir| heir.ended == office)?;
            self.office(&heir.office)
        };
        let first = next(ended);
        // No more than there are: what others signed is not to make this go on for ever.
        std::iter::successors(first, |heir| next(&heir.office))
            .take(self.owners.len())
            .last()
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::OWNERS;
    type Report = OwnersReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<OwnersReport> {
        let mut status = node.status().await?;
        status.only(&self.net)?;
        let network = status.networks.into_iter().next();
        let is_here = network.is_some();
        let (recovery_key, owners) = network
            .map(|network| (network.recovery_key, network.owners))
            .unwrap_or_default();
        let (heirs, acts) = match is_here || self.acts {
            true => acts(&self.net, node).await?,
            false => (Vec::new(), Vec::new()),
        };
        Ok(OwnersReport {
            net: self.net.to_string(),
            own: status.node,
            recovery_key,
            owners,
            heirs,
            acts: self.acts.then_some(acts),
        })
    }
}

/// Who took whose place, and what all did.
async fn acts(net: &NetworkName, node: &NodeHandle) -> Outcome<(Vec<HeirReport>, Vec<ActReport>)> {
    let names = Names::of(node, net).await?;
    let wish = Wish::Acts { name: net.clone() };
    let Reply::Acts(acts) = node.command(wish, None).await? else {
        return Err(unexpected());
    };
    let heirs = acts.iter().filter_map(|(act, counts)| match act.action {
        Action::Dismiss {
            office,
            heir: Some(_),
            ..
        } if *counts => Some(HeirReport {
            ended: office.0.to_string(),
            // The act that ends one office makes the other.
            office: act.act.to_string(),
        }),
        _ => None,
    });
    let heirs = heirs.collect();
    let acts = acts.iter().map(|(act, counts)| ActReport {
        act: act.act.to_string(),
        at: act.issued.0,
        owner: act.owner.to_string(),
        what: deeds::in_words(act, &names),
        counts: *counts,
    });
    Ok((heirs, acts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office(node: &str, office: &str, depth: u32, live: bool) -> OwnerReport {
        OwnerReport {
            node: format!("{node}{}", "x".repeat(20)),
            name: node.to_owned(),
            office: office.to_owned(),
            depth,
            above: (depth > 1).then(|| "first".to_owned()),
            since: (depth > 1).then_some(5),
            live,
            acts: 1,
            heads: vec![format!("{office:0<64}")],
        }
    }

    #[test]
    fn each_owner_has_one_line_and_this_node_is_marked() {
        let report = OwnersReport {
            net: "foo".to_owned(),
            own: format!("b{}", "x".repeat(20)),
            recovery_key: true,
            owners: vec![
                office("a", "first", 1, true),
                office("b", "ended", 2, false),
                office("b", "0b", 2, true),
                office("c", "0c", 2, false),
            ],
            heirs: Vec::new(),
            acts: Some(vec![ActReport {
                act: format!("{:0<64}", "0a"),
                at: 1_800_000_000,
                owner: "a".to_owned(),
                what: "the revocation of d by a".to_owned(),
                counts: false,
            }]),
        };
        let mut out = Vec::new();
        report.show(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
a (axxxxxxxxx)             founder, 1 act
                           last act first00000
b (bxxxxxxxxx, this node)  appointed by a (axxxxxxxxx), 2 acts
                           last act 0b00000000
c (cxxxxxxxxx)             appointed by a (axxxxxxxxx), 1 act, dismissed
                           last act 0c00000000
2027-01-15T08:00:00Z  0a00000000  the revocation of d by a, void
"
        );
    }

    #[test]
    fn an_heir_is_shown_above_those_whom_the_dismissed_one_appointed() {
        let mut key = office("k", "key", 0, true);
        key.acts = 1;
        let founder = OwnerReport {
            above: Some("key".to_owned()),
            ..office("a", "first", 1, false)
        };
        let heir = OwnerReport {
            above: Some("key".to_owned()),
            since: Some(9),
            ..office("d", "0d", 1, true)
        };
        let report = OwnersReport {
            net: "foo".to_owned(),
            own: String::new(),
            recovery_key: true,
            owners: vec![key, founder, heir, office("b", "0b", 2, true)],
            heirs: vec![HeirReport {
                ended: "first".to_owned(),
                office: "0d".to_owned(),
            }],
            acts: None,
        };
        let mut out = Vec::new();
        report.show(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("appointed by the recovery key in place of a (axxxxxxxxx), 1 act\n"),
            "{text}"
        );
        assert!(
            text.contains("appointed by a (axxxxxxxxx), below d (dxxxxxxxxx) now, 1 act\n"),
            "{text}"
        );
    }
}
