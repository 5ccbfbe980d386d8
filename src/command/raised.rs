//! The report of a command by which an owner admits or appoints a node.

use std::io::{self, Write};

use grid_promises::core::Reply;
use serde::{Deserialize, Serialize};

use super::caller::Report;
use super::departures::{self, Decision, Departures, Tense};
use super::named::{Named, Names};
use crate::exit::Outcome;
use crate::node::joining::unexpected;

/// Who is admitted or appointed, and who is back with it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RaisedReport {
    /// Whether it was not so before.
    pub changed: bool,
    /// What holds now, or would, as a sentence.
    pub text: String,
    /// The network.
    pub net: String,
    /// The node.
    #[serde(flatten)]
    pub node: Named,
    /// Nodes that came from it are back.
    #[serde(flatten)]
    pub departures: Departures,
}

impl RaisedReport {
    /// The report that follows from the core's reply about the node that a person called so. `raised` is what it is
    /// now.
    ///
    /// # Errors
    /// The reply is another.
    pub fn of(
        reply: &Reply,
        (called, raised, net): (&str, &str, String),
        dry_run: bool,
        names: &Names,
    ) -> Outcome<Self> {
        let raised = format!("{raised} \"{net}\"");
        let (changed, node, text, departures) = match reply {
            Reply::Unchanged => {
                let node = names.called(called);
                let text = format!("{} is {raised} already", node.in_full());
                (false, node, text, Departures::none(dry_run))
            }
            Reply::Raised { node, affected } => {
                let node = names.of_one(*node);
                let is = if dry_run { "would be" } else { "is" };
                let text = format!("{} {is} {raised}", node.in_full());
                let departures = Departures::new(dry_run, names, affected);
                (!dry_run, node, text, departures)
            }
            _ => return Err(unexpected()),
        };
        Ok(Self {
            changed,
            text,
            net,
            node,
            departures,
        })
    }
}

impl Report for RaisedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        departures::show(self, &[], out)
    }
}

impl Decision for RaisedReport {
    fn tense(&self) -> Tense {
        self.departures.tense()
    }

    fn decided(&self) -> String {
        self.text.clone()
    }

    fn follows(&self, tense: Tense) -> Vec<String> {
        self.departures
            .in_words(&self.net, "as they came from it", tense)
    }
}
