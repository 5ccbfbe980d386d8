//! WireGuard, on a thread that may block: it plans and applies what the core wants, in order.
//!
//! The thread owns every back end. [`Tunnels::repair`] and [`Tunnels::observe_and_repair`] undo what
//! somebody else changed on our interfaces; the former also retries what failed.

mod desired;
mod handshakes;
mod interface;
mod interface_status;
mod worker;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};

use grid_promises::core::Tunnel;
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::{Changes, Place};
use tokio::sync::{oneshot, watch};

pub use desired::{desired, name_of};
pub use interface_status::{InterfaceStatus, Observations};

use crate::exit::Failure;
use crate::store::InterfaceOptions;
use interface_status::Statuses;
use worker::Worker;

/// What the thread is asked to do.
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
        repair: bool,
        answer: oneshot::Sender<Observations>,
    },
    /// Answered with whether everything is as it should be.
    Repair(oneshot::Sender<bool>),
    /// Answered once all jobs before it are done.
    Settled(oneshot::Sender<()>),
    End,
}

/// The handle of the thread.
#[derive(Clone)]
pub struct Tunnels {
    jobs: Sender<Job>,
    statuses: Statuses,
    configured: watch::Sender<u64>,
}

impl Tunnels {
    /// Starts the thread. Userspace interfaces end with it: see [`close`](Self::close). WireGuard's
    /// own packets get the mark, unless it is 0.
    ///
    /// # Errors
    /// The system cannot start another thread.
    pub fn start(mark: u32) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, todo) = channel();
        let statuses = Statuses::default();
        let worker = Worker::new(statuses.clone(), mark);
        let thread = std::thread::Builder::new()
            .name("wireguard".to_owned())
            .spawn(move || run(worker, &todo))?;
        let configured = watch::Sender::new(0);
        let tunnels = Self {
            jobs,
            statuses,
            configured,
        };
        Ok((tunnels, thread))
    }

    /// Gives an interface this state, after all jobs before. `None` takes it down.
    pub fn configure(
        &self,
        network: NetworkId,
        name: NetworkName,
        options: InterfaceOptions,
        tunnel: Option<Box<Tunnel>>,
    ) {
        // The thread lives as long as this handle.
        let _ = self.jobs.send(Job::Configure {
            network,
            name,
            options,
            tunnel,
        });
        self.check_soon();
    }

    /// Has the interfaces checked in a moment: what this machine is connected to has changed.
    pub fn check_soon(&self) {
        self.configured
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes whenever something is configured or may have to be.
    #[must_use]
    pub fn configured(&self) -> watch::Receiver<u64> {
        self.configured.subscribe()
    }

    /// Ends the thread once all jobs before are done.
    pub fn close(&self) {
        // If this fails, it has ended already.
        let _ = self.jobs.send(Job::End);
    }

    /// Checks that an interface of this name can be made with these options. With `adopt`, an
    /// existing one is taken over when the name is next configured.
    ///
    /// # Errors
    /// What prevents it.
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

    /// Measures every interface, and undoes what others changed.
    pub async fn observe_and_repair(&self) -> Observations {
        self.measure(true).await
    }

    async fn measure(&self, repair: bool) -> Observations {
        let asked = self.ask(|answer| Job::Observe { repair, answer });
        asked.await.unwrap_or_default()
    }

    /// Repairs every interface that is not as it should be. False: one of them still is not.
    pub async fn repair(&self) -> bool {
        self.ask(Job::Repair).await.unwrap_or_default()
    }

    /// Waits until all jobs before are done.
    pub async fn settled(&self) {
        self.ask(Job::Settled).await;
    }

    /// What is known of an interface.
    #[must_use]
    pub fn status(&self, network: &NetworkId) -> InterfaceStatus {
        self.statuses.get(network)
    }

    /// The places of this node's interfaces.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Place> {
        self.statuses.places()
    }

    /// Whether these changes may concern one of our interfaces.
    #[must_use]
    pub fn are_concerned(&self, changes: &Changes) -> bool {
        self.statuses.are_concerned(changes)
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).ok()?;
        answered.await.ok()
    }
}

fn run(mut worker: Worker, todo: &Receiver<Job>) {
    while let Ok(first) = todo.recv() {
        // Of several states wanted for one interface only the last one counts.
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
            // Whoever asked may have given up; then nobody needs the answer.
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
                Job::Observe { repair, answer } => drop(answer.send(worker.observe(repair))),
                Job::Repair(answer) => drop(answer.send(worker.repair())),
                Job::Settled(answer) => drop(answer.send(())),
                Job::End => return,
            }
        }
    }
}
