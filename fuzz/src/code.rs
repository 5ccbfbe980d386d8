//! What `grid-modules` reads of code: what a WebAssembly module says about itself.

use grid_modules::execute::Manifest;

/// A target: its name, which is that of its corpus folder too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] = &[("sections", sections)];

/// What a module says about itself is within the bounds of `docs/modules.md`, and says the same in a
/// module that is made of nothing else.
pub fn sections(data: &[u8]) {
    let Ok(manifest) = Manifest::read(data) else {
        return;
    };
    let is_name = |name: &String| {
        let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(ok)
    };
    assert!(
        manifest
            .promise
            .as_ref()
            .is_none_or(|text| text.len() <= 64 * 1024)
    );
    assert!(manifest.name.iter().chain(&manifest.calls).all(is_name));
    assert!(manifest.calls.is_sorted_by(|a, b| a < b) && manifest.calls.len() <= 32);
    assert!(!manifest.pure || manifest.calls.iter().all(|call| call == "get"));
    assert!(manifest.calls.iter().all(|call| manifest.lists(call)));
    assert_eq!(Manifest::read(&module(&manifest)), Ok(manifest));
}

/// A module with nothing but these sections.
fn module(manifest: &Manifest) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    if let Some(text) = &manifest.promise {
        section(&mut module, "promise", text.as_bytes());
    }
    if let Some(name) = &manifest.name {
        section(&mut module, "promise_name", name.as_bytes());
    }
    if !manifest.calls.is_empty() {
        section(
            &mut module,
            "promise_calls",
            manifest.calls.join(" ").as_bytes(),
        );
    }
    if manifest.pure {
        section(&mut module, "promise_pure", b"yes");
    }
    module
}

/// A custom section: 0, its length, the length of its name, its name, its content.
fn section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut body = Vec::new();
    number(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    module.push(0);
    number(module, body.len());
    module.extend_from_slice(&body);
}

/// In seven bits a byte, the lowest first (LEB128).
fn number(to: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        to.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    to.push(value as u8);
}
