//! Invites and recovery keys on their way from the person to the server. They are secrets: they go through standard
//! input or a file, and an invite that stood on the command line is taken from there as soon as it can be.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use grid_promises::core::CommandError;
use grid_promises::limits::MAX_INVITE_TEXT;
use grid_promises::network::invite::InviteError;
use grid_promises::network::recovery::{RecoveryKey, RecoveryKeyError};
use zeroize::{Zeroize as _, Zeroizing};

use super::output;
use crate::exit::{Failure, Outcome};
use crate::values::secret::SecretText;

/// The most bytes that are read from standard input: the longest invite, with line breaks.
const LIMIT: usize = 2 * MAX_INVITE_TEXT;

/// The invite that a person typed or, for `-`, hands over on standard input.
///
/// # Errors
/// Standard input cannot be read, or holds more than an invite, or no text.
pub fn take(typed: SecretText) -> Outcome<SecretText> {
    if typed.expose() == "-" {
        return invite();
    }
    move_from_command_line(typed.expose());
    Ok(typed)
}

/// The invite that a person hands over on standard input.
///
/// # Errors
/// It cannot be read, or holds more than an invite, or no text.
pub fn invite() -> Outcome<SecretText> {
    read_input("invite", || {
        CommandError::from(InviteError::NotAnInvite).into()
    })
}

/// The recovery key in a file or, for `-`, on standard input.
///
/// # Errors
/// It cannot be read, or holds no text, or more than a recovery key.
pub fn recovery_key(from: &Path) -> Outcome<SecretText> {
    let no_text = || Failure::usage("a recovery key is letters and digits; nothing was changed");
    if from == Path::new("-") {
        return read_input("recovery key", no_text);
    }
    let typed = from.to_str().map(RecoveryKey::from_text);
    if matches!(typed, Some(Ok(_) | Err(RecoveryKeyError::Checksum))) {
        return Err(Failure::usage(
            "a recovery key is where its file belongs; write `-` and give the key on standard input. It is in the \
             shell's history now: remove it there",
        ));
    }
    let file = File::open(from).map_err(|error| {
        let from = from.display();
        Failure::failed(format!(
            "the recovery key cannot be read from {from}: {error}"
        ))
    })?;
    read(file, "recovery key", no_text)
}

fn read_input(what: &str, no_text: impl Fn() -> Failure) -> Outcome<SecretText> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        output::say(&format!("give the {what}, then press Enter and Ctrl-D:"));
    }
    read(input, what, no_text)
}

fn read(input: impl io::Read, what: &str, no_text: impl Fn() -> Failure) -> Outcome<SecretText> {
    // All the room at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
    input
        .take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("the {what} cannot be read: {error}")))?;
    if bytes.len() > LIMIT {
        return Err(Failure::usage(
            "that is more than an invite or a recovery key can be; nothing was changed",
        ));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(mut text) => {
            // White space means nothing in them, and neither do lines that begin with `#`. In JSON a line break is
            // escaped, and whoever reads that makes a copy.
            let (mut begins, mut is_comment) = (true, false);
            text.retain(|letter| {
                is_comment = letter != '\n' && (is_comment || (begins && letter == '#'));
                begins = letter == '\n' || (begins && letter.is_whitespace());
                !is_comment && !letter.is_whitespace()
            });
            Ok(SecretText::new(text))
        }
        Err(error) => {
            error.into_bytes().zeroize();
            Err(no_text())
        }
    }
}

/// Starts this program anew, with `-` in the place of the invite and the invite on its standard
/// input, so that it does not stand in the process list while the join waits for others. Returns if
/// that cannot be done, which costs nothing but that.
fn move_from_command_line(invite: &str) {
    // A pipe holds 64 KiB, more than any invite; a longer text is no invite and will be refused.
    if invite.len() > LIMIT {
        return;
    }
    let words: Option<Vec<OsString>> = replaced(std::env::args_os(), invite);
    let (Some(words), Ok((reader, mut writer))) = (words, io::pipe()) else {
        return;
    };
    if writer.write_all(invite.as_bytes()).is_err() {
        return;
    }
    drop(writer);
    let _failed: io::Error = Command::new("/proc/self/exe")
        .arg0("grid")
        .args(words)
        .stdin(Stdio::from(reader))
        .exec();
}

/// The words after the program's name with `-` for the invite. `None` if it is not among them.
fn replaced(words: impl Iterator<Item = OsString>, invite: &str) -> Option<Vec<OsString>> {
    let mut found = false;
    let words = words
        .skip(1)
        .map(|word| {
            if word == invite {
                found = true;
                "-".into()
            } else {
                word
            }
        })
        .collect();
    found.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_explain_a_key_are_not_of_it() {
        let no_text = || Failure::usage("no text");
        let key = "# foo, bafy\n  # made at noon\n00AA-\n 11BB\n#\n";
        let read = read(key.as_bytes(), "recovery key", no_text).unwrap();
        assert_eq!(read.expose(), "00AA-11BB");
    }

    #[test]
    fn the_invite_is_replaced_wherever_it_stands() {
        let words = ["grid", "join-wireguard-net", "foo", "secret", "--wait=3s"];
        let words = words.into_iter().map(OsString::from);
        assert_eq!(
            replaced(words.clone(), "secret").unwrap(),
            ["join-wireguard-net", "foo", "-", "--wait=3s"]
        );
        assert_eq!(replaced(words, "other"), None);
    }
}
