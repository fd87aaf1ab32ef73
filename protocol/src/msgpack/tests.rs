use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_MSGPACK_DEPTH, MAX_MSGPACK_VALUES};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::from),
        (any::<i8>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(code, body)| Value::Ext(code, body)),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..20).prop_map(tuple),
            prop::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; depth];
    bytes.push(0xc0);
    bytes
}

#[test]
fn depth_is_bounded() {
    assert!(decode(&nested(MAX_MSGPACK_DEPTH), "x", 1 << 20).is_ok());
    assert!(matches!(
        decode(&nested(MAX_MSGPACK_DEPTH + 1), "x", 1 << 20),
        Err(DecodeError::LimitExceeded {
            what: "msgpack depth",
            ..
        })
    ));
    assert!(decode(&nested(1 << 19), "x", 1 << 20).is_err());
}

#[test]
fn the_number_of_values_is_bounded() {
    let array = |len: u32| {
        let mut bytes = vec![0xdd];
        bytes.extend(len.to_be_bytes());
        bytes.resize(5 + len as usize, 0xc0);
        bytes
    };
    let fits = u32::try_from(MAX_MSGPACK_VALUES - 1).unwrap();
    assert!(decode(&array(fits), "x", 1 << 20).is_ok());
    assert!(decode(&array(fits + 1), "x", 1 << 20).is_err());
}

#[test]
fn claims_that_cannot_come_true_are_refused() {
    for bytes in [
        [0xc6, 0xff, 0xff, 0xff, 0xff].as_slice(),
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 0x40],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xc1],
        &[],
        &[0xc0, 0xc0],
        &[0xcb, 0, 0],
    ] {
        assert!(
            matches!(decode(bytes, "x", 100), Err(DecodeError::Malformed { .. })),
            "{bytes:x?}"
        );
    }
    assert!(matches!(
        decode(&[0xc0; 3], "x", 2),
        Err(DecodeError::LimitExceeded { .. })
    ));
}

#[test]
fn floats_are_strict_and_numbers_are_not() {
    assert_eq!(float(&Value::from(1.0), "x"), Ok(1.0));
    assert_eq!(float(&Value::from(0.5_f32), "x"), Ok(0.5));
    assert!(float(&Value::from(1), "x").is_err());
    assert_eq!(number(&Value::from(1), "x"), Ok(1.0));
    assert!(number(&Value::from("1"), "x").is_err());
    assert_eq!(
        encode(&Value::from(10.0)),
        [0xcb, 0x40, 0x24, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn types_are_not_mixed_up() {
    assert!(flag(&Value::from(1), "x").is_err());
    assert!(unsigned(&Value::from(true), "x").is_err());
    assert!(unsigned(&Value::from(-1), "x").is_err());
    assert!(unsigned(&Value::from(1.0), "x").is_err());
    assert!(text(&Value::from(b"t".as_slice()), "x").is_err());
    assert!(binary(&Value::from("t"), "x").is_err());
    assert!(sequence(&Value::Ext(EXT_TUPLE, vec![0xc0]), "x").is_err());
    assert!(sequence(&Value::Ext(0x41, vec![0x90]), "x").is_err());
    assert_eq!(
        sequence(&tuple(vec![Value::Nil]), "x"),
        Ok(vec![Value::Nil])
    );
}

#[test]
fn the_last_of_equal_keys_counts_and_nil_is_absent() {
    let value = map([("a", 1.into()), ("a", 2.into()), ("b", Value::Nil)]);
    let fields = Fields::of(&value, "x").unwrap();
    assert_eq!(fields.optional("a", unsigned), Ok(Some(2)));
    assert_eq!(fields.optional("b", unsigned), Ok(None));
    assert_eq!(
        fields.required("c", unsigned),
        Err(DecodeError::Missing { what: "c" })
    );
}

proptest! {
    #[test]
    fn values_round_trip_and_no_prefix_decodes(value in any_value()) {
        let bytes = encode(&value);
        prop_assert_eq!(decode(&bytes, "x", bytes.len()), Ok(value));
        for end in 0..bytes.len() {
            prop_assert!(decode(&bytes[..end], "x", bytes.len()).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = decode(&bytes, "x", 200) {
            let _ = sequence(&value, "x");
        }
    }
}
