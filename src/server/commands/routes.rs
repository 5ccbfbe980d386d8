//! `routes`: what this node learned of who keeps which promise; and, from the command line after a
//! person called a module, one more thing to learn.

use grid_promises::{ContentId, Message};

use super::super::context::Context;
use super::{Answer, answer};
use crate::exit::{Failure, Outcome};

/// Carries out what a message under `routes` asks.
pub(super) async fn routes(context: &Context, message: &Message) -> Outcome<Answer> {
    let args: Vec<&[u8]> = message.args.iter().map(Vec::as_slice).collect();
    let id = |bytes: &[u8]| ContentId::from_bytes(bytes).map_err(|_| unknown());
    match args.as_slice() {
        [] => {
            let dispatcher = context.modules.dispatcher().clone();
            let report = tokio::task::spawn_blocking(move || dispatcher.report());
            let report = report.await;
            let report = report.map_err(|_| Failure::failed("the tree could not be read"))?;
            answer(&report?)
        }
        [how @ (b"kept" | b"broken"), promise, module] => {
            let is_kept = *how == b"kept";
            context
                .modules
                .dispatcher()
                .count(id(promise)?, id(module)?, is_kept);
            answer(&())
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> Failure {
    Failure::usage("routes takes nothing, or \"kept\" or \"broken\" with a promise and a module")
}
