//! `grid stop-server`: ends the home's server; with `--down` also what goes on without one, which is
//! WireGuard in the kernel, and policy rules that a killed server left.
//!
//! This process takes that down, not the server, which promises to leave interfaces of the kernel as they
//! are. Only what the home's own keys prove to be the node's is touched; the networks stay on disk.

use grid_wg::Error;

pub use crate::command::stopping::Request;
use crate::command::{Caller, Command, asking, changed};
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::{Loaded, ServerLock, Store, Stored};
use crate::tunnels::name_of;

/// Stop this home's server; userspace interfaces are removed, the networks stay on disk
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also take down kernel interfaces, which otherwise keep running; works without a server
    #[arg(long)]
    down: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let client = Client::connect(caller.home())?;
        let is_running = client.is_some();
        match client {
            Some(client) => asking::ask_through(client, caller, &Request::default())?,
            None if self.down => {}
            None => output::say("no server is running"),
        }
        if self.down {
            take_down(caller.home())?;
        }
        if is_running {
            return Ok(());
        }
        changed::show_json(caller, false, "no server is running")
    }
}

/// Takes down the interfaces of all networks of the home.
///
/// # Errors
/// A server runs, or an interface could not be taken down; the others were.
fn take_down(home: &Home) -> Outcome {
    if !home.path().exists() {
        return Ok(());
    }
    // A server that starts meanwhile would put them back.
    let _lock = ServerLock::take(home)?;
    let mut failed = Ok(());
    for loaded in Store::look(home).networks()? {
        let Loaded::Whole(stored) = loaded else {
            continue;
        };
        if let Err(failure) = take_one_down(&stored) {
            failed = failed.and(Err(failure));
        }
    }
    failed
}

fn take_one_down(stored: &Stored) -> Outcome {
    // None: it was left, and nothing of it is here.
    let Some(key) = &stored.record.private_key else {
        return Ok(());
    };
    let name = name_of(stored.record.name())?;
    let options = &stored.interface;
    let removed = grid_wg::open(options.backend.into(), &options.place())
        .and_then(|mut backend| backend.remove(&name, &key.public()));
    match removed {
        Ok(true) => output::say(&format!("{name}: the interface is taken down")),
        Ok(false) => {}
        // One of that name is somebody else's; one in a namespace that is gone went with it.
        Err(Error::ForeignInterface { .. } | Error::NoNetns { .. }) => {}
        Err(error) => {
            return Err(Failure::failed(format!(
                "{name}: the interface could not be taken down: {error}"
            )));
        }
    }
    Ok(())
}
