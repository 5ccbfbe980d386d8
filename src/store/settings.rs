//! How a network's interface is run on this machine: what a person said when founding or joining it.
//! The file `settings` in the network's folder, which a person can read and edit; it is read when the
//! server starts.

use std::path::Path;

use clap::ValueEnum;
use grid_wg::{BackendChoice, Netns, Place, Routing, Table};
use serde::{Deserialize, Serialize};
use toml_edit::{Document, DocumentMut, Item, value};

use super::error::StoreError;
use super::files::toml_error;

/// Who is to run WireGuard for a network. The words are those of `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The kernel where it has WireGuard, else this program
    #[default]
    Auto,
    /// The kernel
    Kernel,
    /// This program
    Userspace,
}

impl Backend {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let mut variants = Self::value_variants().iter();
        variants.find(|backend| backend.as_str() == word).copied()
    }

    /// The words, as a sentence lists them: `"a", "b" or "c"`.
    fn words() -> String {
        let mut words = Self::value_variants()
            .iter()
            .map(|backend| format!("\"{}\"", backend.as_str()));
        let last = words.next_back().unwrap_or_default();
        format!("{} or {last}", words.collect::<Vec<_>>().join(", "))
    }
}

impl From<Backend> for BackendChoice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Kernel => Self::Kernel,
            Backend::Userspace => Self::Userspace,
        }
    }
}

/// How an interface is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// By whom.
    pub backend: Backend,
    /// In which network namespace, if not the server's own. Its UDP socket stays in that.
    pub netns: Option<Netns>,
    /// Where the routes through it go.
    pub routing: Routing,
}

impl InterfaceOptions {
    /// Where the interface lives.
    #[must_use]
    pub fn place(&self) -> Place {
        self.netns
            .clone()
            .map_or_else(Place::default, Place::in_netns)
    }
}

/// The table of routes that a word names: `auto`, `off` or a number, as wg-quick(8) has it.
///
/// # Errors
/// It is none of these.
pub fn table(word: &str) -> Result<Table, String> {
    match word {
        "auto" => Ok(Table::Auto),
        "off" => Ok(Table::Off),
        number => number
            .parse()
            .ok()
            .filter(|number| is_table(*number))
            .map(Table::Number)
            .ok_or_else(|| TABLES.to_owned()),
    }
}

/// The word that [`table`] reads.
#[must_use]
pub fn table_word(table: Table) -> String {
    match table {
        Table::Auto => "auto".to_owned(),
        Table::Off => "off".to_owned(),
        Table::Number(number) => number.to_string(),
    }
}

const TABLES: &str =
    "a table is \"auto\", \"off\", or a number from 1, except 255, which is the kernel's own";

/// 0 means no table, and 255 holds the addresses of this machine.
const fn is_table(number: u32) -> bool {
    number != 0 && number != 255
}

/// What a network's `settings` hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) listen_port: u16,
    pub(super) interface: InterfaceOptions,
}

impl Settings {
    pub(super) fn encode(&self) -> String {
        let InterfaceOptions {
            backend,
            netns,
            routing,
        } = &self.interface;
        let mut document = DocumentMut::new();
        document["listen_port"] = value(i64::from(self.listen_port));
        document["backend"] = value(backend.as_str());
        if let Some(netns) = netns {
            document["netns"] = value(netns.to_string());
        }
        if routing.table != Table::Auto {
            document["table"] = value(table_word(routing.table));
        }
        if let Some(metric) = routing.metric {
            document["metric"] = value(i64::from(metric));
        }
        document.to_string()
    }

    pub(super) fn decode(path: &Path, text: &str) -> Result<Self, StoreError> {
        let document = Document::parse(text)
            .map_err(|error| toml_error(path, text, error.span(), error.message()))?;
        let wrong = |item: &Item, why: &str| toml_error(path, text, item.span(), why);
        let required = |key: &str, why: &str| match document.get(key) {
            Some(item) => Ok(item),
            None => Err(toml_error(path, text, None, why)),
        };
        let why = "listen_port must be a UDP port from 1 to 65535";
        let item = required("listen_port", why)?;
        let port = item.as_integer().and_then(|port| u16::try_from(port).ok());
        let listen_port = port.filter(|port| *port != 0);
        let listen_port = listen_port.ok_or_else(|| wrong(item, why))?;
        let why = format!("backend must be {}", Backend::words());
        let item = required("backend", &why)?;
        let backend = item.as_str().and_then(Backend::from_word);
        let backend = backend.ok_or_else(|| wrong(item, &why))?;
        let optional = |key: &str| document.get(key).filter(|item| !item.is_none());
        let netns = optional("netns").map(|item| {
            let netns = item.as_str().and_then(|word| word.parse().ok());
            netns.ok_or_else(|| wrong(item, "netns must be the name or the path of a namespace"))
        });
        let table = optional("table").map(|item| {
            let number = item.as_integer().map(|number| number.to_string());
            let word = number.as_deref().or(item.as_str()).unwrap_or_default();
            self::table(word).map_err(|why| wrong(item, &why))
        });
        let metric = optional("metric").map(|item| {
            let metric = item
                .as_integer()
                .and_then(|metric| u32::try_from(metric).ok());
            metric.ok_or_else(|| wrong(item, "metric must be a number from 0 to 4294967295"))
        });
        Ok(Self {
            listen_port,
            interface: InterfaceOptions {
                backend,
                netns: netns.transpose()?,
                routing: Routing {
                    table: table.transpose()?.unwrap_or_default(),
                    metric: metric.transpose()?,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(interface: InterfaceOptions) -> Settings {
        Settings {
            listen_port: 51820,
            interface,
        }
    }

    #[test]
    fn settings_read_back() {
        let path = Path::new("settings");
        let plain = settings(InterfaceOptions::default());
        assert_eq!(plain.encode(), "listen_port = 51820\nbackend = \"auto\"\n");
        let all = settings(InterfaceOptions {
            backend: Backend::Userspace,
            netns: Some("box".parse().unwrap()),
            routing: Routing {
                table: Table::Number(7),
                metric: Some(50),
            },
        });
        let each = Backend::value_variants().iter().map(|backend| {
            settings(InterfaceOptions {
                backend: *backend,
                ..InterfaceOptions::default()
            })
        });
        for settings in each.chain([all]) {
            assert_eq!(
                Settings::decode(path, &settings.encode()).unwrap(),
                settings
            );
        }
        // As a person would write it.
        let text = "listen_port = 51820\nbackend = \"auto\"\ntable = 7\n";
        let read = Settings::decode(path, text).unwrap();
        assert_eq!(read.interface.routing.table, Table::Number(7));
    }

    /// In the file, on the command line and in requests, a back end is called by the same word; and
    /// the pages name them all.
    #[test]
    fn the_words_for_a_back_end_are_the_same_everywhere() {
        let variants = Backend::value_variants();
        for backend in variants {
            let word = backend.as_str();
            let option = backend.to_possible_value().unwrap();
            assert_eq!(option.get_name(), word);
            let request = serde_json::to_value(backend).unwrap();
            assert_eq!(request, word);
            assert!(Backend::words().contains(&format!("\"{word}\"")));
        }
        let words: Vec<_> = variants.iter().map(|backend| backend.as_str()).collect();
        let option = format!("--backend {}]", words.join(r"\|"));
        let running = variants.iter().filter(|b| !matches!(b, Backend::Auto));
        let running: Vec<_> = running.map(|backend| backend.as_str()).collect();
        let field = format!(r#""backend": "{}""#, running.join("|"));
        let (readme, cli) = (
            include_str!("../../README.md"),
            include_str!("../../docs/cli.md"),
        );
        assert!(readme.contains(&option), "README.md lacks {option}");
        for text in [option, field] {
            assert!(cli.contains(&text), "docs/cli.md lacks {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let path = Path::new("settings");
        let whole = "listen_port = 51820\nbackend = \"auto\"\n";
        for (text, place) in [
            (
                "listen_port = 51820\nbackend = \"magic\"\n",
                "settings:2:11: ",
            ),
            (&format!("{whole}table = \"main\"\n"), "settings:3:9: "),
            (&format!("{whole}table = 255\n"), "settings:3:9: "),
            (&format!("{whole}metric = -1\n"), "settings:3:10: "),
            (&format!("{whole}netns = \"a/b\"\n"), "settings:3:9: "),
            ("listen_port = 0\nbackend = \"auto\"\n", "settings:1:15: "),
            ("listen_port = ", "settings:1:"),
            ("backend = \"auto\"", "settings"),
        ] {
            let error = Settings::decode(path, text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{text}: {error}");
        }
    }

    #[test]
    fn tables_are_words_or_numbers() {
        for word in ["auto", "off", "1", "51820", "4294967295"] {
            assert_eq!(table_word(table(word).unwrap()), word);
        }
        for word in ["", "main", "0", "255", "-1", "4294967296"] {
            assert!(table(word).is_err(), "{word}");
        }
    }
}
