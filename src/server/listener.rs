//! The server's side of the control socket.
//!
//! Only the owner of the home and root are listened to. A connection asks once; whatever is wrong
//! with what it sends costs the connection and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use grid_promises::{ContentId, Message, texts};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::control::confidential::Confidential;
use crate::control::{MORE, PROGRESS, frame};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::{Answer, NodeHandle, Service};

/// How many commands may be under way.
const AT_ONCE: usize = 64;
/// How long a connection may take to say what it wants, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the control socket. Only who holds the home's lock may call it: what lies there is stale.
///
/// # Errors
/// The system refuses, or the path is too long for a socket.
pub(super) fn bind(home: &Home) -> Outcome<UnixListener> {
    let path = home.socket();
    let failed = |error: io::Error| {
        Failure::failed(format!(
            "the control socket {} cannot be made: {error}; its path may have 107 bytes",
            path.display()
        ))
    };
    // Under another name, no longer than the right one, until it can be connected to: whoever finds the
    // socket finds somebody who listens.
    let unfinished = path.with_file_name("sock.tmp");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished).map_err(failed)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&unfinished, &path).map_err(failed)?;
    Ok(listener)
}

/// What each connection needs.
#[derive(Clone)]
pub(super) struct Means {
    /// The node that is asked.
    pub node: NodeHandle,
    /// What carries out the requests.
    pub service: Service,
    /// Turns true when the server is to end.
    pub stop: watch::Sender<bool>,
}

/// Takes commands until the server ends.
pub(super) async fn listen(means: Means, listener: UnixListener) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
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
                warn!("a command cannot be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(means: &Means, mut stream: UnixStream) -> io::Result<()> {
    let who = stream.peer_cred()?.uid();
    if who != 0 && who != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {who} is not the owner of this home"),
        ));
    }
    let Some(message) = timeout(PATIENCE, frame::receive(&mut stream)).await?? else {
        return Ok(());
    };
    match attend(means, &mut stream, message).await? {
        Ok(Answer { payload, stop }) => {
            timeout(PATIENCE, send_answer(&mut stream, &payload)).await??;
            if stop {
                means.stop.send_replace(true);
                // The other end sees that the server is gone by the end of this connection.
                std::future::pending::<()>().await;
            }
        }
        Err(failure) => {
            let payload = serde_json::to_vec(&failure).unwrap_or_default();
            let refusal = Message::new(texts::REFUSAL.id()).payload(payload);
            timeout(PATIENCE, frame::send(&mut stream, &refusal)).await??;
        }
    }
    Ok(())
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
