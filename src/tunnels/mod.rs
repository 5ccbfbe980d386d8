//! WireGuard, on a thread that may block: what the core wants is planned and applied in order.
//!
//! The thread owns every back end. What somebody else changes on an interface of ours is put right
//! by [`Tunnels::guard`] and [`Tunnels::look`]; what could not be done is tried again by the first of
//! them.

mod desired;
mod handshakes;
mod interface;
mod seen;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use grid_promises::core::Tunnel;
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::{Changes, Place};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

pub use desired::{desired, name_of};
pub use seen::{About, Observations};

use crate::exit::Failure;
use crate::store::InterfaceOptions;
use worker::Worker;

/// What the thread is asked for.
enum Job {
    Configure {
        network: NetworkId,
        name: NetworkName,
        options: InterfaceOptions,
        tunnel: Option<Box<Tunnel>>,
    },
    Check {
        name: NetworkName,
        options: InterfaceOptions,
        adopt: bool,
        answer: oneshot::Sender<Result<(), Failure>>,
    },
    Observe {
        put_right: bool,
        answer: oneshot::Sender<Observations>,
    },
    /// Answered with whether all is as it should be.
    Guard(oneshot::Sender<bool>),
    /// Answered once everything before it is done.
    Settled(oneshot::Sender<()>),
    End,
}

/// The thread, from outside.
#[derive(Clone)]
pub struct Tunnels {
    jobs: Sender<Job>,
    about: Arc<Mutex<BTreeMap<NetworkId, About>>>,
    configured: watch::Sender<u64>,
}

impl Tunnels {
    /// Starts the thread. Interfaces in userspace end with it: see [`close`](Self::close). WireGuard's
    /// own packets get the mark, if that is not 0.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn start(mark: u32) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, todo) = channel();
        let about = Arc::new(Mutex::new(BTreeMap::new()));
        let worker = Worker::new(Arc::clone(&about), mark);
        let thread = std::thread::Builder::new()
            .name("wireguard".to_owned())
            .spawn(move || run(worker, &todo))?;
        let configured = watch::Sender::new(0);
        let tunnels = Self {
            jobs,
            about,
            configured,
        };
        Ok((tunnels, thread))
    }

    /// Brings an interface to this state, after everything asked before.
    pub fn configure(
        &self,
        network: NetworkId,
        name: NetworkName,
        options: InterfaceOptions,
        tunnel: Option<Box<Tunnel>>,
    ) {
        // The thread is there for as long as this value.
        let _ = self.jobs.send(Job::Configure {
            network,
            name,
            options,
            tunnel,
        });
        self.configured
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes whenever something is configured.
    #[must_use]
    pub fn configured(&self) -> watch::Receiver<u64> {
        self.configured.subscribe()
    }

    /// Ends the thread once everything that was asked before is done.
    pub fn close(&self) {
        // It has ended by itself, if this fails.
        let _ = self.jobs.send(Job::End);
    }

    /// Whether an interface of this name could be made so. With `adopt`, one that is there is taken over
    /// when the name is configured next.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn check(
        &self,
        name: NetworkName,
        options: InterfaceOptions,
        adopt: bool,
    ) -> Result<(), Failure> {
        let asked = self
            .ask(|answer| Job::Check {
                name,
                options,
                adopt,
                answer,
            })
            .await;
        asked.unwrap_or_else(|| Err(Failure::failed("the server is about to end")))
    }

    /// Measures every interface.
    pub async fn observe(&self) -> Observations {
        self.measure(false).await
    }

    /// Measures every interface, and puts right what others changed.
    pub async fn look(&self) -> Observations {
        self.measure(true).await
    }

    async fn measure(&self, put_right: bool) -> Observations {
        let asked = self.ask(|answer| Job::Observe { put_right, answer });
        asked.await.unwrap_or_default()
    }

    /// Puts right what is not as it should be. Whether all of it is now.
    pub async fn guard(&self) -> bool {
        self.ask(Job::Guard).await.unwrap_or_default()
    }

    /// Waits until everything that was asked before is done.
    pub async fn settled(&self) {
        self.ask(Job::Settled).await;
    }

    /// What is known of an interface.
    #[must_use]
    pub fn about(&self, network: &NetworkId) -> About {
        let about = self.about.lock();
        about.get(network).cloned().unwrap_or_default()
    }

    /// Where this node's interfaces are.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Place> {
        let about = self.about.lock();
        let there = about.values().filter(|about| about.backend.is_some());
        there
            .map(|about| {
                about
                    .netns
                    .clone()
                    .map_or_else(Place::default, Place::in_netns)
            })
            .collect()
    }

    /// Whether these changes may be on an interface of ours.
    #[must_use]
    pub fn are_concerned(&self, changes: &Changes) -> bool {
        let about = self.about.lock();
        about
            .values()
            .filter(|about| about.backend.is_some())
            .any(|about| match about.index {
                Some(index) => changes.lost || changes.rules || changes.interfaces.contains(&index),
                None => true,
            })
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).ok()?;
        answered.await.ok()
    }
}

fn run(mut worker: Worker, todo: &Receiver<Job>) {
    while let Ok(first) = todo.recv() {
        // Of several wishes for one interface only the last one counts: the plan is a difference.
        let mut jobs = vec![first];
        jobs.extend(todo.try_iter());
        for at in 0..jobs.len() {
            let superseded = match jobs.get(at) {
                Some(Job::Configure { network, .. }) => jobs
                    .iter()
                    .skip(at + 1)
                    .take_while(|job| matches!(job, Job::Configure { .. }))
                    .any(|job| matches!(job, Job::Configure { network: later, .. } if later == network)),
                _ => false,
            };
            if superseded && let Some(job) = jobs.get_mut(at) {
                *job = Job::Settled(oneshot::channel().0);
            }
        }
        for job in jobs {
            // Whoever asked may have gone; then nobody needs the answer.
            match job {
                Job::Configure {
                    network,
                    name,
                    options,
                    tunnel,
                } => worker.configure(network, &name, options, tunnel),
                Job::Check {
                    name,
                    options,
                    adopt,
                    answer,
                } => drop(answer.send(worker.check(&name, &options, adopt))),
                Job::Observe { put_right, answer } => {
                    drop(answer.send(worker.observe(put_right)));
                }
                Job::Guard(answer) => drop(answer.send(worker.guard())),
                Job::Settled(answer) => drop(answer.send(())),
                Job::End => return,
            }
        }
    }
}
