//! `grid dismiss-owner NET NODE`: as an owner, ends what offices an owner below this one holds.

use std::io::{self, Write};
use std::path::PathBuf;

use grid_promises::core::{Command as Wish, Cut, Dismissal, Reply, Undone};
use grid_promises::network::act::Action;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::departures::{DepartureOptions, Departures, Withdrawing};
use crate::command::named::{Named, Names};
use crate::command::{Caller, Command, Report, Served};
use crate::commands::recover;
use crate::console::{handing_over, output};
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

    /// Its last act that counts; all later ones are void (`grid owners` lists acts) [default: all that is known counts, or nothing is done]
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
    pub node: String,
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
}

impl Report for DismissedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (net, node) = (&self.net, &self.node);
        let is = if self.changed { "is" } else { "would be" };
        writeln!(out, "{node} {is} no owner of \"{net}\" any longer")?;
        for void in &self.void {
            writeln!(out, "void: {} ({})", void.what, &void.act)?;
        }
        if self.restated && !self.void.is_empty() {
            writeln!(
                out,
                "what became void and can be done again is done again by this node"
            )?;
        }
        self.departures.show(out, "as nobody else let them in")
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

    fn foretell(&self, plan: &DismissedReport) {
        for void in &plan.void {
            output::say(&format!("this becomes void: {}", void.what));
        }
        if let Some(gone) = plan.departures.gone() {
            output::say(&format!("these go: {gone}"));
        }
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
                void,
                affected,
            } => Ok(DismissedReport {
                changed: !self.departures.dry_run,
                net: self.net.to_string(),
                node: node.to_string(),
                void: void.iter().map(|undone| report(undone, &names)).collect(),
                departures: Departures::new(&self.departures, &names, &affected),
                restated: self.restate,
            }),
            _ => Err(unexpected()),
        }
    }
}

fn report(undone: &Undone, names: &Names) -> VoidReport {
    let one = |node| Named::list(&names.of_all(&[node]));
    let what = match &undone.action {
        Action::Admit { nodes, .. } => format!(
            "the admission by name of {}",
            Named::list(&names.of_all(nodes))
        ),
        Action::Close { invite, .. } => format!("the closing of the invite {}", invite.short()),
        Action::Revoke { node } => format!("the revocation of {}", one(*node)),
        Action::Appoint { node } => format!("the appointment of {}", one(*node)),
        Action::Dismiss { .. } => "the dismissal of an owner".to_owned(),
    };
    VoidReport {
        act: undone.act.to_string(),
        at: undone.issued.0,
        owner: undone.owner.to_string(),
        what: format!("{what} by {}", one(undone.owner)),
    }
}
