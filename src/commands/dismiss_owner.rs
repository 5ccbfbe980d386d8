//! `grid dismiss-owner NET NODE`: as an owner, ends what offices an owner below this one holds.

use std::io::{self, Write};
use std::path::PathBuf;

use grid_promises::core::{Command as Wish, Cut, Dismissal, Reply, Undone};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::deeds;
use crate::command::departures::{
    self, Decision, DepartureOptions, Departures, Tense, Withdrawing,
};
use crate::command::named::{self, Named, Names};
use crate::command::{Caller, Command, Report, Served};
use crate::commands::recover;
use crate::console::handing_over;
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::secret::SecretText;
use crate::values::text;

/// Make an owner below this node an owner no longer (owners only)
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The owner: its id, the beginning of it, or its name
    node: String,

    /// Its last act that counts, or the first digits of it; all later ones are void (`grid owners NET --acts` lists
    /// them) [default: all that is known counts, or nothing is done]
    #[arg(long, value_name = "ACT", conflicts_with = "void_all")]
    #[serde(default)]
    up_to: Option<String>,

    /// Nothing that it did counts
    #[arg(long)]
    #[serde(default)]
    void_all: bool,

    /// Do what becomes void once more, as this node: admissions by name, closed invites, revocations
    #[arg(long)]
    #[serde(default)]
    restate: bool,

    /// It stays a member
    #[arg(long)]
    #[serde(default)]
    stay: bool,

    /// Who goes with it.
    #[command(flatten)]
    departures: DepartureOptions,

    /// Who is above those that it appointed, from now on [default with a recovery key: this node]
    #[arg(long, value_name = "NODE")]
    #[serde(default)]
    heir: Option<String>,

    /// Dismiss with the recovery key in that file, or read from standard input (`-`), and make this node its heir: also
    /// a founder, and also where this node is no owner or was put out
    #[arg(long, value_name = "FILE|-")]
    #[serde(skip)]
    recovery_key: Option<PathBuf>,

    /// The recovery key itself.
    #[arg(skip)]
    #[serde(default)]
    recovery: Option<SecretText>,
}

/// What follows from a dismissal.
#[derive(Debug, Serialize, Deserialize)]
pub struct DismissedReport {
    /// Whether anything changed.
    pub changed: bool,
    /// The network.
    pub net: String,
    /// Who was dismissed.
    #[serde(flatten)]
    pub node: Named,
    /// The owner whose admission by name keeps it a member; if none, it is no member any longer.
    #[serde(default)]
    pub stays_by: Option<Named>,
    /// What counted and does not any longer, revocations first.
    pub void: Vec<VoidReport>,
    /// Members that came in by its word alone go.
    #[serde(flatten)]
    pub departures: Departures,
    /// Whether what became void was done once more.
    pub restated: bool,
}

/// An act that counts no longer.
#[derive(Debug, Serialize, Deserialize)]
pub struct VoidReport {
    /// Its id.
    pub act: String,
    /// When it was done, in Unix time, as its owner says.
    pub at: u64,
    /// Who did it.
    pub owner: String,
    /// What it was, in words.
    pub what: String,
    /// Whether the owner who dismisses does it once more.
    #[serde(default)]
    pub restated: bool,
}

impl Report for DismissedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        departures::show(self, &[], out)
    }
}

impl Decision for DismissedReport {
    fn tense(&self) -> Tense {
        self.departures.tense()
    }

    fn decided(&self) -> String {
        let (net, node) = (&self.net, self.node.in_full());
        let (is, stays) = match self.departures.dry_run {
            true => ("would be", "would stay"),
            false => ("is", "stays"),
        };
        let is = format!("{node} {is} no owner of \"{net}\" any longer");
        match &self.stays_by {
            None => format!("{is}, and no member"),
            Some(owner) => {
                let puts_out = advice::puts_out(net, named::short(&self.node.node));
                let owner = owner.word();
                format!("{is}. It {stays} a member, as {owner} admitted it by name: {puts_out}")
            }
        }
    }

    fn follows(&self, tense: Tense) -> Vec<String> {
        let void = self.void.iter().map(|void| {
            let again = if void.restated {
                tense.of(", and done again by this node", ", done again by this node")
            } else {
                ""
            };
            let is = tense.of("would be void", "void");
            format!("{is}{again}: {} ({})", void.what, named::short(&void.act))
        });
        let why = "as nobody else let them in";
        let who = self.departures.in_words(&self.net, why, tense);
        void.chain(who).collect()
    }
}

impl Command for Args {
    fn run(mut self, caller: &Caller) -> Outcome {
        if let Some(path) = self.recovery_key.take() {
            let key = handing_over::recovery_key(&path)?;
            recover::read(&key)?;
            self.recovery = Some(key);
        }
        self.ask(caller)
    }
}

impl Withdrawing for Args {
    fn departures(&mut self) -> &mut DepartureOptions {
        &mut self.departures
    }
}

impl Args {
    fn dismissal(&self) -> Outcome<Dismissal> {
        Ok(Dismissal {
            node: self.node.clone(),
            cut: match (&self.up_to, self.void_all) {
                (Some(act), _) => Cut::After(act.clone()),
                (None, true) => Cut::Nothing,
                (None, false) => Cut::Now,
            },
            heir: self.heir.clone(),
            recovery: self.recovery.as_ref().map(recover::read).transpose()?,
            stays: self.stay,
            keep: self.departures.keep(),
            restate: self.restate,
            only_say: self.departures.dry_run,
        })
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::DISMISS_OWNER;
    type Report = DismissedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<DismissedReport> {
        let names = Names::of(node, &self.net).await?;
        let wish = Wish::Dismiss {
            name: self.net.clone(),
            dismissal: self.dismissal()?,
        };
        match node.command(wish, None).await? {
            Reply::Dismissed {
                node,
                named_by,
                void,
                affected,
            } => Ok(DismissedReport {
                changed: !self.departures.dry_run,
                net: self.net.to_string(),
                node: names.of_one(node),
                stays_by: named_by.map(|owner| names.of_one(owner)),
                void: void
                    .iter()
                    .map(|undone| report(undone, self.restate, &names))
                    .collect(),
                departures: Departures::new(self.departures.dry_run, &names, &affected)
                    .kept_by(&self.departures),
                restated: self.restate,
            }),
            _ => Err(unexpected()),
        }
    }
}

fn report(undone: &Undone, restate: bool, names: &Names) -> VoidReport {
    VoidReport {
        act: undone.act.to_string(),
        at: undone.issued.0,
        owner: undone.owner.to_string(),
        what: deeds::in_words(undone, names),
        restated: restate && undone.action.can_be_restated(),
    }
}
