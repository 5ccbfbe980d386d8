//! Starting a server in the background: a process of its own session that survives the terminal,
//! with an environment that holds what it needs and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use grid_promises::{Message, texts};

use super::caller::Caller;
use super::served;
use super::stopping::Request;
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::{Home, takes_no_files};
use crate::store::{ServerLock, Store};

/// What a server takes over from the environment of whoever starts it.
const ENVIRONMENT: &[&str] = &[
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "GRID_LOG",
    "RUST_BACKTRACE",
];
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server that ends may take to.
const ENDING: Duration = Duration::from_secs(5);
/// How often a server is started, if another one was faster and is gone again.
const TRIES: u32 = 3;
/// How long a server takes to notice a signal, on a busy machine.
const NOTICING: Duration = Duration::from_millis(100);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);
/// From which length on a log is put aside, in bytes.
const LONG_LOG: u64 = 8 << 20;
/// How much of a log is shown, in lines and in bytes.
const TAIL: (usize, u64) = (8, 8 << 10);

/// A connection to the home's server, which is started if none runs; that is said.
///
/// # Errors
/// None runs and none could be started, with the end of its log.
pub fn connect_or_start(caller: &Caller) -> Outcome<Client> {
    match running(caller.home())? {
        Some(client) => Ok(client),
        None => launch(caller, &[]).map(|(client, _)| client),
    }
}

/// Stops a server that was started for a command that failed, if nothing else came of it. The server
/// decides that.
pub fn stop_if_idle(home: &Home) {
    let stop = || {
        let mut client = Client::try_connect(home).ok()??;
        let answered = served::call_within(&mut client, &Request::IF_IDLE, ENDING, |_| {}).ok()?;
        Some(answered.report.stopping && client.wait_for_end(ENDING))
    };
    if stop() == Some(true) {
        output::say("the server that was started is being stopped again");
    }
}

/// A connection to the server that runs; one that is ending is waited for.
///
/// # Errors
/// As [`Client::connect`].
pub fn running(home: &Home) -> Outcome<Option<Client>> {
    let begun = Instant::now();
    loop {
        // A server that is just being killed still takes connections for a moment, but it has let go
        // of its home.
        match Client::connect(home)? {
            None => return Ok(None),
            Some(client) if ServerLock::is_held(home) => return Ok(Some(client)),
            Some(_) if begun.elapsed() > ENDING => return Ok(None),
            Some(_) => sleep(LOOK),
        }
    }
}

/// Has a server say that it goes on, so that no command that failed stops it. `false`: it is ending.
///
/// # Errors
/// It does not answer.
pub fn rely_on(client: &mut Client) -> Outcome<bool> {
    // A bare message, which a server of any version reads.
    let request = Message::new(texts::STATUS.id()).into();
    match client.call(request, served::HASTE, |_| {}) {
        Ok(_) => Ok(true),
        Err(failure) if failure.exit == Exit::TimedOut => Err(failure),
        Err(_) => Ok(false),
    }
}

/// Whether the server still goes on a moment later: one that was just told to end by a signal answers until
/// it has noticed.
///
/// # Errors
/// It does not answer.
pub fn goes_on(home: &Home) -> Outcome<bool> {
    sleep(NOTICING);
    match running(home)? {
        Some(mut client) => rely_on(&mut client),
        None => Ok(false),
    }
}

/// Starts a server in the background, with more arguments, and waits until it answers. Another one may
/// have been faster: whether it is the one that was started here, which is said.
///
/// # Errors
/// As [`connect_or_start`].
pub fn launch(caller: &Caller, more: &[String]) -> Outcome<(Client, bool)> {
    let home = caller.home();
    let no_server = |text: String| Failure::new(Exit::NoServer, text);
    // Made here, so that what is wrong with it is said here.
    let cannot_start = |error| no_server(Failure::from(error).to_string());
    let store = Store::open(home).map_err(cannot_start)?;
    store
        .config()
        .and_then(|_| store.node_key())
        .map_err(cannot_start)?;
    store.check_machine()?;
    let unwritable =
        |error: io::Error| no_server(format!("cannot write {}: {error}", home.log().display()));
    let (log, from) = match open_log(home) {
        Ok((log, from)) => (log, Some(from)),
        // A home that takes no changes has no log.
        Err(error) if takes_no_files(&error) => {
            let nowhere = OpenOptions::new().write(true).open("/dev/null");
            (nowhere.map_err(unwritable)?, None)
        }
        Err(error) => return Err(unwritable(error)),
    };
    let errors = log.try_clone().map_err(unwritable)?;
    let program = program();
    let mut command = Command::new(&program);
    command
        .arg0("grid")
        .arg("--home")
        .arg(home.path())
        .args(["-v"].repeat(caller.verbose().into()))
        .args(["start-server", "--background-child"])
        .args(more)
        .env_clear()
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    for _ in 0..TRIES {
        let mut child = command.spawn().map_err(|error| {
            let program = program.display();
            no_server(format!(
                "{program} could not be started as a server: {error}"
            ))
        })?;
        let waited = wait(home, &mut child).map_err(|why| {
            no_server(match from {
                Some(from) => {
                    let tail = tail(home, from);
                    format!("{why}\n{tail}  (from {})", home.log().display())
                }
                None => format!("{why} it has no log, because the home takes no changes"),
            })
        })?;
        match waited {
            Waited::Own(client) => {
                let log = match from {
                    Some(_) => format!("its log is {}", home.log().display()),
                    None => "it has no log, because the home takes no changes".to_owned(),
                };
                output::say(&format!(
                    "started a server in the background (process {}); {log}",
                    child.id()
                ));
                return Ok((client, true));
            }
            Waited::Other(client) => return Ok((client, false)),
            Waited::Nobody => {}
        }
    }
    Err(no_server(
        "servers that other commands started came and went; try again".to_owned(),
    ))
}

/// This very program. Its path may be gone: it may have been replaced by another version.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into())
}

/// The log to append to, and how long it is.
fn open_log(home: &Home) -> io::Result<(File, u64)> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|about| about.len() > LONG_LOG) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)?;
    let length = log.metadata()?.len();
    Ok((log, length))
}

/// Who answers after a server was started.
enum Waited {
    Own(Client),
    /// Another server was faster.
    Other(Client),
    /// Another server was faster, or another command stopped this one already.
    Nobody,
}

/// Waits until a server answers.
fn wait(home: &Home, child: &mut Child) -> Result<Waited, String> {
    let begun = Instant::now();
    let own = child.id().to_string();
    let mut lost = false;
    while begun.elapsed() < PATIENCE {
        let ended = match child.try_wait() {
            Ok(status) => status,
            Err(error) => return Err(format!("the server cannot be watched: {error}")),
        };
        // Another server may have been faster; the child then ends. If that one ends first, the child
        // takes its place.
        match (Client::try_connect(home), ended) {
            (Ok(Some(client)), _) if client.server() == Some(child.id()) => {
                return Ok(Waited::Own(client));
            }
            (Ok(Some(client)), Some(_)) => return Ok(Waited::Other(client)),
            (Err(failure), _) => return Err(failure.text),
            (Ok(Some(_)), None) => lost = true,
            (Ok(None), ended) => match (ServerLock::holder(home), ended) {
                // It may not have written its process id yet.
                (Some(pid), _) => lost |= pid != own && pid != "unknown",
                // One that ended well was stopped by a command that found it first.
                (None, Some(status)) if lost || status.success() => return Ok(Waited::Nobody),
                (None, Some(status)) => {
                    return Err(format!(
                        "the server was started but exited at once ({status}):"
                    ));
                }
                (None, None) => {}
            },
        }
        sleep(LOOK);
    }
    Err(format!(
        "the server was started (process {}) but does not answer:",
        child.id()
    ))
}

/// What was written to the log since it had `from` bytes, as far as it can be shown.
fn tail(home: &Home, from: u64) -> String {
    let (lines, bytes) = TAIL;
    let read = || -> io::Result<String> {
        let mut log = File::open(home.log())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(from.max(length.saturating_sub(bytes))))?;
        let mut text = Vec::new();
        log.take(bytes).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let shown = all
        .get(all.len().saturating_sub(lines)..)
        .unwrap_or_default();
    shown.iter().map(|line| format!("  {line}\n")).collect()
}

/// Lets go of the terminal, and of all files that whoever asked for the server had open: a lock or a pipe would stay
/// in use for as long as the server runs. Called by the process in the background itself, which has opened nothing
/// yet.
pub fn detach() {
    // It fails only in a process that leads a session already, which has what it wants.
    let _ = nix::unistd::setsid();
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<RawFd> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // The one that was read through is closed by now.
    for number in numbers {
        let _ = nix::unistd::close(number);
    }
}
