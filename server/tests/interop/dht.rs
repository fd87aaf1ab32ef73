//! Rust and Python DHT nodes in one swarm: joining, storing, reading, and losing a third of them.

use std::time::Duration;

use serde_json::{Value, json};

use block_testing::{PATIENCE, PythonPeer, Role};

use crate::rust_node::RustNode;

/// Longer than any of these tests.
const TTL: Duration = Duration::from_secs(1800);

/// A member of the swarm, whichever language it is written in.
enum Member {
    Rust(RustNode),
    Python(PythonPeer),
}

#[test]
fn three_of_each_agree_and_still_do_without_a_third_of_them() {
    let pythons = [1, 2, 3].map(|number| PythonPeer::spawn(&format!("dht-{number}"), Role::Dht));
    let first = RustNode::start(&[]);
    let address = first.address().to_owned();
    let pythons = pythons.map(|peer| Member::join_python(peer, &[&address]).0);
    let others = [(); 2].map(|()| Member::Rust(RustNode::start(&[&address])));

    let [python_1, python_2, python_3] = pythons;
    let [rust_2, rust_3] = others;
    let mut members = vec![
        Member::Rust(first),
        python_1,
        rust_2,
        python_2,
        rust_3,
        python_3,
    ];
    let mut written = Written::default();
    written.by_every(&members, "before");
    written.is_read_by_every(&members);
    written.replace(&members[0], "plain-before-1");
    written.replace(&members[1], "plain-before-0");
    written.is_read_by_every(&members);

    members.pop().unwrap().kill();
    members.pop().unwrap().kill();
    written.is_read_by_every(&members);
    written.by_every(&members, "after");
    written.is_read_by_every(&members);
    members.into_iter().for_each(Member::finish);
}

#[test]
fn rust_nodes_join_a_lone_python_node() {
    let (python, address) = Member::join_python(PythonPeer::spawn("dht-lone", Role::Dht), &[]);
    let mut members = vec![python];
    members.extend([(); 2].map(|()| Member::Rust(RustNode::start(&[&address]))));
    let mut written = Written::default();
    written.by_every(&members, "joined");
    written.is_read_by_every(&members);
    members.into_iter().for_each(Member::finish);
}

/// What every member must read.
#[derive(Default)]
struct Written {
    expected: Vec<(String, Value)>,
}

impl Written {
    /// Each member stores a plain value of its own and a subkey of one shared key.
    fn by_every(&mut self, members: &[Member], when: &str) {
        let mut shared = serde_json::Map::new();
        for (number, member) in members.iter().enumerate() {
            let value =
                json!({ "text": "Füchslein", "number": number, "list": [1.5, null, true, "x"] });
            let key = format!("plain-{when}-{number}");
            member.store(&key, None, &value);
            self.expected.push((key, json!({ "value": value })));

            let value = json!(format!("of member {number}"));
            let subkey = format!("member-{number}");
            member.store(&format!("shared-{when}"), Some(&subkey), &value);
            shared.insert(subkey, value);
        }
        self.expected
            .push((format!("shared-{when}"), json!({ "subkeys": shared })));
    }

    /// Another member than the author stores a later value under a plain key.
    fn replace(&mut self, member: &Member, key: &str) {
        let value = json!("replaced");
        member.store(key, None, &value);
        let (_, expected) = self
            .expected
            .iter_mut()
            .find(|(name, _)| name == key)
            .unwrap();
        *expected = json!({ "value": value });
    }

    fn is_read_by_every(&self, members: &[Member]) {
        for (number, member) in members.iter().enumerate() {
            for (key, expected) in &self.expected {
                assert_eq!(
                    &member.await_value(key, expected),
                    expected,
                    "member {number} reads {key}"
                );
            }
            assert_eq!(member.get("nobody stored this"), Value::Null);
        }
    }
}

impl Member {
    /// Joins and says where others can join in turn.
    fn join_python(peer: PythonPeer, initial_peers: &[&str]) -> (Self, String) {
        peer.await_ready();
        let contact: Value = peer.call("start", json!({ "initial_peers": initial_peers }));
        let address = contact["addresses"][0].as_str().unwrap().to_owned();
        (Self::Python(peer), address)
    }

    fn store(&self, key: &str, subkey: Option<&str>, value: &Value) {
        let is_stored = match self {
            Self::Rust(node) => node.store(key, subkey, value, TTL),
            Self::Python(peer) => {
                let ttl = TTL.as_secs();
                peer.call(
                    "store",
                    json!({ "key": key, "subkey": subkey, "value": value, "ttl_s": ttl }),
                )
            }
        };
        assert!(is_stored, "nobody took {key}");
    }

    fn get(&self, key: &str) -> Value {
        match self {
            Self::Rust(node) => node.get(key),
            Self::Python(peer) => peer.call("get", json!({ "key": key })),
        }
    }

    fn await_value(&self, key: &str, expected: &Value) -> Value {
        match self {
            Self::Rust(node) => node.await_value(key, expected),
            Self::Python(peer) => {
                let patience = PATIENCE.as_secs() / 2;
                peer.call(
                    "await_value",
                    json!({ "key": key, "expected": expected, "patience_s": patience }),
                )
            }
        }
    }

    /// Ends the member without a word to the others.
    fn kill(self) {
        match self {
            Self::Rust(node) => node.kill(),
            Self::Python(peer) => peer.kill(),
        }
    }

    /// Ends the member in order; a Python one must leave no process behind.
    fn finish(self) {
        match self {
            Self::Rust(node) => node.kill(),
            Self::Python(peer) => peer.finish(),
        }
    }
}
