//! `cas`: the object store on the command line.
//!
//! It works on the home's folder, with or without a server: what makes that safe is said in
//! `grid_modules::objects`. It reads no network: an object that is not here is not fetched.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use serde_json::{Value, json};

use super::args::{CasCommand, Global};
use super::output;
use super::progress::Progress;
use super::render::{bytes, now, span};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::config::DEFAULT_CACHE_LIMIT;
use crate::store::{Config, Store};
use grid_modules::objects::{
    Amount, Audit, Cache as _, CacheError, Collected, How, Listed, MAX_OBJECT, Object, Objects,
    Put, Sizes, Why,
};
use grid_modules::roots;

/// Carries a `cas` command out.
///
/// # Errors
/// Why it was not.
pub(super) fn keep(home: &Home, global: &Global, command: CasCommand) -> Outcome {
    let is_json = global.json;
    match command {
        CasCommand::Put { file, hash } => put(home, &file, hash.into(), is_json),
        CasCommand::Get { id, output } => get(&look(home)?, id, output.as_deref()),
        CasCommand::Ls => {
            let objects = look(home)?;
            ls(&objects, &Store::look(home).config()?, is_json)
        }
        CasCommand::Gc { dry_run } => {
            let (objects, store) = (look(home)?, Store::look(home));
            let collected = roots::collect(
                &objects,
                &store.config()?.modules(),
                &store.judges()?,
                dry_run,
            )?;
            gc(&collected, dry_run, is_json)
        }
        CasCommand::Verify => verify(&look(home)?, is_json),
    }
}

/// The objects of a home that need not exist.
fn look(home: &Home) -> Outcome<Objects> {
    if home.path().exists() {
        Store::look(home).check_home()?;
    }
    Ok(Objects::of(&home.cache()))
}

fn put(home: &Home, file: &Path, code: HashCode, is_json: bool) -> Outcome {
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
    Store::open(home)?;
    let mut progress = Progress::new("storing", total);
    let put =
        Objects::of(&home.cache()).put_from(code, &mut source, &mut |done| progress.at(done))?;
    drop(progress);
    if let How::Replaced(aside) = &put.how {
        say_damaged(&put.id, aside.as_deref());
    }
    output::print(&if is_json {
        format!("{}\n", put_json(&put))
    } else {
        format!("{}\n", put.id)
    })
}

fn put_json(put: &Put) -> Value {
    let (how, aside) = match &put.how {
        How::New => ("new", None),
        How::Present => ("present", None),
        How::Replaced(aside) => ("replaced", aside.as_ref()),
    };
    json!({ "id": put.id.to_string(), "size": put.len, "how": how, "damaged": aside })
}

fn get(objects: &Objects, id: ContentId, to: Option<&Path>) -> Outcome {
    let embedded = grid_modules::builtins::embedded();
    let mut progress = Progress::new("verifying", None);
    let object = match embedded.get(&id)? {
        Some(object) => Some(object),
        None => objects.get_telling(&id, &mut |done| progress.at(done))?,
    };
    drop(progress);
    let object = object.ok_or_else(|| {
        Failure::failed(format!(
            "the object {id} is not in the store; `grid cas ls` lists what is"
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

fn ls(objects: &Objects, config: &Config, is_json: bool) -> Outcome {
    let (all, sizes) = (objects.list()?, objects.sizes()?);
    let limit = config.cache_limit.unwrap_or(DEFAULT_CACHE_LIMIT).0;
    if is_json {
        let listed: Vec<_> = all.iter().map(listed_json).collect();
        let report = json!({ "objects": listed, "sizes": sizes_json(&sizes), "limit": limit });
        return output::print(&format!("{report}\n"));
    }
    output::print(&table(&all, now()))?;
    output::say(&summary(&sizes, limit));
    Ok(())
}

fn table(all: &[Listed], now: u64) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|listed| {
            let ago = span(now.saturating_sub(unix(listed.used)));
            (listed.id.to_string(), bytes(listed.len), ago)
        })
        .collect();
    let ids = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let sizes = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (id, size, ago) in rows {
        let _ = writeln!(text, "{id:ids$}  {size:>sizes$}  used {ago} ago");
    }
    text
}

fn summary(sizes: &Sizes, limit: u64) -> String {
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
            let _ = write!(text, "; {}", amount(part, what));
        }
    }
    text
}

fn amount(amount: &Amount, what: &str) -> String {
    let plural = if amount.count == 1 { "" } else { "s" };
    format!("{} {what}{plural}, {}", amount.count, bytes(amount.bytes))
}

fn gc(collected: &Collected, is_rehearsal: bool, is_json: bool) -> Outcome {
    if is_json {
        return output::print(&format!("{}\n", collected_json(collected, is_rehearsal)));
    }
    output::print(&collected_text(collected, is_rehearsal))
}

fn collected_text(collected: &Collected, is_rehearsal: bool) -> String {
    let (evicts, removes) = match is_rehearsal {
        true => ("would evict", "would remove"),
        false => ("evicted", "removed"),
    };
    let mut text = String::new();
    for object in &collected.evicted {
        let _ = writeln!(text, "{evicts} {}  {}", object.id, bytes(object.len));
    }
    for passed in &collected.passed {
        if let Why::Failed(error) = &passed.why {
            let _ = writeln!(text, "kept {}: {error}", passed.object.id);
        }
    }
    for (reason, what) in REASONS {
        let mut kept = Amount::default();
        for passed in collected.passed.iter().filter(|p| word(&p.why) == reason) {
            kept.count += 1;
            kept.bytes += passed.object.len;
        }
        if kept.count > 0 {
            let _ = writeln!(text, "kept {}: {what}", amount(&kept, "object"));
        }
    }
    for error in &collected.stuck {
        let _ = writeln!(text, "kept: {error}");
    }
    let others = [
        (&collected.calls, "memoised call"),
        (&collected.partial, "unfinished download"),
        (&collected.abandoned, "unfinished file"),
    ];
    for (gone, what) in others {
        if gone.count > 0 {
            let _ = writeln!(text, "{removes} {}", amount(gone, what));
        }
    }
    let evicted = collected.evicted.len() as u64 + collected.calls.count + collected.partial.count;
    let standing = match (collected.is_within(), evicted) {
        (true, 0) => "nothing had to go",
        (true, _) => "that is within the limit",
        (false, _) => "that is still more than the limit",
    };
    let _ = writeln!(
        text,
        "the cache {} {} of {}: {standing}",
        if is_rehearsal { "would have" } else { "has" },
        bytes(collected.after),
        bytes(collected.limit),
    );
    text
}

/// Why objects stay, but for errors, which are shown one by one.
const REASONS: [(&str, &str); 3] = [
    ("reached", "within reach of the symbol table"),
    ("recent", "put or read in the last 10 minutes"),
    ("changed", "put, read or removed by others meanwhile"),
];

const fn word(why: &Why) -> &'static str {
    match why {
        Why::Reached => "reached",
        Why::Recent => "recent",
        Why::Changed => "changed",
        Why::Failed(_) => "failed",
    }
}

fn collected_json(collected: &Collected, is_rehearsal: bool) -> Value {
    let evicted: Vec<_> = collected.evicted.iter().map(listed_json).collect();
    let kept: Vec<_> = collected
        .passed
        .iter()
        .map(|passed| {
            let mut kept = listed_json(&passed.object);
            kept["why"] = word(&passed.why).into();
            if let Why::Failed(error) = &passed.why {
                kept["error"] = error.to_string().into();
            }
            kept
        })
        .collect();
    json!({
        "dry_run": is_rehearsal,
        "limit": collected.limit,
        "before": sizes_json(&collected.before),
        "after": collected.after,
        "evicted": evicted,
        "kept": kept,
        "calls": amount_json(&collected.calls),
        "partial": amount_json(&collected.partial),
        "stuck": collected.stuck.iter().map(CacheError::to_string).collect::<Vec<_>>(),
        "abandoned": amount_json(&collected.abandoned),
    })
}

fn verify(objects: &Objects, is_json: bool) -> Outcome {
    let mut progress = Progress::new("verifying", None);
    let audit = objects.audit(&mut |done, total| progress.of(done, total))?;
    drop(progress);
    if is_json {
        output::print(&format!("{}\n", audit_json(&audit)))?;
    } else {
        for damaged in &audit.damaged {
            say_damaged(&damaged.id, damaged.aside.as_deref());
        }
        for (id, error) in &audit.unread {
            output::say(&format!("{id} was not looked at: {error}"));
        }
        output::print(&format!("{}: whole\n", amount(&audit.whole, "object")))?;
    }
    match (audit.damaged.len(), audit.unread.len()) {
        (0, 0) => Ok(()),
        (0, unread) => Err(Failure::failed(format!("{unread} could not be looked at"))),
        (damaged, _) => Err(Failure::failed(format!(
            "{damaged} damaged; fetch or put them again"
        ))),
    }
}

fn audit_json(audit: &Audit) -> Value {
    let damaged: Vec<_> = audit
        .damaged
        .iter()
        .map(|damaged| json!({ "id": damaged.id.to_string(), "aside": damaged.aside }))
        .collect();
    let unread: Vec<_> = audit
        .unread
        .iter()
        .map(|(id, error)| json!({ "id": id.to_string(), "error": error.to_string() }))
        .collect();
    json!({ "whole": amount_json(&audit.whole), "damaged": damaged, "unread": unread })
}

fn say_damaged(id: &ContentId, aside: Option<&Path>) {
    let aside = aside.map(|path| format!(", set aside as {}", path.display()));
    output::say(&format!(
        "{id} was damaged on disk{}",
        aside.unwrap_or_default()
    ));
}

fn listed_json(listed: &Listed) -> Value {
    json!({ "id": listed.id.to_string(), "size": listed.len, "used": unix(listed.used) })
}

fn sizes_json(sizes: &Sizes) -> Value {
    json!({
        "total": sizes.total(),
        "objects": amount_json(&sizes.objects),
        "incoming": amount_json(&sizes.incoming),
        "damaged": amount_json(&sizes.damaged),
        "calls": amount_json(&sizes.calls),
        "partial": amount_json(&sizes.partial),
        "foreign": amount_json(&sizes.foreign),
    })
}

fn amount_json(amount: &Amount) -> Value {
    json!({ "count": amount.count, "bytes": amount.bytes })
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
