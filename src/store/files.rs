//! The forms in which single files of a home hold what they hold.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader, SMALL};
use grid_keys::Secret;
use zeroize::Zeroizing;

use super::error::StoreError;

/// A file that holds 32 secret bytes.
pub(super) fn secret<D: Disk>(
    reader: &Reader<'_, D>,
    path: &Path,
) -> Result<Option<Secret<32>>, StoreError> {
    match reader.optional(path, SMALL, Privacy::Secret)? {
        None => Ok(None),
        Some(bytes) => decode_secret(path, &bytes).map(Some),
    }
}

/// 32 secret bytes as a line of base64, the form of `wg genkey`.
pub(super) fn encode_secret(secret: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(vec![0; 45]);
    if let Some((last, text)) = line.split_last_mut() {
        BASE64.encode_mut(secret, text);
        *last = b'\n';
    }
    line
}

fn decode_secret(path: &Path, bytes: &[u8]) -> Result<Secret<32>, StoreError> {
    let damaged = || {
        StoreError::damaged(
            path,
            "it does not hold 44 characters of base64, it may have been cut short",
        )
    };
    let text = bytes.trim_ascii_end();
    if text.len() != 44 {
        return Err(damaged());
    }
    let mut room = Zeroizing::new([0; 33]);
    let length = BASE64
        .decode_mut(text, room.as_mut())
        .map_err(|_| damaged())?;
    let mut secret = Zeroizing::new([0; 32]);
    if length != secret.len() {
        return Err(damaged());
    }
    secret.copy_from_slice(&room[..32]);
    Ok(Secret::new(*secret))
}

/// Where a text breaks off being TOML, for [`StoreError::Config`].
pub(super) fn toml_error(
    path: impl Into<PathBuf>,
    text: &str,
    span: Option<std::ops::Range<usize>>,
    why: impl Into<String>,
) -> StoreError {
    let before = text
        .get(..span.map_or(0, |span| span.start).min(text.len()))
        .unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    StoreError::Config {
        path: path.into(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_and_nothing_else_is_taken_for_one() {
        let path = Path::new("k");
        let line = encode_secret(&[7; 32]);
        assert_eq!(line.len(), 45);
        assert_eq!(decode_secret(path, &line).unwrap(), Secret::new([7; 32]));
        for cut in 0..44 {
            assert!(decode_secret(path, &line[..cut]).is_err(), "cut at {cut}");
        }
        // 33 bytes also take 44 characters.
        let long = BASE64.encode(&[7; 33]);
        assert!(decode_secret(path, long.as_bytes()).is_err());
        let error = decode_secret(path, b"secretsecret").unwrap_err();
        assert!(!error.to_string().contains("secretsecret"), "{error}");
    }

    #[test]
    fn a_place_in_a_text_is_counted_from_one() {
        let StoreError::Config { line, column, .. } =
            toml_error("c", "a = 1\nü = \n", Some(10..10), "x")
        else {
            panic!("another error");
        };
        assert_eq!((line, column), (2, 4));
    }
}
