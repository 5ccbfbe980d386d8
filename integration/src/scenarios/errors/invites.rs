//! Invites that cannot be used.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use grid_promises::ContentId;
use grid_promises::network::invite::Invite;

use super::must_fail::{MustFail, exit};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::wait::wait_until;

const PREFIX: &str = "grid-invite-1.";
const JOIN: &[&str] = &["join-wireguard-net", "foo", "-", "--wait", "5s"];

pub(super) fn bad_invites(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let mesh = Mesh::found(&a, "foo", MeshOptions::default())?;
    let other = Mesh::found(&a, "bar", MeshOptions::default())?;
    let short = a.grid_ok(&["invite", "foo", "--expires", "1s"], "")?;
    let whole = mesh.invite();
    let cut = whole
        .get(..whole.len() - 10)
        .context("the invite is short")?;
    let altered = alter(whole)?;
    let forged = forge(whole)?;
    let long = format!("{PREFIX}{}", "A".repeat(17_000));
    let huge = format!("{PREFIX}{}", "A".repeat(100_000));
    b.grid_ok(&["start-server", "--background"], "")?;
    let copy = &["incomplete or was altered", "copy all of it again"][..];
    for (invite, exit, says) in [
        ("", exit::USAGE, &["the invite is empty", "grid invite"][..]),
        ("hello", exit::USAGE, &["this is not an invite", PREFIX]),
        (cut, exit::USAGE, copy),
        (&altered, exit::USAGE, copy),
        (&forged, exit::USAGE, &["signature is wrong", "altered"]),
        (&long, exit::USAGE, &["longer than any invite"]),
        (
            &huge,
            exit::USAGE,
            &["more than an invite", "nothing was changed"],
        ),
        (
            other.invite(),
            exit::USAGE,
            &["for the network \"bar\"", "grid join-wireguard-net bar -"],
        ),
    ] {
        MustFail::new(JOIN, exit, says).input(invite).run_on(&b)?;
    }
    sleep(Duration::from_millis(2500));
    let says = &["the invite expired", "ask for a new one"];
    MustFail::new(JOIN, exit::REFUSED, says)
        .input(&short)
        .run_on(&b)?;
    // Conversely, none of this prevents a good invite from working.
    b.grid_ok(&["join-wireguard-net", "foo", "-"], whole)
        .map(drop)
}

pub(super) fn spent_invite(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        uses: 1,
        ..MeshOptions::default()
    };
    let (a, b, c) = (lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?);
    let mut mesh = Mesh::found(&a, "foo", options)?;
    mesh.join(&b)?;
    mesh.wait_whole(Duration::from_secs(30))?;
    c.grid_ok(&["start-server", "--background"], "")?;
    let says = &["used up by others", "ask for a new one"];
    MustFail::new(JOIN, exit::REFUSED, says)
        .input(mesh.invite())
        .run_on(&c)?;
    wait_until(
        "the others to know only each other",
        Duration::from_secs(5),
        || Ok(mesh.status(&a)?.peers.len() == 1 && mesh.status(&b)?.peers.len() == 1),
    )
}

/// Replaces a letter in the middle.
fn alter(invite: &str) -> Result<String> {
    let middle = invite.len() / 2;
    let letter = invite.get(middle..=middle).context("no middle")?;
    let other = if letter == "A" { "B" } else { "A" };
    let (before, after) = invite.split_at(middle);
    Ok(format!("{before}{other}{}", &after[1..]))
}

/// Flips a bit of a signature and corrects the checksum, so that it cannot be an accident.
fn forge(invite: &str) -> Result<String> {
    let text = invite.strip_prefix(PREFIX).context("no invite")?;
    let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes())?;
    bytes.truncate(bytes.len() - 4);
    ensure!(checked(&bytes) == invite, "the checksum is another one");
    let charter = Invite::from_text(invite)?.charter;
    let charter = charter.bytes();
    let at = bytes
        .windows(charter.len())
        .position(|window| window == charter)
        .context("no charter")?;
    // It ends with its signature.
    if let Some(last) = bytes.get_mut(at + charter.len() - 1) {
        *last ^= 1;
    }
    Ok(checked(&bytes))
}

fn checked(bytes: &[u8]) -> String {
    let hash = ContentId::of(&[b"grid/1 invite\0", bytes].concat());
    let sum = hash.digest().get(..4).unwrap_or_default();
    let text = BASE64URL_NOPAD.encode(&[bytes, sum].concat());
    format!("{PREFIX}{text}")
}
