//! Every DHT message captured from hivemind decodes to what it means and encodes to the same bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::{fs, path::Path};

use block_protocol::Rpc;
use block_protocol::dht::{
    DhtId, DhtRequest, DhtResponse, DhtValue, Dictionary, PingRequest, Subkey, text_of,
};
use block_protocol::frame::{decode_reply, decode_request};
use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// Files that hold DHT calls.
const FILES: [&str; 5] = [
    "dht_inbound_from_python.json",
    "dht_outbound_calls_to_go_peer.json",
    "petals_inbound_from_python_client.json",
    "petals_calls_to_python_server.json",
    "misc_push.json",
];

fn from_hex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn vectors(file: &str) -> Vec<(String, Bytes, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(file);
    let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let field = |vector: &Value, name: &str| vector[name].as_str().unwrap_or_default().to_owned();
    let vectors = json.as_array().unwrap().iter();
    vectors
        .map(|vector| {
            (
                field(vector, "name"),
                from_hex(&field(vector, "hex")),
                field(vector, "decoded"),
            )
        })
        .collect()
}

fn vector(file: &str, name: &str) -> Bytes {
    let found = vectors(file)
        .into_iter()
        .find(|(vector, ..)| vector == name);
    found.unwrap_or_else(|| panic!("{file} has no {name}")).1
}

/// The DHT RPC that a vector's name names.
fn rpc(name: &str) -> Option<Rpc> {
    let dht = [Rpc::DhtPing, Rpc::DhtStore, Rpc::DhtFind];
    dht.into_iter().find(|rpc| name.contains(rpc.name()))
}

fn request_body(frame: Bytes) -> Bytes {
    decode_request(&mut BytesMut::from(frame.as_ref()))
        .unwrap()
        .unwrap()
        .body
}

fn reply_body(frame: Bytes) -> Result<Bytes, String> {
    decode_reply(&mut BytesMut::from(frame.as_ref()))
        .unwrap()
        .unwrap()
        .result
}

fn request(file: &str, name: &str) -> DhtRequest {
    DhtRequest::decode(rpc(name).unwrap(), request_body(vector(file, name))).unwrap()
}

fn response(file: &str, name: &str) -> DhtResponse {
    DhtResponse::decode(rpc(name).unwrap(), reply_body(vector(file, name)).unwrap()).unwrap()
}

#[test]
fn every_captured_message_decodes_and_encodes_to_the_same_bytes() {
    let mut seen = 0;
    for file in FILES {
        for (name, frame, _) in vectors(file) {
            let Some(rpc) = rpc(&name) else { continue };
            let is_request = name.contains(".request.");
            let body = if is_request {
                Ok(request_body(frame))
            } else {
                reply_body(frame)
            };
            if name.contains(".error.") {
                continue;
            }
            let body = body.unwrap();
            let encoded = if is_request {
                DhtRequest::decode(rpc, body.clone()).unwrap().encode()
            } else {
                DhtResponse::decode(rpc, body.clone()).unwrap().encode()
            };
            assert_eq!(encoded, body, "{file} {name}");
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} messages seen");
}

#[test]
fn no_prefix_and_no_flipped_byte_of_a_message_panics() {
    for file in FILES {
        for (name, frame, _) in vectors(file) {
            let Some(rpc) = rpc(&name) else { continue };
            let is_request = name.contains(".request.");
            let body = if is_request {
                Ok(request_body(frame))
            } else {
                reply_body(frame)
            };
            let Ok(body) = body else { continue };
            let mut damaged: Vec<Bytes> =
                (0..body.len()).map(|length| body.slice(..length)).collect();
            for index in 0..body.len() {
                let mut flipped = body.to_vec();
                flipped[index] ^= 0xa5;
                damaged.push(flipped.into());
            }
            for bytes in damaged {
                let _ = DhtRequest::decode(rpc, bytes.clone());
                let _ = DhtResponse::decode(rpc, bytes);
            }
        }
    }
}

#[test]
fn a_ping_asks_for_validation_and_a_client_has_no_id() {
    let file = "dht_inbound_from_python.json";
    let DhtRequest::Ping(ping) = request(file, "inbound.DHTProtocol.rpc_ping.request.frame") else {
        panic!("not a ping")
    };
    assert_eq!(
        ping.node_id.unwrap().to_string(),
        "409055d63efa52b6fa2ce9c136e3833dc42d4524"
    );
    assert!(ping.validate);
    let client = request(file, "inbound.DHTProtocol.rpc_ping.request.frame#1");
    assert_eq!(
        client,
        DhtRequest::Ping(PingRequest {
            node_id: None,
            validate: true
        })
    );
}

#[test]
fn a_find_answer_carries_values_dictionaries_and_neighbours() {
    let DhtResponse::Find(answer) = response(
        "dht_outbound_calls_to_go_peer.json",
        "DHTProtocol.rpc_find.response.frame",
    ) else {
        panic!("not a find")
    };
    assert_eq!(answer.results.len(), 3);
    for result in &answer.results {
        assert_eq!(result.nearest.len(), 1);
        assert_eq!(
            result.nearest[0].node_id.to_string(),
            "8d02992345dd09db787bd8ed4a575398adfb5e95"
        );
        assert_eq!(result.nearest[0].peer.len(), 34);
    }
    let regular = answer.results[0].record.as_ref().unwrap();
    assert_eq!(
        regular.value,
        DhtValue::Regular(Bytes::from_static(b"\xa5world"))
    );
    let dictionary = answer.results[1].record.as_ref().unwrap();
    let DhtValue::Dictionary(entries) = &dictionary.value else {
        panic!("not a dictionary")
    };
    let subkeys: Vec<_> = entries.text_entries().map(|(subkey, _)| subkey).collect();
    assert_eq!(subkeys, ["sk1", "sk2"]);
    assert_eq!(dictionary.expiration, entries.latest_expiration());
    assert_eq!(answer.results[2].record, None);
}

#[test]
fn the_three_kinds_of_subkeys_are_told_apart() {
    let file = "dht_outbound_calls_to_go_peer.json";
    let kind = |name: &str| match request(file, name) {
        DhtRequest::Store(store) => store.records[0].subkey.clone(),
        DhtRequest::Ping(_) | DhtRequest::Find(_) => panic!("not a store"),
    };
    assert_eq!(
        kind("DHTProtocol.rpc_store.regular.request.frame"),
        Subkey::Regular
    );
    assert_eq!(
        kind("inbound.DHTProtocol.rpc_store.request.frame"),
        Subkey::WholeDictionary
    );
    let Subkey::Entry(subkey) = kind("DHTProtocol.rpc_store.subkey.request.frame") else {
        panic!("not an entry")
    };
    assert_eq!(text_of(&subkey), Some("sk1"));
}

#[test]
fn unequal_arrays_are_refused_as_the_reference_does() {
    let frame = vector(
        "dht_outbound_calls_to_go_peer.json",
        "DHTProtocol.rpc_store.error.request.frame",
    );
    assert!(DhtRequest::decode(Rpc::DhtStore, request_body(frame)).is_err());
}

#[test]
fn dictionaries_encode_to_the_reference_bytes() {
    let bytes = vector("python_serialization.json", "msgpack.DictionaryDHTValue");
    let dictionary = Dictionary::decode(&bytes).unwrap();
    assert_eq!(dictionary.len(), 2);
    let tuple_key = [0xd6, 0x40, 0x92, 0xa1, b't', 0x01]; // ("t", 1)
    assert_eq!(
        dictionary.entry(&tuple_key).unwrap().value,
        Bytes::from_static(&[7])
    );
    assert_eq!(dictionary.encode(), bytes);
    for n in 0..5 {
        let bytes = vector(
            "petals_calls_to_python_server.json",
            &format!("petals.dht_value.{n}"),
        );
        assert_eq!(Dictionary::decode(&bytes).unwrap().encode(), bytes);
    }
}

#[test]
fn keys_hash_to_the_reference_ids() {
    for (name, hash, _) in vectors("python_serialization.json") {
        let Some(key) = name.strip_prefix("dhtid.") else {
            continue;
        };
        let id = match key {
            "b'raw'" => DhtId::of_raw(b"raw"),
            "('a', 1)" => DhtId::of_msgpack(&[0xd6, 0x40, 0x92, 0xa1, b'a', 1]),
            text => DhtId::of_text(text.trim_matches('\'')),
        };
        assert_eq!(id.as_bytes()[..], hash[..], "{name}");
    }
}

#[test]
fn a_node_id_of_any_other_length_means_client_mode() {
    for length in [0_u8, 1, 19, 21, 34, 38] {
        let mut body = vec![0x12, length + 2, 0x0a, length];
        body.extend(vec![7; usize::from(length)]);
        let decoded = DhtRequest::decode(Rpc::DhtPing, body.into()).unwrap();
        assert_eq!(decoded.node_id(), None, "{length} bytes");
    }
}
