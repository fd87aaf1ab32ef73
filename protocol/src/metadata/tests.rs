use proptest::prelude::*;

use super::*;

fn encode<const N: usize>(entries: [(&str, Value); N]) -> Vec<u8> {
    msgpack::encode(&msgpack::map(entries))
}

#[test]
fn empty_bytes_and_unknown_keys_mean_defaults() {
    assert_eq!(StepMetadata::decode(&[]), Ok(StepMetadata::default()));
    let unknown = encode([("future", 1.into()), ("session_id", Value::Nil)]);
    assert_eq!(StepMetadata::decode(&unknown), Ok(StepMetadata::default()));
    assert_eq!(
        ForwardMetadata::decode(&unknown),
        Ok(ForwardMetadata::default())
    );
}

#[test]
fn a_first_step_needs_its_length() {
    assert_eq!(
        OpenMetadata::decode(&[]),
        Err(DecodeError::Missing { what: "max_length" })
    );
}

#[test]
fn an_empty_adapter_name_is_none_and_numbers_may_be_integers() {
    let bytes = encode([
        ("active_adapter", "".into()),
        ("points", 3.into()),
        ("max_length", 9.into()),
        ("alloc_timeout", 2.into()),
    ]);
    let open = OpenMetadata::decode(&bytes).unwrap();
    assert_eq!(
        (open.points, open.active_adapter, open.max_length),
        (3.0, None, 9)
    );
    assert_eq!(open.alloc_timeout, Duration::from_secs(2));
}

#[test]
fn wrong_types_are_refused() {
    for (key, value) in [
        ("session_id", Value::from(1)),
        ("session_id", "x".repeat(MAX_ID_BYTES + 1).into()),
        ("step_id", b"x".as_slice().into()),
        ("max_length", Value::from(16.0)),
        ("max_length", Value::from(-1)),
        ("max_length", Value::from(true)),
        ("points", "0".into()),
        ("active_adapter", 0.into()),
        ("alloc_timeout", f64::NAN.into()),
        ("alloc_timeout", (-1.0).into()),
        ("alloc_timeout", "1".into()),
        ("output_compression", 0.into()),
        ("cache_grows", 1.into()),
        ("output_compression", Value::Array(vec![6.into()])),
        ("output_compression", Value::Array(vec![0.0.into()])),
        ("start_from_position", 0.0.into()),
        ("args_structure", Value::Map(vec![])),
        ("next_servers", Value::Array(vec![Value::Array(vec![])])),
        ("next_servers", "QmX".into()),
        ("pushed", 1.into()),
    ] {
        let mut entries = vec![("max_length".into(), Value::from(1))];
        entries.push((key.into(), value));
        let bytes = msgpack::encode(&Value::Map(entries));
        assert!(OpenMetadata::decode(&bytes).is_err(), "{key}");
    }
    assert!(StepMetadata::decode(&msgpack::encode(&Value::Array(vec![]))).is_err());
    assert!(StepMetadata::decode(&vec![0xc0; MAX_METADATA_BYTES + 1]).is_err());
}

#[test]
fn a_route_is_handed_on_one_server_at_a_time() {
    let server = |name: &str, start| NextServer {
        peer_id: name.to_owned(),
        session_id: format!("at {name}"),
        span: Span::new(start, start + 2).unwrap(),
    };
    let step = StepMetadata {
        session_id: Some("here".to_owned()),
        step_id: Some("s1".to_owned()),
        start_from_position: Some(5),
        next_servers: vec![server("B", 2), server("C", 4)],
        ..StepMetadata::default()
    };
    let (next, pushed) = step.for_push().unwrap();
    assert_eq!(next, server("B", 2));
    assert_eq!(pushed.session_id.as_deref(), Some("at B"));
    assert_eq!(
        (&pushed.step_id, pushed.start_from_position),
        (&step.step_id, Some(5))
    );
    let (next, pushed) = pushed.for_push().unwrap();
    assert_eq!((next, pushed.pushed), (server("C", 4), true));
    assert_eq!(pushed.for_push(), None);
}

prop_compose! {
    fn any_step()(
        session_id in prop::option::of("[a-z0-9-]{0,36}"),
        step_id in prop::option::of("[a-z0-9-]{0,36}"),
        start_from_position in prop::option::of(0_usize..100_000),
        args in prop::option::of((0_usize..6).prop_map(ArgsStructure::positional)),
        route in prop::collection::vec(("[A-Za-z0-9]{1,60}", "[a-z0-9]{0,36}", 0_usize..60, 1_usize..20), 0..3),
        pushed: bool,
    ) -> StepMetadata {
        let next_servers = route.into_iter().map(|(peer_id, session_id, start, len)| NextServer {
            peer_id,
            session_id,
            span: Span::new(start, start + len).unwrap(),
        }).collect();
        StepMetadata { session_id, step_id, start_from_position, args, next_servers, pushed }
    }
}

fn any_codecs() -> impl Strategy<Value = Option<Vec<Compression>>> {
    prop::option::of(prop::collection::vec(
        prop::sample::select(Compression::ALL.to_vec()),
        0..4,
    ))
}

proptest! {
    #[test]
    fn all_metadata_round_trip(
        step in any_step(),
        max_length: usize,
        points in -1e9..1e9_f64,
        active_adapter in prop::option::of("[a-z/]{1,20}"),
        alloc_millis in 0_u32..10_000_000,
        output_compression in any_codecs(),
        cache_grows: bool,
    ) {
        prop_assert_eq!(StepMetadata::decode(&step.encode()), Ok(step.clone()));
        let forward = ForwardMetadata {
            points,
            active_adapter: active_adapter.clone(),
            args: step.args.clone(),
            output_compression: output_compression.clone(),
        };
        prop_assert_eq!(ForwardMetadata::decode(&forward.encode()), Ok(forward));
        let open = OpenMetadata {
            max_length,
            points,
            active_adapter,
            // Quarters of a second are exact in binary.
            alloc_timeout: Duration::from_millis(u64::from(alloc_millis) * 250),
            output_compression,
            cache_grows,
            step,
        };
        prop_assert_eq!(OpenMetadata::decode(&open.encode()), Ok(open));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ForwardMetadata::decode(&bytes);
        let _ = OpenMetadata::decode(&bytes);
        let _ = StepMetadata::decode(&bytes);
    }
}
