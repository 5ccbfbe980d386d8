//! `grid cas`: the object store on the command line.
//!
//! It works on the home's folder, with or without a server: what makes that safe is said in
//! `grid_modules::objects`. It reads no network: an object that is not here is not fetched.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};
use grid_modules::objects::{
    Amount, Audit, Cache as _, CacheError, Collected, How, Listed, MAX_OBJECT, Object, Objects,
    Put, Sizes, Why,
};
use grid_modules::{builtins, roots};
use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use serde::Serialize;

use crate::advice;
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::console::progress::Progress;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::store::config::DEFAULT_CACHE_LIMIT;
use crate::values::moment;
use crate::values::units::{bytes, span};

/// Store objects by content id, read them, and keep the store in order
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
    /// List the objects: content id, size, when it was used last
    Ls,
    /// Evict what was not used for the longest time, if there is more than the limit
    ///
    /// The limit is `cache_limit` in the home's configuration. What the symbol table reaches stays,
    /// and so does what was put or read in the last 10 minutes.
    Gc {
        /// Print what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every object and set aside what is damaged
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

/// An object that was put.
#[derive(Debug, Serialize)]
struct PutReport {
    damaged: Option<PathBuf>,
    how: &'static str,
    id: String,
    size: u64,
}

impl PutReport {
    fn of(put: &Put) -> Self {
        let (how, damaged) = match &put.how {
            How::New => ("new", None),
            How::Present => ("present", None),
            How::Replaced(aside) => ("replaced", aside.clone()),
        };
        Self {
            damaged,
            how,
            id: put.id.to_string(),
            size: put.len,
        }
    }
}

impl Report for PutReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.id)
    }
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

/// Writes a file whole or not at all, with the permissions that the person's files have. Into what is
/// no regular file (a device, a pipe) it is written as it comes.
fn write_file(object: &Object, path: &Path) -> Outcome {
    let unwritten = |error: io::Error| {
        let shown = path.display();
        Failure::failed(format!("cannot write {shown}: {error}"))
    };
    // The place that a link leads to, so that the link stays one.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut progress = Progress::new("writing", Some(object.len()));
    let mut so_far = |done| progress.at(done);
    if fs::metadata(&place).is_ok_and(|about| !about.is_file()) {
        let mut file = File::options()
            .write(true)
            .open(&place)
            .map_err(unwritten)?;
        return object.copy_to(&mut file, &mut so_far).map_err(unwritten);
    }
    let unfinished = beside(&place).map_err(unwritten)?;
    let mut write = || -> io::Result<()> {
        let mut file = File::create_new(&unfinished)?;
        if let Ok(about) = fs::metadata(&place) {
            file.set_permissions(about.permissions())?;
        }
        object.copy_to(&mut file, &mut so_far)?;
        file.sync_all()?;
        fs::rename(&unfinished, &place)
    };
    write().map_err(|error| {
        // If another process has that file, creating it failed and it stays.
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&unfinished);
        }
        unwritten(error)
    })
}

/// A name for the unfinished file, in the same folder.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(unfinished))
}

fn ls(caller: &Caller, objects: &Objects) -> Outcome {
    let config = Store::look(caller.home()).config()?;
    let limit = config.cache_limit.unwrap_or(DEFAULT_CACHE_LIMIT).0;
    let (all, sizes) = (objects.list()?, objects.sizes()?);
    caller.show(&ListReport {
        limit,
        objects: all.iter().map(ListedReport::of).collect(),
        sizes: SizesReport::of(&sizes),
    })?;
    if !caller.wants_json() {
        output::say(&summary(&sizes, limit));
    }
    Ok(())
}

/// The objects in the store.
#[derive(Debug, Serialize)]
struct ListReport {
    limit: u64,
    objects: Vec<ListedReport>,
    sizes: SizesReport,
}

#[derive(Debug, Serialize)]
struct ListedReport {
    id: String,
    size: u64,
    /// When it was used last, in Unix time.
    used: u64,
}

impl ListedReport {
    fn of(listed: &Listed) -> Self {
        Self {
            id: listed.id.to_string(),
            size: listed.len,
            used: unix(listed.used),
        }
    }
}

#[derive(Debug, Serialize)]
struct SizesReport {
    calls: AmountReport,
    damaged: AmountReport,
    foreign: AmountReport,
    incoming: AmountReport,
    objects: AmountReport,
    partial: AmountReport,
    total: u64,
}

impl SizesReport {
    fn of(sizes: &Sizes) -> Self {
        Self {
            calls: AmountReport::of(&sizes.calls),
            damaged: AmountReport::of(&sizes.damaged),
            foreign: AmountReport::of(&sizes.foreign),
            incoming: AmountReport::of(&sizes.incoming),
            objects: AmountReport::of(&sizes.objects),
            partial: AmountReport::of(&sizes.partial),
            total: sizes.total(),
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct AmountReport {
    bytes: u64,
    count: u64,
}

impl AmountReport {
    fn of(amount: &Amount) -> Self {
        Self {
            bytes: amount.bytes,
            count: amount.count,
        }
    }

    /// With what it is an amount of, in the plural where it is one.
    fn text(&self, what: &str) -> String {
        let plural = if self.count == 1 { "" } else { "s" };
        format!("{} {what}{plural}, {}", self.count, bytes(self.bytes))
    }
}

impl Report for ListReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let now = moment::now().0;
        let row = |listed: &ListedReport| {
            let ago = span(now.saturating_sub(listed.used));
            (listed.id.clone(), bytes(listed.size), ago)
        };
        let rows: Vec<_> = self.objects.iter().map(row).collect();
        let ids = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        let sizes = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
        for (id, size, ago) in rows {
            writeln!(out, "{id:ids$}  {size:>sizes$}  used {ago} ago")?;
        }
        Ok(())
    }
}

fn summary(sizes: &Sizes, limit: u64) -> String {
    let amount = |amount: &Amount, what| AmountReport::of(amount).text(what);
    let mut text = format!(
        "{}; the cache has {} of {}",
        amount(&sizes.objects, "object"),
        bytes(sizes.total()),
        bytes(limit)
    );
    for (part, what) in [
        (&sizes.calls, "memoised call"),
        (&sizes.partial, "partial file"),
        (&sizes.incoming, "unfinished file"),
        (&sizes.damaged, "damaged object"),
        (&sizes.foreign, "foreign file"),
    ] {
        if part.count > 0 {
            text.push_str("; ");
            text.push_str(&amount(part, what));
        }
    }
    text
}

/// What went, or would go, to make room.
#[derive(Debug, Serialize)]
struct CollectedReport {
    abandoned: AmountReport,
    after: u64,
    before: SizesReport,
    calls: AmountReport,
    dry_run: bool,
    evicted: Vec<ListedReport>,
    kept: Vec<KeptReport>,
    limit: u64,
    partial: AmountReport,
    stuck: Vec<String>,
}

/// An object that stays although it was its turn.
#[derive(Debug, Serialize)]
struct KeptReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    id: String,
    size: u64,
    used: u64,
    why: &'static str,
}

impl CollectedReport {
    fn of(collected: &Collected, dry_run: bool) -> Self {
        let kept = collected.passed.iter().map(|passed| {
            let ListedReport { id, size, used } = ListedReport::of(&passed.object);
            let (why, error) = match &passed.why {
                Why::Reached => ("reached", None),
                Why::Recent => ("recent", None),
                Why::Changed => ("changed", None),
                Why::Failed(error) => ("failed", Some(error.to_string())),
            };
            KeptReport {
                error,
                id,
                size,
                used,
                why,
            }
        });
        Self {
            abandoned: AmountReport::of(&collected.abandoned),
            after: collected.after,
            before: SizesReport::of(&collected.before),
            calls: AmountReport::of(&collected.calls),
            dry_run,
            evicted: collected.evicted.iter().map(ListedReport::of).collect(),
            kept: kept.collect(),
            limit: collected.limit,
            partial: AmountReport::of(&collected.partial),
            stuck: collected.stuck.iter().map(CacheError::to_string).collect(),
        }
    }
}

/// Why objects stay, but for errors, which are shown one by one.
const REASONS: [(&str, &str); 3] = [
    ("reached", "within reach of the symbol table"),
    ("recent", "put or read in the last 10 minutes"),
    ("changed", "put, read or removed by others meanwhile"),
];

impl Report for CollectedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (evicts, removes, has) = match self.dry_run {
            true => ("would evict", "would remove", "would have"),
            false => ("evicted", "removed", "has"),
        };
        for object in &self.evicted {
            writeln!(out, "{evicts} {}  {}", object.id, bytes(object.size))?;
        }
        for kept in &self.kept {
            if let Some(error) = &kept.error {
                writeln!(out, "kept {}: {error}", kept.id)?;
            }
        }
        for (reason, what) in REASONS {
            let mut amount = AmountReport::default();
            for kept in self.kept.iter().filter(|kept| kept.why == reason) {
                amount.count += 1;
                amount.bytes += kept.size;
            }
            if amount.count > 0 {
                writeln!(out, "kept {}: {what}", amount.text("object"))?;
            }
        }
        for error in &self.stuck {
            writeln!(out, "kept: {error}")?;
        }
        for (gone, what) in [
            (&self.calls, "memoised call"),
            (&self.partial, "unfinished download"),
            (&self.abandoned, "unfinished file"),
        ] {
            if gone.count > 0 {
                writeln!(out, "{removes} {}", gone.text(what))?;
            }
        }
        let evicted = self.evicted.len() as u64 + self.calls.count + self.partial.count;
        let standing = match (self.after <= self.limit, evicted) {
            (true, 0) => "nothing had to go",
            (true, _) => "that is within the limit",
            (false, _) => "that is still more than the limit",
        };
        writeln!(
            out,
            "the cache {has} {} of {}: {standing}",
            bytes(self.after),
            bytes(self.limit),
        )
    }
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
        (0, unread) => Err(Failure::failed(format!("{unread} could not be looked at"))),
        (damaged, _) => Err(Failure::failed(format!(
            "{damaged} damaged; fetch or put them again"
        ))),
    }
}

/// What reading every object came to.
#[derive(Debug, Serialize)]
struct AuditReport {
    damaged: Vec<DamagedReport>,
    unread: Vec<UnreadReport>,
    whole: AmountReport,
}

#[derive(Debug, Serialize)]
struct DamagedReport {
    aside: Option<PathBuf>,
    id: String,
}

#[derive(Debug, Serialize)]
struct UnreadReport {
    error: String,
    id: String,
}

impl AuditReport {
    fn of(audit: &Audit) -> Self {
        let damaged = audit.damaged.iter().map(|damaged| DamagedReport {
            aside: damaged.aside.clone(),
            id: damaged.id.to_string(),
        });
        let unread = audit.unread.iter().map(|(id, error)| UnreadReport {
            error: error.to_string(),
            id: id.to_string(),
        });
        Self {
            damaged: damaged.collect(),
            unread: unread.collect(),
            whole: AmountReport::of(&audit.whole),
        }
    }
}

impl Report for AuditReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: whole", self.whole.text("object"))
    }
}

fn say_damaged(id: &str, aside: Option<&Path>) {
    let aside = aside.map(|path| format!(", set aside as {}", path.display()));
    output::say(&format!(
        "{id} was damaged on disk{}",
        aside.unwrap_or_default()
    ));
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
