//! The server's side of the control socket.
//!
//! Only the owner of the home and root are listened to. A connection asks once; whatever is wrong
//! with what it sends costs the connection and nothing else.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_promises::{ContentId, Message, texts};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{debug, warn};

use crate::advice;
use crate::control::confidential::Confidential;
use crate::control::{MORE, PROGRESS, check_length, connecting, frame};
use crate::exit::{Exit, Failure, Outcome};
use crate::home::{Home, takes_no_files};
use crate::node::requests::Requests;
use crate::node::{Answer, NodeHandle, Service};
use crate::quota::{Quota, SPAN_IN_WORDS, Turn};

/// How many commands may be under way.
const AT_ONCE: usize = 64;
/// How long a connection may take to say what it wants, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection of somebody who may not ask anything may take to ask.
const HASTE: Duration = Duration::from_secs(1);
/// How many commands that cannot be taken are logged in ten minutes.
const REFUSALS: u32 = 10;
/// How often the server looks whether its socket can still be found.
const LOOK: Duration = Duration::from_secs(2);

/// The control socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    /// Where it is found.
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
    is_published: bool,
}

impl Listener {
    /// Makes the socket under another name, no longer than the right one, until it is
    /// [published](Self::publish). Only who holds the home's lock may call it: what lies there is stale.
    ///
    /// # Errors
    /// The system refuses, the path is too long for a socket, or a folder is in its place.
    pub(super) fn prepare(home: &Home) -> Outcome<Self> {
        let [inside, elsewhere] = home.sockets();
        check_length(&inside)?;
        match Self::prepare_at(&inside) {
            Err(error) if takes_no_files(&error) => {}
            made => return made.map_err(|error| cannot_be_made(&inside, &error)),
        }
        check_length(&elsewhere)?;
        Self::prepare_at(&elsewhere).map_err(|error| cannot_be_made(&elsewhere, &error))
    }

    fn prepare_at(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
            return Err(io::Error::other("a folder is in its place; move it away"));
        }
        Self::make(path)
    }

    fn make(socket: &Path) -> io::Result<Self> {
        let path = unfinished(socket);
        if let Some(folder) = path.parent() {
            // Only that of a home that takes no files may not be there yet.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let about = fs::symlink_metadata(&path)?;
        Ok(Self {
            socket: listener,
            path: socket.to_owned(),
            file: (about.dev(), about.ino()),
            is_published: false,
        })
    }

    /// Lets others connect: whoever finds the socket finds somebody who listens.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn publish(&mut self) -> Outcome {
        self.rename()
            .map_err(|error| cannot_be_made(&self.path, &error))
    }

    fn rename(&mut self) -> io::Result<()> {
        fs::rename(unfinished(&self.path), &self.path)?;
        self.is_published = true;
        Ok(())
    }

    /// Makes the socket again if somebody took its file away, unless the server is about to end: then it takes
    /// the file away itself. What another process listens on is left alone.
    fn repair(&mut self, requests: &Requests) -> io::Result<bool> {
        let path = &self.path;
        let is_there =
            fs::symlink_metadata(path).is_ok_and(|about| (about.dev(), about.ino()) == self.file);
        if is_there || connecting::is_listened_on(path) {
            return Ok(false);
        }
        let mut anew = Self::make(path)?;
        match requests.while_open(|| anew.rename()) {
            None => return Ok(false),
            Some(renamed) => renamed?,
        }
        *self = anew;
        Ok(true)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(unfinished(&self.path));
        }
    }
}

fn unfinished(socket: &Path) -> PathBuf {
    socket.with_file_name("sock.tmp")
}

fn cannot_be_made(socket: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "the control socket {} cannot be made: {error}",
        socket.display()
    ))
}

/// What each connection needs.
#[derive(Clone)]
pub(super) struct Means {
    /// The node that is asked.
    pub node: NodeHandle,
    /// What carries out the requests.
    pub service: Service,
    /// Those that are under way.
    pub requests: Requests,
    /// Turns true when the server is to end.
    pub stop: watch::Sender<bool>,
}

/// Takes commands until the server ends.
pub(super) async fn listen(means: Means, mut listener: Listener) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    let mut said = Quota::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            _ = look.tick() => {
                let repaired = listener.repair(&means.requests);
                match &repaired {
                    Ok(true) => warn!("the control socket was gone; it was made anew"),
                    Err(error) if !is_failing => {
                        warn!("the control socket is gone and cannot be made anew: {error}");
                    }
                    _ => {}
                }
                is_failing = repaired.is_err();
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let means = means.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(&means, stream).await {
                        debug!("a connection to the control socket ended: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of files: others have to be closed first.
                match refusal(&mut said, &error, Instant::now()) {
                    Some(line) => warn!("{line}"),
                    None => debug!("a command cannot be taken: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What is logged of a command that cannot be taken; `None` if enough was: it is tried ten times a second.
fn refusal(said: &mut Quota, error: &io::Error, now: Instant) -> Option<String> {
    let line = format!("a command cannot be taken: {error}");
    match said.take(REFUSALS, now) {
        Turn::Next => Some(line),
        Turn::Last => Some(format!(
            "{line} (no more of these are logged for {SPAN_IN_WORDS})"
        )),
        Turn::Spent => None,
    }
}

async fn serve(means: &Means, mut stream: UnixStream) -> io::Result<()> {
    let who = stream.peer_cred()?.uid();
    let is_owner = who == 0 || who == nix::unistd::geteuid().as_raw();
    // A stranger can connect only if somebody opened the socket to others.
    let patience = if is_owner { PATIENCE } else { HASTE };
    let Some(message) = timeout(patience, frame::receive(&mut stream)).await?? else {
        return Ok(());
    };
    if !is_owner {
        let failure = Failure::refused(format!(
            "user {who} does not own this home; run this as the user whose home it is"
        ));
        return refuse(&mut stream, &failure).await;
    }
    // To be stopped is all that it can still do at its end.
    let is_stop = message.promise == texts::STOP_SERVER.id();
    let under_way = match means.requests.begin() {
        _ if is_stop => None,
        None => return refuse(&mut stream, &ending()).await,
        begun => begun,
    };
    let outcome = attend(means, &mut stream, message).await?;
    if let (Ok(answer), Some(under_way)) = (&outcome, &under_way)
        && answer.relies_on_the_server
    {
        under_way.rely_on_the_server();
    }
    // Whoever reads the answer finds that the request is over.
    drop(under_way);
    match outcome {
        Ok(answer) => {
            if !answer.stop {
                return timeout(PATIENCE, send_answer(&mut stream, &answer.payload)).await?;
            }
            means.requests.close();
            // Whoever asked may have gone.
            let _ = timeout(PATIENCE, send_answer(&mut stream, &answer.payload)).await;
            means.stop.send_replace(true);
            // The other end sees that the server is gone by the end of this connection.
            std::future::pending().await
        }
        Err(failure) => refuse(&mut stream, &failure).await,
    }
}

/// The command line starts another server when it reads this exit code from one.
fn ending() -> Failure {
    Failure::new(
        Exit::NoServer,
        format!("the server is ending; {}", advice::runs_a_server()),
    )
}

async fn refuse(stream: &mut UnixStream, failure: &Failure) -> io::Result<()> {
    let payload = serde_json::to_vec(failure).unwrap_or_default();
    let refusal = Message::new(texts::REFUSAL.id()).payload(payload);
    timeout(PATIENCE, frame::send(stream, &refusal)).await?
}

/// Carries the command out, and passes on how it goes.
async fn attend(
    means: &Means,
    stream: &mut UnixStream,
    message: Confidential,
) -> io::Result<Outcome<Answer>> {
    let (progress, mut said) = mpsc::channel(8);
    let mut work = (means.service)(means.node.clone(), message, progress);
    loop {
        tokio::select! {
            outcome = &mut work => return Ok(outcome),
            Some(text) = said.recv() => {
                let payload = json!({ "text": text }).to_string();
                let message = answer(PROGRESS).payload(payload.into_bytes());
                timeout(PATIENCE, frame::send(stream, &message)).await??;
            }
        }
    }
}

fn answer(arg: &str) -> Message {
    let id: ContentId = texts::ANSWER.id();
    Message::new(id).arg(arg)
}

async fn send_answer(stream: &mut UnixStream, payload: &[u8]) -> io::Result<()> {
    let mut rest = payload;
    while let Some((part, more)) = rest.split_at_checked(Message::MAX_PAYLOAD)
        && !more.is_empty()
    {
        frame::send(stream, &Confidential::from(answer(MORE).payload(part))).await?;
        rest = more;
    }
    let last = Confidential::from(Message::new(texts::ANSWER.id()).payload(rest));
    frame::send(stream, &last).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_out_of_files_does_not_fill_the_log() {
        let (mut said, start) = (Quota::new(), Instant::now());
        let error = io::Error::from(nix::errno::Errno::EMFILE);
        let mut lines = Vec::new();
        // For nine minutes.
        for tenth in 0..5400 {
            let now = start + Duration::from_millis(tenth * 100);
            lines.extend(refusal(&mut said, &error, now));
        }
        assert_eq!(lines.len(), 10);
        assert!(lines[9].ends_with("(no more of these are logged for ten minutes)"));
        let later = start + Duration::from_secs(600);
        assert!(refusal(&mut said, &error, later).is_some());
    }
}
