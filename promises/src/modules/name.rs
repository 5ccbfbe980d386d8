//! Names of modules, as people type them, and of the host calls that modules want.
//!
//! Both obey the same rules and differ in length. A name is 1 to [`ModuleName::MAX_LEN`] bytes of
//! `a-z`, `0-9`, `-` and `.`; it begins and ends with a letter or a digit, so that it is never taken
//! for an option, a hidden file or the end of a sentence; and it is not the text of a content id, so
//! that a command that takes a name or an id knows which one it was given.
//!
//! Refused with them: upper case, everything beyond ASCII, white space, `/`. Two names that look
//! alike are then spelled alike, but for what a typeface does to `l` and `1`. Words that the command
//! line keeps for itself are its own matter.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::content_id::ContentId;

/// What a person types to call a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

/// A call that a module wants to make of its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallName(String);

impl ModuleName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 63;
}

impl CallName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 32;
}

macro_rules! name {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, Self::MAX_LEN)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        /// So that sets and maps of names can be asked with any text. The order is that of the
        /// bytes for both.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}
name!(ModuleName, CallName);

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.len() > max {
        return Err(NameError::TooLong {
            found: text.len(),
            max,
        });
    }
    let is_separator = |c: &char| matches!(c, '-' | '.');
    let is_allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9') || is_separator(c);
    if let Some(found) = text.chars().find(|c| !is_allowed(c)) {
        return Err(NameError::Character { found });
    }
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return Err(NameError::Empty);
    };
    if is_separator(&first) {
        return Err(NameError::Begins { found: first });
    }
    if is_separator(&last) {
        return Err(NameError::Ends { found: last });
    }
    if text.parse::<ContentId>().is_ok() {
        return Err(NameError::ContentId);
    }
    Ok(())
}

/// A text that cannot be a name, and the rule that it breaks. Nothing was changed; choose another
/// name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all.
    #[error("a name has at least one character")]
    Empty,
    /// More bytes than a name may have.
    #[error("a name has at most {max} characters, not {found}")]
    TooLong {
        /// The length of the text, in bytes.
        found: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// A character that names do not have.
    #[error("a name is made of a-z, 0-9, '-' and '.', without {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It begins with a hyphen or a dot.
    #[error("a name begins with a letter or a digit, not with {found:?}")]
    Begins {
        /// What it begins with.
        found: char,
    },
    /// It ends with a hyphen or a dot.
    #[error("a name ends with a letter or a digit, not with {found:?}")]
    Ends {
        /// What it ends with.
        found: char,
    },
    /// The text of a content id.
    #[error(
        "a name is not the text of a content id: commands take either and must tell them apart"
    )]
    ContentId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts;
    use proptest::prelude::*;

    #[test]
    fn the_promises_have_names_of_modules() {
        for promise in texts::ALL {
            let name = promise.name.parse::<ModuleName>();
            assert_eq!(name.as_ref().map(ModuleName::as_str), Ok(promise.name));
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        use NameError as E;
        let id = ContentId::of(b"").to_string();
        let longest = "x".repeat(63);
        for good in [
            "a",
            "7z",
            "hello",
            "hello-2.0",
            "a..b",
            "a.-b",
            longest.as_str(),
            &id[1..],
        ] {
            assert!(good.parse::<ModuleName>().is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", E::Empty),
            (&"x".repeat(64), E::TooLong { found: 64, max: 63 }),
            ("Hello", E::Character { found: 'H' }),
            ("a/b", E::Character { found: '/' }),
            ("a b", E::Character { found: ' ' }),
            ("a_b", E::Character { found: '_' }),
            ("a\n", E::Character { found: '\n' }),
            ("a\0", E::Character { found: '\0' }),
            ("\u{430}", E::Character { found: '\u{430}' }),
            ("-a", E::Begins { found: '-' }),
            (".", E::Begins { found: '.' }),
            ("..", E::Begins { found: '.' }),
            (".a", E::Begins { found: '.' }),
            ("a-", E::Ends { found: '-' }),
            ("a.", E::Ends { found: '.' }),
            (id.as_str(), E::ContentId),
        ] {
            assert_eq!(bad.parse::<ModuleName>(), Err(error), "{bad:?}");
        }
        assert!("x".repeat(32).parse::<CallName>().is_ok());
        assert_eq!(
            "x".repeat(33).parse::<CallName>(),
            Err(E::TooLong { found: 33, max: 32 })
        );
    }

    /// What a terminal does with a character must not depend on who named the module.
    #[test]
    fn an_error_prints_no_control_characters() {
        let error = "\u{1b}[31m".parse::<ModuleName>().unwrap_err().to_string();
        assert!(error.contains("'\\u{1b}'"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn a_name_is_its_text_and_safe_to_type(text in "[-.a-z0-9]{0,70}|\\PC{0,8}") {
            match text.parse::<ModuleName>() {
                Ok(name) => {
                    prop_assert_eq!(name.as_str(), &text);
                    prop_assert_eq!(name.to_string(), text.clone());
                    prop_assert!((1..=63).contains(&text.len()));
                    prop_assert!(!text.starts_with(['-', '.']) && !text.ends_with(['-', '.']));
                }
                Err(error) => {
                    let plain = text.len() <= 63 && !text.is_empty()
                        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                        && error != NameError::ContentId;
                    prop_assert!(!plain, "{text:?}: {error}");
                }
            }
        }
    }
}
