//! Records, `rpc_info` and msgpack against bytes written by hivemind and Petals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use block_protocol::{
    Compression, DType, ModelRecord, Schemas, ServerInfo, ServerRecord, ServerRpcInfo, ServerState,
    Span, TensorDescriptor,
    msgpack::{self, EXT_DESCRIPTOR, EXT_DICTIONARY, Value},
    schema::REFERENCE_SCHEMA_LENGTH,
};
use support::{vector, vectors};

const CALLS: &str = "petals_calls_to_python_server";
const PYTHON: &str = "python_serialization";

/// Subkey and value of the one entry in a dictionary found in the DHT.
fn only_entry(name: &str) -> (String, Vec<u8>) {
    let bytes = vector(CALLS, name).bytes;
    let Value::Ext(EXT_DICTIONARY, body) = msgpack::decode(&bytes, "x", 1000).unwrap() else {
        panic!("{name} is a dictionary");
    };
    let dictionary = msgpack::decode(&body, "x", 1000).unwrap();
    let entry = dictionary[2][0].as_array().unwrap();
    (
        entry[0].as_str().unwrap().to_owned(),
        entry[1].as_slice().unwrap().to_vec(),
    )
}

#[test]
fn server_records() {
    for block in 0..4 {
        let (peer_id, bytes) = only_entry(&format!("petals.dht_value.{block}"));
        assert_eq!(peer_id, "QmRsxLeeJcfijjSUaPcGt1vGLzRxZJUjem3qH8cSiSfPAa");
        let record = ServerRecord {
            state: ServerState::Online,
            throughput: 10.0,
            info: ServerInfo {
                span: Some(Span::new(0, 4).unwrap()),
                version: Some("2.3.0.dev2".to_owned()),
                torch_dtype: Some("float32".to_owned()),
                quant_type: Some("none".to_owned()),
                using_relay: Some(false),
                cache_tokens_left: Some(16384),
                ..ServerInfo::default()
            },
        };
        assert_eq!(ServerRecord::decode(&bytes).as_ref(), Ok(&record));
        assert_eq!(record.encode().unwrap(), bytes);
    }
}

#[test]
fn model_record() {
    let (prefix, bytes) = only_entry("petals.dht_value.4");
    assert_eq!(prefix, "tiny-llama-hf");
    let record = ModelRecord {
        num_blocks: 4,
        repository: None,
    };
    assert_eq!(ModelRecord::decode(&bytes).as_ref(), Ok(&record));
    assert_eq!(record.encode().unwrap(), bytes);
}

fn info_of_the_capture() -> ServerRpcInfo {
    ServerRpcInfo {
        version: Some("2.3.0.dev2".to_owned()),
        cache_tokens_available: 8192,
        ..ServerRpcInfo::default()
    }
}

#[test]
fn rpc_info_without_a_uid() {
    let bytes = vector(CALLS, "petals.rpc_info.empty_uid.serialized_info").bytes;
    let info = info_of_the_capture();
    assert_eq!(ServerRpcInfo::decode(&bytes).as_ref(), Ok(&info));
    assert_eq!(info.encode(), bytes);
}

#[test]
fn rpc_info_with_schemas() {
    let bytes = vector(CALLS, "petals.rpc_info.serialized_info").bytes;
    let schemas = Schemas::for_span(DType::F32, 64, REFERENCE_SCHEMA_LENGTH, Compression::None);
    let mut info = ServerRpcInfo {
        schemas: Some(schemas),
        ..info_of_the_capture()
    };
    assert_eq!(ServerRpcInfo::decode(&bytes).as_ref(), Ok(&info));
    assert_eq!(info.encode(), bytes);
    // Our own keys come after Petals' and change none of them.
    info.codecs = vec!["none".to_owned()];
    info.implementation = Some("block-server/0.1.0".to_owned());
    let extended = info.encode();
    assert_eq!(extended[1..bytes.len()], bytes[1..]);
}

#[test]
fn tensor_descriptor() {
    let bytes = vector(PYTHON, "msgpack.BatchTensorDescriptor").bytes;
    let value = msgpack::decode(&bytes, "x", 1000).unwrap();
    assert!(matches!(value, Value::Ext(EXT_DESCRIPTOR, _)));
    let descriptor = TensorDescriptor {
        size: vec![None, Some(1), Some(2048), Some(64)],
        dtype: DType::BF16,
        compression: Compression::None,
        requires_grad: false,
    };
    assert_eq!(
        TensorDescriptor::from_value(&value).as_ref(),
        Ok(&descriptor)
    );
    assert_eq!(msgpack::encode(&descriptor.to_value()), bytes);
}

#[test]
fn msgpack_values() {
    let bin = |text: &str| Value::Binary(text.into());
    let args = msgpack::tuple(vec![bin("__T0"), bin("__T1")]);
    for (name, value) in [
        (
            "tuple",
            msgpack::tuple(vec![1.into(), 2.5.into(), "a".into()]),
        ),
        (
            "nested_tuple",
            msgpack::tuple(vec![args, Value::Map(vec![])]),
        ),
        ("none", Value::Nil),
        ("str", "hello".into()),
        (
            "subkey_peer",
            "QmRsxLeeJcfijjSUaPcGt1vGLzRxZJUjem3qH8cSiSfPAa".into(),
        ),
        ("bytes", Value::Binary(vec![1, 2])),
        ("float_inf", f64::INFINITY.into()),
        ("empty_tuple", msgpack::tuple(vec![])),
    ] {
        let bytes = vector(PYTHON, &format!("msgpack.{name}")).bytes;
        assert_eq!(
            msgpack::decode(&bytes, "x", 100).as_ref(),
            Ok(&value),
            "{name}"
        );
        assert_eq!(msgpack::encode(&value), bytes, "{name}");
    }
}

#[test]
fn every_msgpack_vector_round_trips_and_no_prefix_decodes() {
    let mut count = 0;
    for vector in vectors(PYTHON)
        .into_iter()
        .filter(|v| v.name.starts_with("msgpack."))
    {
        let bytes = &vector.bytes;
        let value = msgpack::decode(bytes, "x", 1000).unwrap();
        assert_eq!(&msgpack::encode(&value), bytes, "{}", vector.name);
        for end in 0..bytes.len() {
            assert!(msgpack::decode(&bytes[..end], "x", 1000).is_err());
        }
        count += 1;
    }
    assert_eq!(count, 10);
}
