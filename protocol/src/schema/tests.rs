use proptest::prelude::*;

use super::*;

fn descriptor_with(key: &str, replacement: Option<Value>) -> Value {
    let descriptor = &Schemas::for_span(DType::F32, 64, 2048, Compression::None).forward[0];
    let Value::Ext(code, body) = descriptor.to_value() else {
        panic!("an extension value expected");
    };
    let Value::Map(mut entries) = msgpack::decode(&body, "x", 1000).unwrap() else {
        panic!("a map expected");
    };
    entries.retain(|(name, _)| name.as_str() != Some(key));
    entries.extend(replacement.map(|value| (key.into(), value)));
    Value::Ext(code, msgpack::encode(&Value::Map(entries)))
}

#[test]
fn bad_descriptors_are_refused() {
    assert!(TensorDescriptor::from_value(&descriptor_with("unknown", Some(1.into()))).is_ok());
    for (key, value) in [
        ("size", None),
        ("size", Some(4.into())),
        ("size", Some(Value::Array(vec![1.0.into()]))),
        (
            "size",
            Some(Value::Array(vec![Value::Nil; MAX_TENSOR_DIMS + 1])),
        ),
        ("dtype", None),
        ("dtype", Some("float32".into())),
        ("dtype", Some("torch.".into())),
        ("dtype", Some("torch.complex64".into())),
        ("compression", Some(6.into())),
        ("compression", Some((-1).into())),
        ("requires_grad", Some(0.into())),
    ] {
        let value = descriptor_with(key, value);
        assert!(TensorDescriptor::from_value(&value).is_err(), "{key}");
    }
    assert!(TensorDescriptor::from_value(&Value::Nil).is_err());
}

#[test]
fn bad_infos_are_refused() {
    let base = || ServerRpcInfo {
        version: Some("2.3.0.dev2".to_owned()),
        ..ServerRpcInfo::default()
    };
    let Value::Map(entries) = msgpack::decode(&base().encode(), "x", 1000).unwrap() else {
        panic!("a map expected");
    };
    for (key, value) in [
        ("version", Value::from(2)),
        ("dht_client_mode", Value::from(0)),
        ("cache_tokens_available", Value::from(1.0)),
        ("forward_schema", Value::Array(vec![])),
        ("outputs_schema", Value::Array(vec![Value::Nil])),
        ("codecs", Value::from("NONE")),
    ] {
        let mut entries = entries.clone();
        entries.push((key.into(), value));
        let bytes = msgpack::encode(&Value::Map(entries));
        assert!(ServerRpcInfo::decode(&bytes).is_err(), "{key}");
    }
    assert!(ServerRpcInfo::decode(&[0x80]).is_err());
    assert!(ServerRpcInfo::decode(&vec![0xc0; MAX_RPC_INFO_BYTES + 1]).is_err());
}

proptest! {
    #[test]
    fn infos_round_trip(
        version in prop::option::of("[0-9.a-z]{1,20}"),
        dht_client_mode: bool,
        cache_tokens_available: u64,
        span in prop::option::of((
            prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
            1_usize..100_000,
            1_usize..100_000,
            prop::sample::select(Compression::ALL.to_vec()),
        )),
        codecs in prop::collection::vec("[A-Z0-9_]{1,20}", 0..6),
        texts in prop::collection::vec(prop::option::of("[a-z/0-9.]{1,20}"), 3),
    ) {
        let [implementation, torch_dtype, quant_type] = texts.try_into().unwrap();
        let info = ServerRpcInfo {
            version,
            dht_client_mode,
            cache_tokens_available,
            schemas: span.map(|(dtype, hidden, length, codec)| Schemas::for_span(dtype, hidden, length, codec)),
            codecs,
            implementation,
            torch_dtype,
            quant_type,
        };
        prop_assert_eq!(ServerRpcInfo::decode(&info.encode()), Ok(info));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ServerRpcInfo::decode(&bytes);
        let _ = TensorDescriptor::from_value(&Value::Ext(EXT_DESCRIPTOR, bytes));
    }
}
