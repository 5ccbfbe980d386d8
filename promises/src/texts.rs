//! The promise texts. Each says what the sender will do and what it expects in return, and its
//! content id leads every message made under it.
//!
//! Another text is another promise: a text is edited only to promise something else. The ids are pinned by
//! a test.

use std::sync::OnceLock;

use crate::content_id::ContentId;

/// A promise: its name on the command line and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The subcommand that is called by it.
    pub name: &'static str,
    /// The text, UTF-8, with a final line feed.
    pub text: &'static str,
    /// Its place in [`ALL`].
    number: usize,
}

impl Promise {
    /// The content id that leads every message made under this promise. Hashed once in a process:
    /// it is asked for with every message.
    #[must_use]
    pub fn id(&self) -> ContentId {
        static IDS: [OnceLock<ContentId>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        let of_text = || ContentId::of(self.text.as_bytes());
        let known = IDS.get(self.number);
        known.map_or_else(of_text, |id| *id.get_or_init(of_text))
    }
}

macro_rules! promises {
    (commands { $($command:ident = $called:literal;)* }
     messages { $($message:ident = $leads:literal;)* }) => {
        promises! { @all $($command = $called;)* $($message = $leads;)* }
        const COMMANDS: &[Promise] = &[$($command),*];
    };
    (@all $($constant:ident = $name:literal;)*) => {
        $(
            #[doc = concat!("The promise `", $name, "`.")]
            pub const $constant: Promise = Promise {
                name: $name,
                text: include_str!(concat!("../texts/", $name, ".md")),
                number: Number::$constant as usize,
            };
        )*
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($constant),* }
        /// Every promise of this version, in the order in which `grid --list` shows them.
        pub const ALL: &[Promise] = &[$($constant),*];
    };
}

promises! {
    commands {
        START_SERVER = "start-server";
        STOP_SERVER = "stop-server";
        CREATE_WIREGUARD_NET = "create-wireguard-net";
        INVITE = "invite";
        INVITES = "invites";
        CLOSE_INVITE = "close-invite";
        JOIN_WIREGUARD_NET = "join-wireguard-net";
        LEAVE_WIREGUARD_NET = "leave-wireguard-net";
        STATUS = "status";
        ACCEPT = "accept";
        REJECT = "reject";
        APPOINT_JUDGE = "appoint-judge";
        REPLAY = "replay";
        PROMISE = "promise";
        WITHDRAW = "withdraw";
        REVOKE = "revoke";
        OWNERS = "owners";
        APPOINT_OWNER = "appoint-owner";
        DISMISS_OWNER = "dismiss-owner";
        RECOVER = "recover";
        EXCHANGE_KEYS = "exchange-keys";
        GENERATE_KEYS = "generate-keys";
        CREATE_CONFIG = "create-config";
        INSTALL_SERVICE = "install-service";
        WAIT_ONLINE = "wait-online";
        PUBLISH = "publish";
        SYMBOLS = "symbols";
        ADOPT_SYMBOLS = "adopt-symbols";
        ALLOW = "allow";
        CONTRACT = "contract";
        CAS = "cas";
        ROUTES = "routes";
    }
    // What nodes and programs say to one another; no person types these.
    messages {
        JUDGE = "judge";
        FETCH = "fetch";
        FORWARD = "forward";
        ANSWER = "answer";
        REFUSAL = "refusal";
        ACCEPT_MESSAGE = "accept-message";
        REJECT_MESSAGE = "reject-message";
    }
}

/// The promises that people call as subcommands: all but those that only lead messages.
pub fn commands() -> impl Iterator<Item = &'static Promise> {
    COMMANDS.iter()
}

/// The promise that is called by a name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Promise> {
    ALL.iter().find(|promise| promise.name == name)
}

/// The promise with a content id.
#[must_use]
pub fn by_id(id: &ContentId) -> Option<&'static Promise> {
    ALL.iter().find(|promise| promise.id() == *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed text is another promise: nodes with the old one would refuse every message. Whoever
    /// changes a text changes this list, and the wire.
    #[test]
    fn ids_are_pinned() {
        let pinned: Vec<&str> = include_str!("../texts/IDS").lines().collect();
        let line = |promise: &Promise| format!("{} {}", promise.name, promise.id());
        let lines: Vec<String> = ALL.iter().map(line).collect();
        let lacks: Vec<&String> = lines
            .iter()
            .filter(|l| !pinned.contains(&l.as_str()))
            .collect();
        let old: Vec<&&str> = pinned
            .iter()
            .filter(|l| !lines.contains(&(**l).to_owned()))
            .collect();
        assert!(
            lacks.is_empty() && old.is_empty(),
            "texts/IDS lacks {lacks:#?}\nand should not have {old:#?}"
        );
        assert_eq!(pinned, lines, "the order of texts/IDS is that of the texts");
    }

    #[test]
    fn an_id_is_that_of_its_own_text() {
        for (number, promise) in ALL.iter().enumerate() {
            assert_eq!(promise.number, number);
            for _ in 0..2 {
                assert_eq!(promise.id(), ContentId::of(promise.text.as_bytes()));
            }
        }
    }

    #[test]
    fn texts_are_mutual_and_unique() {
        for promise in ALL {
            assert!(
                promise.text.contains("I will"),
                "{} promises nothing",
                promise.name
            );
            assert!(
                promise.text.contains("I expect"),
                "{} expects nothing",
                promise.name
            );
            assert!(
                promise.text.ends_with('\n') && promise.text.is_ascii(),
                "{}",
                promise.name
            );
            assert_eq!(by_id(&promise.id()), Some(promise));
            assert_eq!(by_name(promise.name), Some(promise));
        }
    }
}
