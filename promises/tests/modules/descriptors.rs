//! Descriptors: one encoding each, and every way not to be one.

use std::collections::BTreeSet;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::descriptor::{
    Descriptor, DescriptorError, builtin_code, builtin_name, builtin_object,
};
use grid_promises::modules::platform::PlatformError;
use grid_promises::modules::{CallName, ModuleKind, NameError, ObjectError, Platform, Protocol};
use proptest::prelude::*;

use crate::kit::{RawDescriptor, as_exec, builtin, exec, id, name, raw_descriptor, wasm};
use crate::{any_id, is_damage};

fn any_kind() -> impl Strategy<Value = ModuleKind> {
    let exec = ("[a-z0-9_]{1,31}/[a-z0-9_]{1,31}", any::<bool>()).prop_map(|(text, framed)| {
        ModuleKind::Exec {
            platform: text.parse().unwrap(),
            protocol: if framed {
                Protocol::Framed
            } else {
                Protocol::Plain
            },
        }
    });
    prop_oneof![Just(ModuleKind::Builtin), Just(ModuleKind::Wasm), exec]
}

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    let call = "[a-z0-9]([-.a-z0-9]{0,30}[a-z0-9])?".prop_map(|text| text.parse().unwrap());
    let calls = prop::collection::btree_set(call, 0..=Descriptor::MAX_CALLS);
    (any_id(), any_kind(), any_id(), calls, any::<bool>()).prop_map(
        |(promise, kind, code, calls, pure)| {
            let descriptor = Descriptor::new(promise, kind, code);
            let descriptor = descriptor.clone().with_calls(calls).unwrap_or(descriptor);
            if pure {
                descriptor.promising_purity()
            } else {
                descriptor
            }
        },
    )
}

proptest! {
    #[test]
    fn a_descriptor_reads_back(descriptor in any_descriptor()) {
        let bytes = descriptor.encode();
        let read = Descriptor::decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&descriptor));
        prop_assert_eq!(read.map(|read| read.encode()), Ok(bytes.clone()));
        prop_assert_eq!(descriptor.id(), ContentId::of(&bytes));
        prop_assert!(bytes.len() <= Descriptor::MAX_LEN);
    }

    #[test]
    fn what_was_cut_or_goes_on_is_refused(
        descriptor in any_descriptor(), at in any::<prop::sample::Index>(), more in any::<u8>(),
    ) {
        let bytes = descriptor.encode();
        let cut = Descriptor::decode(&bytes[..at.index(bytes.len())]);
        let longer = Descriptor::decode(&[&bytes[..], &[more]].concat());
        for result in [cut, longer] {
            prop_assert!(matches!(
                result,
                Err(DescriptorError::Object(ObjectError::Encoding { .. }))
            ), "{result:?}");
        }
    }

    #[test]
    fn altered_bytes_are_another_descriptor_or_none(
        descriptor in any_descriptor(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut bytes = descriptor.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Descriptor::decode(&bytes) {
            prop_assert_ne!(&other, &descriptor);
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

#[test]
fn the_fields_are_those_that_were_given() {
    let wasm = wasm();
    assert_eq!(wasm.promise(), &ContentId::of(b"I will say hello"));
    assert_eq!(wasm.kind(), &ModuleKind::Wasm);
    assert_eq!(wasm.code(), &ContentId::of(b"\0asm\x01\0\0\0"));
    let calls: Vec<&str> = wasm.calls().iter().map(CallName::as_str).collect();
    assert_eq!(calls, ["fetch", "log"]);
    assert!(wasm.is_pure());
    assert!(!exec(Protocol::Plain).is_pure());
    assert!(exec(Protocol::Plain).calls().is_empty());
}

/// Whoever compares ids must see each difference.
#[test]
fn every_field_makes_another_id() {
    let base = Descriptor::new(id(1), ModuleKind::Wasm, id(2));
    let framed = exec(Protocol::Framed);
    let other_platform = Descriptor::new(
        *framed.promise(),
        ModuleKind::Exec {
            platform: "linux/aarch64".parse().unwrap(),
            protocol: Protocol::Framed,
        },
        *framed.code(),
    );
    let all = [
        base.clone(),
        Descriptor::new(id(3), ModuleKind::Wasm, id(2)),
        Descriptor::new(id(1), ModuleKind::Builtin, id(2)),
        Descriptor::new(id(1), ModuleKind::Wasm, id(3)),
        base.clone().promising_purity(),
        base.with_calls(["log".parse().unwrap()]).unwrap(),
        framed,
        exec(Protocol::Plain),
        other_platform,
    ];
    let ids: BTreeSet<ContentId> = all.iter().map(Descriptor::id).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn the_code_of_a_builtin_is_its_name() {
    let status = name("status");
    assert_eq!(builtin_object(&status), b"grid builtin status\n");
    assert_eq!(
        builtin_code(&status),
        ContentId::of(b"grid builtin status\n")
    );
    assert_eq!(builtin("status").code(), &builtin_code(&status));
    assert_eq!(builtin("status").kind(), &ModuleKind::Builtin);
    assert_eq!(builtin_name(&builtin_object(&status)), Some(status));
    for other in [
        &b""[..],
        b"grid builtin status",
        b"grid builtin status\n\n",
        b"grid builtin \n",
        b"grid builtin Status\n",
        b"grid  builtin status\n",
        b"grid builtin \xff\n",
    ] {
        assert_eq!(builtin_name(other), None, "{other:?}");
    }
}

/// The largest descriptor that can be made is read.
#[test]
fn the_limits_are_met_exactly() {
    let long = |n: u32| -> CallName { format!("{n}{}", "x".repeat(30)).parse().unwrap() };
    let sha512 = ContentId::with(HashCode::Sha2_512, b"");
    let word = "x".repeat(Platform::MAX_WORD);
    let kind = ModuleKind::Exec {
        platform: format!("{word}/{word}").parse().unwrap(),
        protocol: Protocol::Framed,
    };
    let descriptor = Descriptor::new(sha512, kind, sha512);
    let full = descriptor.clone().with_calls((10..42).map(long)).unwrap();
    assert_eq!(full.calls().len(), Descriptor::MAX_CALLS);
    let bytes = full.encode();
    assert!(bytes.len() <= Descriptor::MAX_LEN, "{}", bytes.len());
    assert_eq!(Descriptor::decode(&bytes), Ok(full));

    let too_many = DescriptorError::TooManyCalls { found: 33 };
    let result = descriptor.clone().with_calls((10..43).map(long));
    assert_eq!(result, Err(too_many.clone()));
    // It stops there, whatever else would come.
    let endless = descriptor.with_calls((10..99).cycle().map(long));
    assert_eq!(endless, Err(too_many.clone()));
    let bytes = raw_descriptor(|raw| raw.calls = (10..43).map(|n| n.to_string()).collect());
    assert_eq!(Descriptor::decode(&bytes), Err(too_many));
}

#[test]
fn the_order_of_calls_does_not_matter_to_who_makes_it() {
    let calls = |list: &[&str]| {
        let parsed: Vec<CallName> = list.iter().map(|call| call.parse().unwrap()).collect();
        Descriptor::new(id(1), ModuleKind::Wasm, id(2)).with_calls(parsed)
    };
    assert_eq!(calls(&["log", "fetch", "log"]), calls(&["fetch", "log"]));
    // Told anew, not added to.
    let again = calls(&["log"])
        .unwrap()
        .with_calls(["fetch".parse().unwrap()]);
    assert_eq!(again, calls(&["fetch"]));
}

fn refusal(change: impl FnOnce(&mut RawDescriptor)) -> DescriptorError {
    Descriptor::decode(&raw_descriptor(change)).unwrap_err()
}

#[test]
fn each_rule_has_its_error() {
    use DescriptorError as E;
    let texts = |list: &[&str]| -> Vec<String> { list.iter().map(|c| (*c).to_owned()).collect() };
    assert!(Descriptor::decode(&raw_descriptor(|_| {})).is_ok());

    assert_eq!(refusal(|raw| raw.kind = 3), E::Kind { found: 3 });
    let far = refusal(|raw| as_exec(raw, "linux/x86_64", u64::MAX));
    assert_eq!(far, E::Protocol { found: u64::MAX });
    let far = refusal(|raw| raw.kind = u64::MAX);
    assert_eq!(far, E::Kind { found: u64::MAX });

    for kind in [0, 1] {
        for (platform, protocol) in [(true, true), (true, false), (false, true)] {
            let error = refusal(|raw| {
                raw.kind = kind;
                raw.platform = platform.then(|| "linux/x86_64".to_owned());
                raw.protocol = protocol.then_some(0);
            });
            assert_eq!(error, E::NotExec);
        }
    }
    assert_eq!(refusal(|raw| raw.kind = 2), E::ExecIncomplete);
    let platform = Some("linux/x86_64".to_owned());
    let without_protocol = refusal(|raw| (raw.kind, raw.platform) = (2, platform));
    assert_eq!(without_protocol, E::ExecIncomplete);
    let without_platform = refusal(|raw| (raw.kind, raw.protocol) = (2, Some(1)));
    assert_eq!(without_platform, E::ExecIncomplete);
    let bad_platform = refusal(|raw| as_exec(raw, "linux", 0));
    assert_eq!(bad_platform, E::Platform(PlatformError));

    let unsorted = refusal(|raw| raw.calls = texts(&["a", "c", "b"]));
    assert_eq!(unsorted, E::CallOrder { index: 2 });
    let twice = refusal(|raw| raw.calls = texts(&["a", "a"]));
    assert_eq!(twice, E::CallOrder { index: 1 });
    let bad_call = refusal(|raw| raw.calls = texts(&["a", "B"]));
    let source = NameError::Character { found: 'B' };
    assert_eq!(bad_call, E::Call { index: 1, source });

    let plain_with_calls = refusal(|raw| {
        as_exec(raw, "linux/x86_64", 1);
        raw.calls = texts(&["log"]);
    });
    assert_eq!(plain_with_calls, E::CallsOfPlain);
    let call = "log".parse().unwrap();
    assert_eq!(
        exec(Protocol::Plain).with_calls([call]),
        Err(E::CallsOfPlain)
    );
    assert_eq!(
        exec(Protocol::Plain).with_calls([]),
        Ok(exec(Protocol::Plain))
    );
}

#[test]
fn another_version_is_named() {
    for found in [0, 2, 24, u64::MAX] {
        let expected = ObjectError::Version {
            sort: "module descriptor",
            found,
        };
        let error = refusal(|raw| raw.version = found);
        assert_eq!(error, DescriptorError::Object(expected));
    }
}

/// Fields that this version does not have, and too much of what it has.
#[test]
fn another_shape_is_refused() {
    let good = raw_descriptor(|_| {});
    let mut nine = raw_descriptor(|raw| as_exec(raw, "linux/x86_64", 0));
    nine[0] = 0x89;
    nine.push(0xf6);
    let mut trailing_null = good.clone();
    trailing_null[0] = 0x87;
    trailing_null.push(0xf6);
    let mut five = good.clone();
    five[0] = 0x85;
    five.pop();
    let mut number_for_pure = good.clone();
    *number_for_pure.last_mut().unwrap() = 0x00;
    let mut tag_of_promise = good.clone();
    tag_of_promise[3] = 0x2b;
    let long_name = raw_descriptor(|raw| raw.calls = vec!["x".repeat(2048)]);
    for bytes in [
        nine,
        trailing_null,
        five,
        number_for_pure,
        tag_of_promise,
        long_name,
    ] {
        let error = Descriptor::decode(&bytes).unwrap_err();
        let object = match &error {
            DescriptorError::Object(object) => Some(object),
            _ => None,
        };
        assert!(is_damage(object, &error));
    }
}
