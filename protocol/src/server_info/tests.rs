use proptest::prelude::*;

use super::*;

fn record(items: Vec<Value>) -> Result<ServerRecord, DecodeError> {
    ServerRecord::decode(&msgpack::encode(&msgpack::tuple(items)))
}

fn with_info(key: &str, value: Value) -> Result<ServerRecord, DecodeError> {
    record(vec![2.into(), 1.0.into(), msgpack::map([(key, value)])])
}

#[test]
fn the_map_may_be_absent_and_a_list_is_accepted() {
    let bare = record(vec![1.into(), 0.5.into()]).unwrap();
    assert_eq!((bare.state, bare.throughput), (ServerState::Joining, 0.5));
    assert_eq!(bare.info, ServerInfo::default());
    let list = msgpack::encode(&Value::Array(vec![2.into(), 0.5.into()]));
    assert!(ServerRecord::decode(&list).is_ok());
    assert!(with_info("from_the_future", Value::Array(vec![])).is_ok());
}

#[test]
fn throughput_is_a_finite_float() {
    for bad in [
        Value::from(1),
        f64::NAN.into(),
        f64::INFINITY.into(),
        (-1.0).into(),
        "1".into(),
        Value::Nil,
    ] {
        assert!(record(vec![2.into(), bad.clone()]).is_err(), "{bad}");
    }
    for state in [
        Value::from(3),
        Value::from(-1),
        Value::from(2.0),
        Value::from(true),
    ] {
        assert!(record(vec![state.clone(), 1.0.into()]).is_err(), "{state}");
    }
    assert!(record(vec![2.into()]).is_err());
    assert!(record(vec![2.into(), 1.0.into(), Value::Nil]).is_err());
}

#[test]
fn wrong_types_in_the_map_are_refused() {
    for (key, value) in [
        ("start_block", Value::from(0)),
        ("start_block", Value::from(0.0)),
        ("end_block", Value::from(-1)),
        ("public_name", 1.into()),
        ("network_rps", 1.into()),
        ("forward_rps", f64::NAN.into()),
        ("inference_rps", f64::INFINITY.into()),
        ("adapters", "name".into()),
        ("adapters", Value::Array(vec![1.into()])),
        ("using_relay", 0.into()),
        ("cache_tokens_left", 1.0.into()),
        ("next_pings", Value::Array(vec![])),
        ("next_pings", msgpack::map([("QmX", 1.into())])),
        ("next_pings", msgpack::map([("QmX", f64::NAN.into())])),
    ] {
        assert!(with_info(key, value).is_err(), "{key}");
    }
    let pings = with_info("next_pings", msgpack::map([("QmX", f64::INFINITY.into())]));
    assert_eq!(
        pings.unwrap().info.next_pings.get("QmX"),
        Some(&f64::INFINITY)
    );
}

#[test]
fn what_readers_would_reject_is_not_written() {
    let good = ServerRecord {
        state: ServerState::Online,
        throughput: 10.0,
        info: ServerInfo::default(),
    };
    assert!(good.encode().is_ok());
    for throughput in [f64::NAN, f64::INFINITY, -0.1] {
        let bad = ServerRecord {
            throughput,
            ..good.clone()
        };
        assert!(matches!(
            bad.encode(),
            Err(EncodeError::Invalid {
                what: "throughput",
                ..
            })
        ));
    }
    let mut bad = good.clone();
    bad.info.inference_rps = Some(f64::NAN);
    assert!(bad.encode().is_err());
    bad = good;
    bad.info.next_pings.insert("QmX".to_owned(), -1.0);
    assert!(bad.encode().is_err());
}

prop_compose! {
    fn any_info()(
        span in prop::option::of((0_usize..100, 1_usize..100)),
        texts in prop::collection::vec(prop::option::of("\\PC{0,20}"), 5),
        rates in prop::collection::vec(prop::option::of(0.0..1e12_f64), 3),
        adapters in prop::collection::vec("[a-z/]{1,20}", 0..3),
        using_relay: Option<bool>,
        cache_tokens_left: Option<u64>,
        next_pings in prop::collection::btree_map("[A-Za-z0-9]{46}", prop_oneof![Just(f64::INFINITY), 0.0..9.0_f64], 0..4),
        codecs in prop::collection::vec("[A-Z0-9_]{1,20}", 0..6),
    ) -> ServerInfo {
        let [public_name, version, torch_dtype, quant_type, implementation] = texts.try_into().unwrap();
        ServerInfo {
            span: span.map(|(start, len)| Span::new(start, start + len).unwrap()),
            public_name,
            version,
            network_rps: rates[0],
            forward_rps: rates[1],
            inference_rps: rates[2],
            adapters,
            torch_dtype,
            quant_type,
            using_relay,
            cache_tokens_left,
            next_pings,
            codecs,
            implementation,
        }
    }
}

proptest! {
    #[test]
    fn records_round_trip(
        state in prop::sample::select(vec![ServerState::Offline, ServerState::Joining, ServerState::Online]),
        throughput in 0.0..1e12_f64,
        info in any_info(),
    ) {
        let record = ServerRecord { state, throughput, info };
        let bytes = record.encode().unwrap();
        prop_assert_eq!(ServerRecord::decode(&bytes), Ok(record));
        for end in 0..bytes.len() {
            prop_assert!(ServerRecord::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ServerRecord::decode(&bytes);
    }
}
