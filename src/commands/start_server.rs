//! `grid start-server`: runs this node, in the foreground or in the background.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::command::asking::{ENDING, TRIES};
use crate::command::{Caller, Command, background, changed};
use crate::console::output;
use crate::exit::{Exit, Failure, Outcome};
use crate::rehearsal::{PlanReport, Rehearsal};
use crate::server;
use crate::store::ServerLock;

/// Run this node in the foreground
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where QUIC listens, overriding the home's configuration
    #[arg(
        long,
        value_name = "ADDR:PORT",
        help = "Where QUIC listens [default: what the home's configuration says, or [::]:51821]"
    )]
    listen: Option<SocketAddr>,

    /// Where others can reach this node's QUIC, if that is not one of its own addresses
    #[arg(long, value_name = "ADDR:PORT")]
    endpoint: Vec<SocketAddr>,

    /// Join with the invites in this folder (*.invite, mode 0600), and remove each once it is used
    #[arg(long, value_name = "FOLDER", conflicts_with = "dry_run")]
    join_dir: Option<PathBuf>,

    /// Run it in the background and return once it answers
    #[arg(long, conflicts_with = "dry_run")]
    background: bool,

    /// This process is the one in the background
    #[arg(long, hide = true)]
    background_child: bool,

    /// A test instrument: append every message that goes to or comes from a peer to FILE, in
    /// plaintext
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "background")]
    tap: Option<PathBuf>,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if self.dry_run {
            return rehearse(caller);
        }
        if self.background {
            return self.in_background(caller);
        }
        if self.background_child {
            background::detach();
        }
        server::run(
            caller.home(),
            &server::Options {
                listen: self.listen,
                endpoints: self.endpoint,
                background: self.background_child,
                verbose: caller.verbose(),
                join_dir: self.join_dir,
                tap: self.tap,
            },
            caller.program().service,
        )
    }
}

/// Prints what a server would configure when it starts. One that runs has done that already, and its
/// interfaces in user space would look like somebody else's from here.
fn rehearse(caller: &Caller) -> Outcome {
    let rehearsal = Rehearsal::begin(caller.home())?;
    let Some(pid) = ServerLock::holder(caller.home()) else {
        return caller.show(&rehearsal.start()?);
    };
    let nets: Vec<String> = rehearsal
        .networks()
        .map(|net| format!("\"{net}\""))
        .collect();
    let has = match nets.as_slice() {
        [] => "it is in no network".to_owned(),
        nets => format!("it has configured {} already", nets.join(", ")),
    };
    output::say(&format!(
        "a server runs for this home (process {pid}); {has}, and a second one would not start"
    ));
    caller.show(&PlanReport::default())
}

impl Args {
    fn in_background(&self, caller: &Caller) -> Outcome {
        let mut more = Vec::new();
        if let Some(listen) = self.listen {
            more.push(format!("--listen={listen}"));
        }
        for endpoint in &self.endpoint {
            more.push(format!("--endpoint={endpoint}"));
        }
        if let Some(folder) = &self.join_dir {
            let whole = std::path::absolute(folder)
                .ok()
                .and_then(|folder| folder.to_str().map(str::to_owned))
                .ok_or_else(|| {
                    Failure::usage(format!(
                        "{} is not UTF-8, or there is no working directory; name another folder",
                        folder.display()
                    ))
                })?;
            more.push(format!("--join-dir={whole}"));
        }
        for _ in 0..TRIES {
            let (mut client, is_own) = match background::running(caller.home())? {
                Some(client) => (client, false),
                None => background::launch(caller, &more)?,
            };
            if background::rely_on(&mut client)? && (is_own || background::goes_on(caller.home())?)
            {
                let text = if is_own {
                    "a server runs in the background"
                } else {
                    output::say(if more.is_empty() {
                        "a server runs already"
                    } else {
                        "a server runs already; the options given here do not change it"
                    });
                    "a server runs already"
                };
                return changed::show_json(caller, is_own, text);
            }
            client.wait_for_end(ENDING);
        }
        Err(Failure::new(
            Exit::NoServer,
            "each server that was found or started ended at once; the log says why",
        ))
    }
}
