//! A search for 32 secret bytes in every form in which they could have leaked.

use std::collections::HashMap;

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use grid_keys::Secret;

/// How many bytes of a form the search indexes.
const HEAD: usize = 8;

/// Looks for many secrets in one pass.
pub(super) struct Search(HashMap<[u8; HEAD], Vec<(String, Vec<u8>)>>);

impl Search {
    /// Looks for these secrets, each with a name for the report.
    pub(super) fn for_all<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a Secret<32>)>,
    ) -> Self {
        let mut by_head: HashMap<_, Vec<_>> = HashMap::new();
        for (name, secret) in secrets {
            for (form, bytes) in forms(secret) {
                if let Some(head) = bytes.first_chunk() {
                    let found = (format!("{name} in {form}"), bytes.clone());
                    by_head.entry(*head).or_default().push(found);
                }
            }
        }
        Self(by_head)
    }

    /// The name and form of the first secret in `bytes`.
    pub(super) fn first_in(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(HEAD).enumerate().find_map(|(at, window)| {
            let head: &[u8; HEAD] = window.try_into().ok()?;
            let (name, _) =
                self.0.get(head)?.iter().find(|(_, whole)| {
                    bytes.get(at..).is_some_and(|rest| rest.starts_with(whole))
                })?;
            Some(name.as_str())
        })
    }
}

/// A secret raw, in hexadecimal, and in base64 at every offset in a longer text.
pub(super) fn forms(secret: &Secret<32>) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.expose();
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("lower hex", HEXLOWER.encode(bytes).into_bytes()),
        ("upper hex", HEXUPPER.encode(bytes).into_bytes()),
    ];
    for (name, encoding) in [("base64", &BASE64), ("base64url", &BASE64URL)] {
        for before in 0..3 {
            let text = encoding.encode(&[&[0; 3][..before], bytes, &[0; 3]].concat());
            // Only the characters whose six bits all belong to the secret.
            let (first, behind) = ((before * 8).div_ceil(6), (before + 32) * 8 / 6);
            let own = text.as_bytes().get(first..behind).unwrap_or_default();
            forms.push((name, own.to_vec()));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_nothing_else_is() {
        let secret = Secret::new(std::array::from_fn(|i| u8::try_from(i * 37 % 256).unwrap()));
        let search = Search::for_all([("it", &secret)]);
        let raw = secret.expose();
        for before in 0..7 {
            let around = [&vec![b'x'; before], raw.as_slice(), b"yyyy"].concat();
            for text in [
                around.clone(),
                BASE64.encode(&around).into_bytes(),
                BASE64URL.encode(&around).into_bytes(),
                HEXLOWER.encode(&around).into_bytes(),
                HEXUPPER.encode(&around).into_bytes(),
            ] {
                assert!(search.first_in(&text).is_some(), "{text:?}");
                assert!(search.first_in(&text[..text.len() / 2]).is_none());
            }
        }
        assert!(search.first_in(&[]).is_none());
    }
}
