//! Invites that were left in a folder for this server: an image joins with one at its first start.
//!
//! | what becomes of a file | when |
//! |---|---|
//! | removed | this node is a member by it, that is on disk, and another member has answered |
//! | kept, and tried again | nobody can be reached, or something on this machine is in the way |
//! | set aside as `*.refused` | it is no invite, expired or used up, or its network cannot be joined |
//! | left alone | others could read it, or it is no file of this user |
//!
//! It refuses to look at the folder more than once in the life of a server, and to say what is in a file.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grid_files::disk::{Disk as _, RealDisk};
use grid_files::{FileError, atomic};
use grid_promises::core::{Command as Wish, CommandError, JoinWith, Ranges};
use grid_promises::limits::MAX_INVITE_TEXT;
use grid_promises::network::invite::{Invite, InviteError};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::advice;
use crate::exit::{Failure, Outcome};
use crate::node::status::NetworkReport;
use crate::node::{NodeHandle, joining};
use crate::store::{InterfaceOptions, Store, StoreError};
use crate::values::moment;

/// How the names of invites end.
const INVITE: &str = ".invite";
/// What is put behind the name of one that was refused.
const REFUSED: &str = ".refused";
/// How many files are looked at.
const MOST: usize = 64;
/// How long one attempt waits for members.
const WAIT: Duration = Duration::from_secs(30);
/// The pause after the first attempt, which doubles, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Ends, as a channel does, when its last copy is dropped.
type Begun = mpsc::Sender<Infallible>;

/// What an attempt came to.
enum Attempt {
    /// This node is a member by it.
    UsedUp,
    /// It will never be one by it.
    Refused(String),
    /// It is not to be touched.
    LeftAlone(String),
    /// Another attempt may come to something else.
    Later(String),
    /// The file is not there any more.
    Gone,
}

/// Tries every invite in a folder until something has become of each. `begun` is dropped once each was
/// tried for the first time: networks that are joined by then are on disk, or will never be.
pub(super) async fn follow_all(node: NodeHandle, folder: PathBuf, begun: Begun) {
    let names = match block_in_place(|| names(&folder)) {
        Ok(names) => names,
        Err(error) => {
            error!("no invites are taken from {}: {error}", folder.display());
            return;
        }
    };
    if names.len() > MOST {
        warn!(
            "{} holds more than {MOST} invites; the first {MOST} are tried, the others when the server \
             starts next",
            folder.display()
        );
    }
    let mut files = JoinSet::new();
    for name in names.into_iter().take(MOST) {
        let file = File {
            node: node.clone(),
            folder: folder.clone(),
            name,
        };
        files.spawn(file.follow(begun.clone()));
    }
    drop(begun);
    while files.join_next().await.is_some() {}
}

/// The names of the invites in a folder, in ascending order. Of a folder that is not there, none.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match RealDisk.list(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = entries.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| name.ends_with(INVITE)).collect())
}

/// One file.
struct File {
    node: NodeHandle,
    folder: PathBuf,
    name: String,
}

impl File {
    async fn follow(self, begun: Begun) {
        let path = self.folder.join(&self.name);
        let path = path.display();
        let mut begun = Some(begun);
        let (mut pause, longest) = PAUSES;
        let mut said = None;
        loop {
            match self.attempt(&mut begun).await {
                Attempt::UsedUp => return self.remove(),
                Attempt::Refused(why) => return self.set_aside(&why),
                Attempt::LeftAlone(why) => {
                    error!("the invite {path} is not used: {why}");
                    return;
                }
                Attempt::Gone => {
                    info!("the invite {path} is gone");
                    return;
                }
                Attempt::Later(why) => {
                    if said.as_ref() != Some(&why) {
                        warn!("the invite {path} is kept and tried again: {why}");
                        said = Some(why);
                    }
                }
            }
            begun = None;
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn attempt(&self, begun: &mut Option<Begun>) -> Attempt {
        let invite = match block_in_place(|| self.read()) {
            Ok(invite) => invite,
            Err(attempt) => return attempt,
        };
        match self.of_its_network(&invite).await {
            Err(failure) => return Attempt::Later(failure.text),
            Ok(Some(attempt)) => return attempt,
            Ok(None) => {}
        }
        match invite.check(&invite.charter.name, moment::now()) {
            // This machine's clock may not be set yet.
            Err(error @ InviteError::Future { .. }) => {
                return Attempt::Later(advice::on_invite(&error));
            }
            Err(error) => return Attempt::Refused(advice::on_invite(&error)),
            Ok(()) => {}
        }
        match self.join(invite, begun).await {
            Err(failure) => Attempt::Later(failure.text),
            Ok(Ok(())) => Attempt::UsedUp,
            Ok(Err(
                error @ (CommandError::InviteSpent
                | CommandError::PutOut { .. }
                | CommandError::Invite(_)
                | CommandError::Admission(_)),
            )) => Attempt::Refused(advice::on_command(&error)),
            Ok(Err(error)) => Attempt::Later(advice::on_command(&error)),
        }
    }

    /// The invite, if it is one.
    fn read(&self) -> Result<Invite, Attempt> {
        let path = self.folder.join(&self.name);
        let store = Store::look(self.node.home());
        // White space may be in it too.
        let bytes = match store.read_private(&path, 2 * MAX_INVITE_TEXT as u64) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Attempt::Gone),
            Err(StoreError::File(FileError::Read { source, .. }))
                if source.kind() == ErrorKind::FileTooLarge =>
            {
                return Err(Attempt::Refused(said(InviteError::TooLong)));
            }
            Err(error @ StoreError::File(FileError::Read { .. })) => {
                return Err(Attempt::Later(error.to_string()));
            }
            Err(error @ StoreError::File(FileError::Damaged { .. })) => {
                return Err(Attempt::Refused(error.to_string()));
            }
            Err(error) => return Err(Attempt::LeftAlone(error.to_string())),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| InviteError::NotAnInvite);
        text.and_then(Invite::from_text)
            .map_err(|error| Attempt::Refused(advice::on_invite(&error)))
    }

    /// What follows from this node's being in the network already, or in another one of its name; `None`
    /// if it is in neither.
    async fn of_its_network(&self, invite: &Invite) -> Outcome<Option<Attempt>> {
        let status = self.node.status().await?;
        let name = invite.charter.name.as_str();
        if let Some(broken) = status.broken.iter().find(|broken| broken.name == name) {
            return Ok(Some(Attempt::LeftAlone(format!(
                "there is a network \"{name}\" that could not be started: {}",
                broken.error
            ))));
        }
        Ok(status.network(name).map(|network| {
            if network.id == invite.charter.network().to_string() {
                membership(network)
            } else {
                Attempt::Refused(format!(
                    "this node is in another network that is called \"{name}\" too"
                ))
            }
        }))
    }

    /// Joins. The inner result is the core's.
    async fn join(
        &self,
        invite: Invite,
        begun: &mut Option<Begun>,
    ) -> Outcome<Result<(), CommandError>> {
        joining::check_contract(&self.node, &invite.charter.contract)?;
        let name = invite.charter.name.clone();
        let interface = InterfaceOptions::default();
        let prepared =
            joining::prepare(&self.node, &name, interface.clone(), None, false, None).await?;
        let (listen_port, _reservation) = prepared;
        let wish = Wish::Join {
            name,
            with: JoinWith::Invite(Box::new(invite)),
            ranges: Ranges::Private,
            listen_port,
            wait: WAIT,
        };
        let answered = self.node.submit(wish, Some(interface)).await?;
        // Whoever asks from now on hears of the network.
        *begun = None;
        let outcome = answered.await;
        let outcome = outcome.map_err(|_| Failure::failed("the server is about to end"))?;
        Ok(outcome.map(drop))
    }

    fn remove(&self) {
        let path = self.folder.join(&self.name);
        let removed =
            block_in_place(|| atomic::remove_files(&RealDisk, &self.folder, &[&self.name]));
        match removed {
            Ok(()) => info!(
                "this node is a member by the invite {}, which is used up and removed",
                path.display()
            ),
            Err(failed) => error!(
                "this node is a member by the invite {}, which cannot be removed: {}; remove it: it is \
                 a secret",
                path.display(),
                failed.source
            ),
        }
    }

    fn set_aside(&self, why: &str) {
        let from = self.folder.join(&self.name);
        let to = self.folder.join(format!("{}{REFUSED}", self.name));
        let renamed = block_in_place(|| {
            RealDisk.rename(&from, &to)?;
            RealDisk.sync_dir(&self.folder)
        });
        match renamed {
            Ok(()) => error!(
                "the invite {} is refused and set aside as {}: {why}",
                from.display(),
                to.display()
            ),
            Err(error) => error!(
                "the invite {} is refused: {why}; it cannot be set aside: {error}",
                from.display()
            ),
        }
    }
}

/// Why the core does not do it, and what to do.
fn said(error: impl Into<CommandError>) -> String {
    Failure::from(error.into()).text
}

/// What a network that is on disk says of the invite to it.
fn membership(network: &NetworkReport) -> Attempt {
    match network.standing.as_str() {
        "expelled" => Attempt::Refused(format!(
            "{}; {}",
            network.why.as_deref().unwrap_or("this node was put out"),
            advice::forgets(&network.name)
        )),
        "member" if network.owner || !network.peers.is_empty() => Attempt::UsedUp,
        _ => Attempt::Later(format!(
            "this node is in \"{}\", and no member has answered yet",
            network.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_invites_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.invite", "a.invite", "c.invite.refused", "d.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        assert_eq!(names(folder.path()).unwrap(), ["a.invite", "b.invite"]);
        assert!(names(&folder.path().join("none")).unwrap().is_empty());
        assert!(names(&folder.path().join("d.txt")).is_err());
    }
}
