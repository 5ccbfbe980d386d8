//! One message, from its key to its answer.
//!
//! Targets are tried in this order: local modules that the tree knows to accept such messages, best
//! first; modules that it knows nothing about, by name; modules that break too many of their promises;
//! then peers. The first to accept the message gets it. If that one then fails, no other is tried,
//! because nobody knows how far the first one got.

use std::sync::Arc;

use grid_keys::NodeId;
use grid_promises::Message;
use grid_promises::modules::fetch::{refuse, reject};
use grid_promises::routes::{Key, Target};
use tracing::debug;

use super::Inner;
use super::forward::{Forwarded, MAX_HOPS};
use super::handlers::Handler;
use super::runner::{CallContext, Ran};
use super::shared_tree::{Candidate, Observed, general, particular};
use crate::caller::Caller;

/// Which targets are tried.
struct Plan {
    modules: Vec<Arc<Handler>>,
    /// Whether modules were left out because they recently rejected the same message.
    is_rejected: bool,
    context: CallContext,
    /// The peers known to accept such messages, best first.
    peers: Vec<NodeId>,
}

impl Inner {
    /// Answers a message of a peer, whatever it is.
    pub(super) async fn answer(self: &Arc<Self>, caller: &Caller, bytes: &[u8]) -> Vec<u8> {
        let message = match Message::decode(bytes, &Message::BOUNDS) {
            Ok(message) => message,
            Err(error) => return refuse(&format!("that is no message: {error}")),
        };
        if message.promise != self.forward {
            return self.find(caller, &message, &[caller.node], MAX_HOPS).await;
        }
        let passed = match Forwarded::read(&message, caller.node, self.endpoint.node_id()) {
            Ok(passed) => passed,
            Err(error) => return refuse(&error.to_string()),
        };
        let promise = passed.inner.promise;
        if self.is_own(&promise) {
            return refuse(
                "what is said under that promise depends on who says it: it is not forwarded",
            );
        }
        // It counts as the forwarder's own message. One that may not send it learns the same as from a node that
        // takes no part, and asks the next peer.
        if !self.host.admission(caller, &promise).is_granted() {
            return reject(&promise);
        }
        self.find(caller, &passed.inner, &passed.route, passed.left)
            .await
    }

    async fn find(
        self: &Arc<Self>,
        caller: &Caller,
        message: &Message,
        route: &[NodeId],
        left: u8,
    ) -> Vec<u8> {
        let share = (caller.node, self.host.admission(caller, &message.promise));
        let (inner, call) = (Arc::clone(self), message.clone());
        let plan = tokio::task::spawn_blocking(move || inner.plan(&call)).await;
        let Ok(Some(plan)) = plan else {
            return refuse("this node cannot look for a module at present; try again later");
        };
        let mut why_not = plan
            .is_rejected
            .then(|| "the same was rejected lately".to_owned());
        for module in &plan.modules {
            let target = Target::Module(*module.descriptor.code());
            let running = self.runner.run(module, message, &plan.context, share);
            match running.await {
                Ran::Answered(answer) => {
                    self.tree.learn_once(general(message), &target);
                    if answer.promise != self.refusal {
                        self.tree.note(general(message), &target, Observed::Kept);
                    }
                    return answer.encode();
                }
                Ran::Broke(why) => {
                    self.tree.learn_once(general(message), &target);
                    self.tree.note(general(message), &target, Observed::Broken);
                    return refuse(&why);
                }
                Ran::Silent(why) => {
                    // It did not accept the message, so another may.
                    self.tree.note(general(message), &target, Observed::Broken);
                    self.rejected(message, &target);
                    why_not.get_or_insert(why);
                }
                Ran::Rejected(why) => {
                    self.rejected(message, &target);
                    why_not.get_or_insert(why);
                }
                Ran::NotNow(why) => _ = why_not.get_or_insert(why),
            }
        }
        let forwarded = self.pass_on(caller, message, &plan.peers, route, left);
        let forwarded = forwarded.await;
        forwarded.unwrap_or_else(|| match why_not {
            Some(why) => refuse(&format!("no module here takes this message: {why}")),
            None => reject(&message.promise),
        })
    }

    fn rejected(&self, message: &Message, target: &Target) {
        if let Some(key) = particular(message) {
            self.tree.note(key, target, Observed::Rejected);
        }
    }

    /// Blocks.
    fn plan(&self, message: &Message) -> Option<Plan> {
        let settings = self.host.settings();
        let handlers = match self.handlers.of(&settings) {
            Ok(handlers) => handlers,
            Err(error) => {
                // Every command on this node says so too.
                debug!("a peer's message finds no module: {error}");
                return None;
            }
        };
        let key = Key::of(message);
        let here = handlers.modules(&settings, &message.promise, message.module.as_ref());
        let known = self.tree.known(key);
        for candidate in &known {
            if let Target::Module(code) = &candidate.target
                && !handlers.has(code)
            {
                self.tree.forget(&candidate.target);
            }
        }
        let peers = known.iter().filter_map(|candidate| match candidate.target {
            Target::Peer(node) => Some(node),
            _ => None,
        });
        let count = here.len();
        let modules = in_order(&known, here, |target| self.tree.rejects(key, target));
        Some(Plan {
            peers: peers.collect(),
            is_rejected: modules.len() < count,
            modules,
            context: CallContext {
                local: Arc::clone(&handlers.local),
                settings,
            },
        })
    }
}

fn in_order(
    known: &[Candidate],
    here: Vec<Arc<Handler>>,
    rejects: impl Fn(&Target) -> bool,
) -> Vec<Arc<Handler>> {
    let place = |module: &Arc<Handler>| {
        let target = Target::Module(*module.descriptor.code());
        let at = known
            .iter()
            .position(|candidate| candidate.target == target);
        match at.and_then(|at| Some((at, known.get(at)?.is_demoted))) {
            Some((at, false)) => Some((0, at)),
            Some((at, true)) => Some((2, at)),
            None if rejects(&target) => None,
            None => Some((1, 0)),
        }
    };
    let mut placed: Vec<_> = here
        .into_iter()
        .filter_map(|module| Some((place(&module)?, module)))
        .collect();
    // Stable: unknown modules stay sorted by name.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, module)| module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;
    use grid_promises::modules::{Descriptor, ModuleKind};

    fn module(name: &str) -> Arc<Handler> {
        let code = ContentId::of(name.as_bytes());
        Arc::new(Handler {
            name: name.to_owned(),
            descriptor: Descriptor::new(ContentId::of(b"p"), ModuleKind::Wasm, code),
        })
    }

    fn candidate(name: &str, is_demoted: bool) -> Candidate {
        Candidate {
            target: Target::Module(ContentId::of(name.as_bytes())),
            is_demoted,
        }
    }

    #[test]
    fn the_known_come_first_then_the_unknown_then_those_that_break_promises() {
        let here = ["a", "b", "c", "d", "e"].map(module).to_vec();
        let known = [
            candidate("d", false),
            candidate("gone", false),
            candidate("b", false),
            candidate("a", true),
        ];
        let rejecting = Target::Module(ContentId::of(b"c"));
        let order = in_order(&known, here, |target| *target == rejecting);
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["d", "b", "e", "a"]);
    }
}
