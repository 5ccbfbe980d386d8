//! The request that ends the server.

use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use super::changed::ChangedReport;
use super::served::Served;
use crate::exit::Outcome;
use crate::node::{NodeHandle, Progress};

/// That the server is to end.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Only if a command started it in the background and nothing came of it: no network, and no other
    /// request that succeeded or is under way. The server decides, because only it knows of all requests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    if_idle: bool,
}

impl Request {
    /// For a server that may have been started for a command that failed.
    pub const IF_IDLE: Self = Self { if_idle: true };
}

impl Served for Request {
    const PROMISE: Promise = texts::STOP_SERVER;
    type Report = ChangedReport;

    const RELIES_ON_THE_SERVER: bool = false;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let stopping = !self.if_idle || node.close_if_idle().await?;
        let text = if stopping {
            "the server stopped"
        } else {
            "the server is in use"
        };
        Ok(ChangedReport {
            changed: stopping,
            text: text.to_owned(),
            stopping,
        })
    }

    fn ends_the_server(report: &ChangedReport) -> bool {
        report.stopping
    }
}
