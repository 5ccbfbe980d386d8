//! The configuration: a TOML file that people write. The program writes it once, when there is
//! none; commands change single keys of it (`editing`), and leave the rest as it is.

use std::net::SocketAddr;
use std::path::Path;

use grid_net::DEFAULT_LISTEN;
use grid_promises::ContentId;
use grid_promises::network::name::Label;
use grid_promises::texts;
use toml_edit::{Array, InlineTable, Item, Value as TomlValue};

use super::callers::{Accepted, Who, is_of_the_mesh};
use super::error::StoreError;
use super::files::toml_error;
use grid_files::ByteSize;
use grid_promises::modules::builtins;

/// How much the folder `cache/` may take unless somebody says otherwise.
pub const DEFAULT_CACHE_LIMIT: ByteSize = ByteSize(1 << 30);

/// The mark of this node's own packets, QUIC's and WireGuard's, unless somebody says otherwise: "grid" in
/// ASCII. By it, policy routing keeps them out of a tunnel that takes all traffic.
pub const DEFAULT_MARK: u32 = 0x6772_6964;

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What this node calls itself.
    pub label: Option<Label>,
    /// Where its QUIC listens.
    pub listen: Option<SocketAddr>,
    /// Where a person says that its QUIC can be reached.
    pub endpoints: Vec<SocketAddr>,
    /// The mark of this node's own packets; [`DEFAULT_MARK`] if nothing is said.
    pub fwmark: Option<u32>,
    /// What the log holds: a level, or filters by module.
    pub log: Option<String>,
    /// The promises that this node takes part in, and with whom; without such a list, all of this version.
    pub accept: Vec<Accepted>,
    /// How much the folder `cache/` may take; [`DEFAULT_CACHE_LIMIT`] if nothing is said.
    pub cache_limit: Option<ByteSize>,
    /// The content id of the symbol table: what it reaches is never evicted from the cache.
    pub symbols: Option<ContentId>,
    /// The native executables that may run here.
    pub allow: Vec<ContentId>,
    /// Keys that mean nothing; for a warning.
    pub unknown: Vec<String>,
}

impl Config {
    /// What it says about modules.
    #[cfg(feature = "modules")]
    #[must_use]
    pub fn modules(&self) -> grid_modules::Settings {
        grid_modules::Settings {
            cache_limit: self.cache_limit.unwrap_or(DEFAULT_CACHE_LIMIT),
            symbols: self.symbols,
            allow: self.allow.clone(),
        }
    }

    /// Whether this node takes part in a promise, with whomever.
    #[must_use]
    pub fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.accept.iter().any(|known| known.promise == *promise)
    }

    /// The mark of this node's own packets; 0: none.
    #[must_use]
    pub fn mark(&self) -> u32 {
        self.fwmark.unwrap_or(DEFAULT_MARK)
    }
}

/// The configuration of a node that has none.
pub(super) fn default_text() -> String {
    let mut text = format!(
        "\
# The configuration of this grid node. It is read when the server starts.

# What this node calls itself. Default: the host name.
# label = \"box\"

# Where its QUIC listens.
# listen = \"{DEFAULT_LISTEN}\"

# Where others can reach its QUIC, if that is not an address of this machine: [\"ADDRESS:PORT\"].
# endpoints = []

# The mark of this node's own packets, by which they stay outside of a tunnel that takes all traffic; 0:
# none, and then no default route can be taken.
# fwmark = {DEFAULT_MARK:#x}

# What the log holds: error, warn, info, debug or trace.
# log = \"info\"

# How much the folder cache/ may take: KiB, MiB, GiB or TiB.
# cache_limit = \"{DEFAULT_CACHE_LIMIT}\"

# The promises that this node takes part in, by the content id of their text (`grid --show NAME`).
# A network whose members make a promise that is not in this list is not joined. The members of this node's
# networks may call what is listed; `{{ promise = \"ID\", for = [\"anybody\"] }}` says who else, or who alone: a
# network's name or a node id can stand there, and \"members\" (`grid contract --add NAME --for WHO`).
accept = [
"
    );
    for promise in texts::ALL {
        text.push_str(&format!("  \"{}\", # {}\n", promise.id(), promise.name));
    }
    text.push_str(&format!(
        "]\n\n# The symbol table: which names this node knows (`grid symbols`).\nsymbols = \"{}\"\n",
        builtins::table().id()
    ));
    text
}

/// Reads a configuration.
///
/// # Errors
/// [`StoreError::Config`] with line and column.
pub(super) fn decode(path: &Path, text: &str) -> Result<Config, StoreError> {
    let document = toml_edit::Document::parse(text)
        .map_err(|error| toml_error(path, text, error.span(), error.message()))?;
    let mut config = Config::default();
    if document.get("accept").is_none() {
        config.accept = texts::ALL
            .iter()
            .map(|promise| Accepted::usual(promise.id()))
            .collect();
    }
    for (key, item) in document.iter() {
        let value = Value {
            path,
            text,
            key,
            item,
        };
        match key {
            "label" => config.label = Some(value.parse("a name of a-z, 0-9, '-' and '.'")?),
            "listen" => config.listen = Some(value.parse("\"ADDRESS:PORT\"")?),
            "endpoints" => config.endpoints = value.list("a list of \"ADDRESS:PORT\"")?,
            "fwmark" => config.fwmark = Some(value.number("a number from 0 to 0xffffffff")?),
            "log" => config.log = Some(value.parse("a level")?),
            "cache_limit" => config.cache_limit = Some(value.parse("a size such as \"1GiB\"")?),
            "symbols" => config.symbols = Some(value.parse("a content id (\"bafk...\")")?),
            "accept" => config.accept = value.accepted()?,
            "allow" => config.allow = value.list("a list of content ids (\"bafk...\")")?,
            unknown => config.unknown.push(unknown.to_owned()),
        }
    }
    Ok(config)
}

struct Value<'a> {
    path: &'a Path,
    text: &'a str,
    key: &'a str,
    item: &'a Item,
}

impl Value<'_> {
    fn error(&self, span: Option<std::ops::Range<usize>>, expected: &str) -> StoreError {
        let why = format!("{} must be {expected}", self.key);
        toml_error(self.path, self.text, span.or(self.item.span()), why)
    }

    fn parse<T: std::str::FromStr>(&self, expected: &str) -> Result<T, StoreError> {
        self.item
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.error(None, expected))
    }

    fn number(&self, expected: &str) -> Result<u32, StoreError> {
        self.item
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| self.error(None, expected))
    }

    /// The promises of the accept list: content ids, or tables that also say with whom.
    fn accepted(&self) -> Result<Vec<Accepted>, StoreError> {
        const LIST: &str = "a list of content ids (\"bafk...\")";
        let list = self.item.as_array();
        list.ok_or_else(|| self.error(None, LIST))?
            .iter()
            .map(|value| match value {
                TomlValue::InlineTable(entry) => {
                    let read = entry_of(entry);
                    read.map_err(|expected| self.error(value.span(), expected))
                }
                value => {
                    let id = value.as_str().and_then(|text| text.parse().ok());
                    id.map(Accepted::usual)
                        .ok_or_else(|| self.error(value.span(), LIST))
                }
            })
            .collect()
    }

    fn list<T: std::str::FromStr>(&self, expected: &str) -> Result<Vec<T>, StoreError> {
        self.item
            .as_array()
            .map(Array::iter)
            .ok_or_else(|| self.error(None, expected))?
            .map(|value| {
                value
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| self.error(value.span(), expected))
            })
            .collect()
    }
}

/// An entry of the accept list that says with whom; the error is what had to be there.
fn entry_of(entry: &InlineTable) -> Result<Accepted, &'static str> {
    const ENTRY: &str = "a list of content ids, or of { promise = \"bafk...\", for = [\"WHO\"] }";
    const WHO: &str = "a list in which `for` names \"members\", \"anybody\", networks or node ids";
    let word = |value: &TomlValue| value.as_str().map(str::to_owned);
    if entry
        .iter()
        .any(|(key, _)| !["promise", "for"].contains(&key))
    {
        return Err(ENTRY);
    }
    let promise = entry.get("promise").and_then(word);
    let promise: ContentId = promise.and_then(|id| id.parse().ok()).ok_or(ENTRY)?;
    let Some(with) = entry.get("for") else {
        return Ok(Accepted::usual(promise));
    };
    let with = with.as_array().ok_or(ENTRY)?.iter();
    let with = with.map(|who| word(who).and_then(|who| who.parse().ok()).ok_or(WHO));
    let accepted = Accepted {
        promise,
        with: with.collect::<Result<Vec<Who>, _>>()?,
    };
    if is_of_the_mesh(&promise) && !accepted.is_usual() {
        return Err("a list without `for` at the mesh's own promises: they are for anybody");
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        decode(Path::new("config"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_accepts_every_promise_of_this_version() {
        let config = read(&default_text()).unwrap();
        let all = texts::ALL
            .iter()
            .map(|promise| Accepted::usual(promise.id()));
        assert_eq!(config.accept, all.collect::<Vec<_>>());
        assert_eq!(config.symbols, Some(builtins::table().id()));
        assert_eq!(
            Config {
                accept: Vec::new(),
                symbols: None,
                ..config
            },
            Config::default()
        );
    }

    #[test]
    fn what_the_comments_show_is_what_is_read() {
        let text: String = default_text()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") && !setting.contains('`') => {
                    format!("{setting}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let config = read(&text).unwrap();
        assert_eq!(config.label.unwrap().as_str(), "box");
        assert_eq!(config.listen, Some(DEFAULT_LISTEN));
        assert_eq!(config.fwmark, Some(DEFAULT_MARK));
        assert_eq!(config.log.as_deref(), Some("info"));
        assert_eq!(config.cache_limit, Some(DEFAULT_CACHE_LIMIT));
        assert!(config.unknown.is_empty());
    }

    #[test]
    fn a_promise_is_kept_to_those_whom_its_entry_names() {
        let [one, two, three] = ids();
        let text = format!(
            "accept = [\"{one}\", {{ promise = \"{two}\", for = [\"foo\", \"anybody\"] }}, \
             {{ promise = \"{three}\", for = [] }}]\n"
        );
        let config = read(&text).unwrap();
        let with: Vec<&[Who]> = config.accept.iter().map(|it| it.with.as_slice()).collect();
        let foo = Who::Network("foo".parse().unwrap());
        assert_eq!(with, [&[Who::Members][..], &[foo, Who::Anybody], &[]]);
        assert!(config.takes_part_in(&three));
    }

    fn ids() -> [ContentId; 3] {
        [b"a", b"b", b"c"].map(|bytes| ContentId::of(bytes))
    }

    #[test]
    fn mistakes_are_located() {
        for (text, place, word) in [
            ("accept = [\n  \"bafk\",\n]\n", "config:2:3:", "content ids"),
            ("label = 7\n", "config:1:9:", "label"),
            ("a = 1\nlisten = \"here\"\n", "config:2:10:", "ADDRESS:PORT"),
            ("accept = [\n", "config:", "array"),
            ("accept = [{ for = [] }]\n", "config:1:11:", "promise ="),
            ("endpoints = \"x\"", "config:1:13:", "list"),
            ("cache_limit = \"1GB\"", "config:1:15:", "1GiB"),
            ("cache_limit = 7", "config:1:15:", "1GiB"),
            ("fwmark = \"7\"", "config:1:10:", "number"),
            ("fwmark = 0x100000000", "config:1:10:", "number"),
            ("symbols = \"table\"", "config:1:11:", "content id"),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with(place) && error.contains(word),
                "{text:?}: {error}"
            );
        }
        let [mine, mesh] = [ContentId::of(b"mine"), texts::EXCHANGE_KEYS.id()];
        for (entry, word) in [
            (format!("promise = \"{mine}\", for = [\"A\"]"), "node ids"),
            (format!("promise = \"{mine}\", for = [7]"), "node ids"),
            (format!("promise = \"{mine}\", to = []"), "promise ="),
            (
                format!("promise = \"{mesh}\", for = [\"members\"]"),
                "without `for`",
            ),
        ] {
            let error = read(&format!("accept = [\n  {{ {entry} }},\n]\n")).unwrap_err();
            assert!(
                error.starts_with("config:2:3:") && error.contains(word),
                "{error}"
            );
        }
        let config = read("colour = 1\n").unwrap();
        assert_eq!(config.unknown, ["colour"]);
        assert_eq!(config.accept.len(), texts::ALL.len());
        assert!(read("accept = []\n").unwrap().accept.is_empty());
    }
}
