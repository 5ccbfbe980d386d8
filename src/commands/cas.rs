//! `grid cas`: the object store on the command line.
//!
//! It works on the home's folder, with or without a server: what makes that safe is said in
//! `grid_modules::objects`. It reads no network: an object that is not here is not fetched.

mod report;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use grid_modules::objects::{Cache as _, CacheError, How, MAX_OBJECT, Object, Objects};
use grid_modules::{builtins, roots};
use grid_promises::ContentId;
use grid_promises::content_id::HashCode;

use crate::advice;
use crate::command::{Caller, Command};
use crate::console::output;
use crate::console::place::{self, Readers};
use crate::console::progress::Progress;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::store::config::DEFAULT_CACHE_LIMIT;
use report::{AuditReport, CollectedReport, ListReport, PutReport};

/// Store and read objects by content id, and maintain the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: CasCommand,
}

/// What `cas` does. None of it needs a server.
#[derive(Debug, Subcommand)]
enum CasCommand {
    /// Store a file and print its content id
    Put {
        /// The file, or `-` for standard input; at most 1 GiB
        #[arg(value_name = "FILE|-")]
        file: PathBuf,

        /// The hash function of the content id
        #[arg(long, value_enum, default_value_t)]
        hash: Hash,
    },
    /// Print an object, once it is verified
    Get {
        /// Its content id
        id: ContentId,

        /// Write it to FILE, whole or not at all
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List the objects: content id, size, when last used
    Ls,
    /// Evict the least recently used objects if the store exceeds its limit
    ///
    /// The limit is `cache_limit` in the home's configuration. What the symbol table reaches stays,
    /// and so does what was put or read in the last 10 minutes.
    Gc {
        /// Print what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Check every object, and set damaged ones aside
    Verify,
}

/// A hash function of content ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// SHA-256
    #[default]
    #[value(name = "sha2-256")]
    Sha2_256,
    /// SHA-512
    #[value(name = "sha2-512")]
    Sha2_512,
    /// BLAKE3
    #[value(name = "blake3")]
    Blake3,
}

impl From<Hash> for HashCode {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha2_256 => Self::Sha2_256,
            Hash::Sha2_512 => Self::Sha2_512,
            Hash::Blake3 => Self::Blake3,
        }
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let home = caller.home();
        match self.command {
            CasCommand::Put { file, hash } => put(caller, &file, hash.into()),
            CasCommand::Get { id, output } => get(&look(home)?, id, output.as_deref()),
            CasCommand::Ls => ls(caller, &look(home)?),
            CasCommand::Gc { dry_run } => {
                let (objects, store) = (look(home)?, Store::look(home));
                let collected = roots::collect(
                    &objects,
                    &store.config()?.modules(),
                    &store.judges()?,
                    dry_run,
                )?;
                caller.show(&CollectedReport::of(&collected, dry_run))
            }
            CasCommand::Verify => verify(caller, &look(home)?),
        }
    }
}

/// The objects of a home that need not exist.
fn look(home: &Home) -> Outcome<Objects> {
    if home.path().exists() {
        Store::look(home).check_home()?;
    }
    Ok(Objects::of(&home.cache()))
}

fn put(caller: &Caller, file: &Path, code: HashCode) -> Outcome {
    let unreadable = |error: io::Error| {
        let shown = file.display();
        Failure::failed(format!("cannot read {shown}: {error}; nothing was stored"))
    };
    let (mut source, total): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let open = File::open(file).map_err(unreadable)?;
        let about = open.metadata().map_err(unreadable)?;
        if about.is_file() && about.len() > MAX_OBJECT {
            return Err(CacheError::TooLarge.into());
        }
        (Box::new(open), about.is_file().then_some(about.len()))
    };
    Store::open(caller.home())?;
    let mut progress = Progress::new("storing", total);
    let objects = Objects::of(&caller.home().cache());
    let put = objects.put_from(code, &mut source, &mut |done| progress.at(done))?;
    drop(progress);
    if let How::Replaced(aside) = &put.how {
        say_damaged(&put.id.to_string(), aside.as_deref());
    }
    caller.show(&PutReport::of(&put))
}

fn get(objects: &Objects, id: ContentId, to: Option<&Path>) -> Outcome {
    let embedded = builtins::embedded();
    let mut progress = Progress::new("verifying", None);
    let object = match embedded.get(&id)? {
        Some(object) => Some(object),
        None => objects.get_telling(&id, &mut |done| progress.at(done))?,
    };
    drop(progress);
    let object = object.ok_or_else(|| {
        Failure::failed(format!(
            "the object {id} is not in the store; {}",
            advice::lists_the_objects()
        ))
    })?;
    match to {
        None => print(&object),
        Some(path) => write_file(&object, path),
    }
}

fn print(object: &Object) -> Outcome {
    let mut out = io::stdout().lock();
    let mut progress = Progress::new("writing", Some(object.len()));
    let written = object.copy_to(&mut out, &mut |done| progress.at(done));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "standard output has only a part of the object: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, with the permissions that the person's files have.
fn write_file(object: &Object, path: &Path) -> Outcome {
    let mut progress = Progress::new("writing", Some(object.len()));
    place::write(path, Readers::AsBefore, |file| {
        object.copy_to(file, &mut |done| progress.at(done))
    })
    .map_err(|error| {
        let shown = path.display();
        Failure::failed(format!("cannot write {shown}: {error}"))
    })
}

fn ls(caller: &Caller, objects: &Objects) -> Outcome {
    let config = Store::look(caller.home()).config()?;
    let limit = config.cache_limit.unwrap_or(DEFAULT_CACHE_LIMIT).0;
    let (all, sizes) = (objects.list()?, objects.sizes()?);
    caller.show(&ListReport::of(&all, &sizes, limit))?;
    if !caller.wants_json() {
        output::say(&report::summary(&sizes, limit));
    }
    Ok(())
}

fn verify(caller: &Caller, objects: &Objects) -> Outcome {
    let mut progress = Progress::new("verifying", None);
    let audit = objects.audit(&mut |done, total| progress.of(done, total))?;
    drop(progress);
    let report = AuditReport::of(&audit);
    if !caller.wants_json() {
        for damaged in &report.damaged {
            say_damaged(&damaged.id, damaged.aside.as_deref());
        }
        for unread in &report.unread {
            output::say(&format!(
                "{} was not looked at: {}",
                unread.id, unread.error
            ));
        }
    }
    caller.show(&report)?;
    match (report.damaged.len(), report.unread.len()) {
        (0, 0) => Ok(()),
        (0, unread) => Err(Failure::failed(format!("{unread} could not be read"))),
        (damaged, _) => Err(Failure::failed(format!(
            "{damaged} damaged; fetch or put them again"
        ))),
    }
}

fn say_damaged(id: &str, aside: Option<&Path>) {
    let aside = aside.map(|path| format!(", set aside as {}", path.display()));
    output::say(&format!(
        "{id} was damaged on disk{}",
        aside.unwrap_or_default()
    ));
}
