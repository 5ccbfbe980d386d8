//! What `grid cas` reports: for `--json` and for people.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use grid_modules::objects::{Amount, Audit, CacheError, Collected, How, Listed, Put, Sizes, Why};
use serde::Serialize;

use crate::command::Report;
use crate::values::moment;
use crate::values::units::{bytes, span};

/// An object that was put.
#[derive(Debug, Serialize)]
pub(super) struct PutReport {
    damaged: Option<PathBuf>,
    how: &'static str,
    id: String,
    size: u64,
}

impl PutReport {
    pub(super) fn of(put: &Put) -> Self {
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

/// The objects in the store.
#[derive(Debug, Serialize)]
pub(super) struct ListReport {
    limit: u64,
    objects: Vec<ListedReport>,
    sizes: SizesReport,
}

impl ListReport {
    pub(super) fn of(all: &[Listed], sizes: &Sizes, limit: u64) -> Self {
        Self {
            limit,
            objects: all.iter().map(ListedReport::of).collect(),
            sizes: SizesReport::of(sizes),
        }
    }
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

pub(super) fn summary(sizes: &Sizes, limit: u64) -> String {
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
pub(super) struct CollectedReport {
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
    pub(super) fn of(collected: &Collected, dry_run: bool) -> Self {
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
            (true, 0) => "nothing to evict",
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

/// What reading every object came to.
#[derive(Debug, Serialize)]
pub(super) struct AuditReport {
    pub(super) damaged: Vec<DamagedReport>,
    pub(super) unread: Vec<UnreadReport>,
    whole: AmountReport,
}

#[derive(Debug, Serialize)]
pub(super) struct DamagedReport {
    pub(super) aside: Option<PathBuf>,
    pub(super) id: String,
}

#[derive(Debug, Serialize)]
pub(super) struct UnreadReport {
    pub(super) error: String,
    pub(super) id: String,
}

impl AuditReport {
    pub(super) fn of(audit: &Audit) -> Self {
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

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
