//! One message, from its key to its answer.
//!
//! Who is asked, and in which order: the modules here that the tree knows to take such messages, best
//! first; those of which it knows nothing, in the order of their names; those that break too many of
//! their promises; then peers. The first that takes the message has it: what fails afterwards is not
//! tried with another, because nobody knows how far it came.

use std::sync::Arc;

use grid_keys::NodeId;
use grid_promises::Message;
use grid_promises::modules::fetch::{refuse, reject};
use grid_promises::routes::{Key, Target};
use tracing::debug;

use super::Inner;
use super::forward::{MAX_HOPS, Passed};
use super::handlers::Module;
use super::runner::{Came, Means};
use super::tree::{Way, What, general, particular};

/// Who is asked.
struct Plan {
    modules: Vec<Arc<Module>>,
    /// Whether there are others that rejected the same lately.
    is_rejected: bool,
    means: Means,
    /// The peers that are known to take such messages, best first.
    peers: Vec<NodeId>,
}

impl Inner {
    /// The answer to a message of a peer, whatever it is.
    pub(super) async fn answer(self: &Arc<Self>, peer: NodeId, bytes: &[u8]) -> Vec<u8> {
        let message = match Message::decode(bytes, &Message::BOUNDS) {
            Ok(message) => message,
            Err(error) => return refuse(&format!("that is no message: {error}")),
        };
        if message.promise != self.forward {
            return self.find(&message, &[peer], MAX_HOPS).await;
        }
        let passed = match Passed::read(&message, peer, self.endpoint.node_id()) {
            Ok(passed) => passed,
            Err(error) => return refuse(&error.to_string()),
        };
        let promise = passed.inner.promise;
        if self.is_own(&promise) {
            return refuse(
                "what is said under that promise depends on who says it: it is not forwarded",
            );
        }
        if !self.takes_part_in(&promise) {
            return reject(&promise);
        }
        self.find(&passed.inner, &passed.route, passed.left).await
    }

    async fn find(self: &Arc<Self>, message: &Message, route: &[NodeId], left: u8) -> Vec<u8> {
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
            match self.runner.run(module, message, &plan.means).await {
                Came::Answered(answer) => {
                    self.ways.learn_once(general(message), &target);
                    if answer.promise != self.refusal {
                        self.ways.note(general(message), &target, What::Kept);
                    }
                    return answer.encode();
                }
                Came::Broke(why) => {
                    self.ways.learn_once(general(message), &target);
                    self.ways.note(general(message), &target, What::Broken);
                    return refuse(&why);
                }
                Came::Silent(why) => {
                    // It took nothing, so another may.
                    self.ways.note(general(message), &target, What::Broken);
                    self.rejected(message, &target);
                    why_not.get_or_insert(why);
                }
                Came::Rejected(why) => {
                    self.rejected(message, &target);
                    why_not.get_or_insert(why);
                }
                Came::NotNow(why) => _ = why_not.get_or_insert(why),
            }
        }
        let forwarded = self.pass_on(message, &plan.peers, route, left).await;
        forwarded.unwrap_or_else(|| match why_not {
            Some(why) => refuse(&format!("no module here takes this message: {why}")),
            None => reject(&message.promise),
        })
    }

    fn rejected(&self, message: &Message, target: &Target) {
        if let Some(key) = particular(message) {
            self.ways.note(key, target, What::Rejected);
        }
    }

    /// Blocks.
    fn plan(&self, message: &Message) -> Option<Plan> {
        let settings = self.host.settings();
        let shelf = match self.library.of(&settings) {
            Ok(shelf) => shelf,
            Err(error) => {
                // Any command of the person says it too.
                debug!("a peer's message finds no module: {error}");
                return None;
            }
        };
        let key = Key::of(message);
        let here = shelf.modules(&settings, &message.promise, message.module.as_ref());
        let known = self.ways.known(key);
        for way in &known {
            if let Target::Module(code) = &way.target
                && !shelf.has(code)
            {
                self.ways.forget(&way.target);
            }
        }
        let peers = known.iter().filter_map(|way| match way.target {
            Target::Peer(node) => Some(node),
            _ => None,
        });
        let count = here.len();
        let modules = in_order(&known, here, |target| self.ways.rejects(key, target));
        Some(Plan {
            peers: peers.collect(),
            is_rejected: modules.len() < count,
            modules,
            means: Means {
                local: Arc::clone(&shelf.local),
                settings,
            },
        })
    }
}

fn in_order(
    known: &[Way],
    here: Vec<Arc<Module>>,
    rejects: impl Fn(&Target) -> bool,
) -> Vec<Arc<Module>> {
    let place = |module: &Arc<Module>| {
        let target = Target::Module(*module.descriptor.code());
        let at = known.iter().position(|way| way.target == target);
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
    // Stable: the unknown ones stay in the order of their names.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, module)| module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;
    use grid_promises::modules::{Descriptor, ModuleKind};

    fn module(name: &str) -> Arc<Module> {
        let code = ContentId::of(name.as_bytes());
        Arc::new(Module {
            name: name.to_owned(),
            descriptor: Descriptor::new(ContentId::of(b"p"), ModuleKind::Wasm, code),
        })
    }

    fn way(name: &str, is_demoted: bool) -> Way {
        Way {
            target: Target::Module(ContentId::of(name.as_bytes())),
            is_demoted,
        }
    }

    #[test]
    fn the_known_come_first_then_the_unknown_then_those_that_break_promises() {
        let here = ["a", "b", "c", "d", "e"].map(module).to_vec();
        let known = [
            way("d", false),
            way("gone", false),
            way("b", false),
            way("a", true),
        ];
        let rejecting = Target::Module(ContentId::of(b"c"));
        let order = in_order(&known, here, |target| *target == rejecting);
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["d", "b", "e", "a"]);
    }
}
