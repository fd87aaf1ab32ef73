//! Swarms in memory: a virtual clock, delays, loss and deaths, all from one seed that is printed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code; seeds are printed"
)]

#[path = "dht_simulation/swarm.rs"]
mod swarm;

use std::collections::BTreeSet;

use block_protocol::dht::{Command, DhtId, DhtValue, Outcome, Stored};
use bytes::Bytes;
use swarm::{NodeIndex, START, Swarm, entry, plain};

/// Longer than any test lasts: dead nodes cost a reader 3 s each.
const TTL: f64 = 7200.0;

/// Subkeys under a key as `reader` sees them.
fn read(swarm: &mut Swarm, reader: NodeIndex, key: &str, latest: bool) -> BTreeSet<String> {
    let keys = vec![DhtId::of_text(key)];
    let Outcome::Found(found) = swarm.run_command(reader, Command::Get { keys, latest }) else {
        panic!("not an answer to a get")
    };
    match found[0].as_ref().map(|record| &record.value) {
        Some(DhtValue::Dictionary(dictionary)) => dictionary
            .text_entries()
            .map(|(subkey, _)| subkey.to_owned())
            .collect(),
        Some(DhtValue::Regular(value)) => {
            BTreeSet::from([String::from_utf8(value.to_vec()).unwrap()])
        }
        None => BTreeSet::new(),
    }
}

fn store(
    swarm: &mut Swarm,
    writer: NodeIndex,
    entries: Vec<block_protocol::dht::StoreEntry>,
) -> Vec<Stored> {
    match swarm.run_command(writer, Command::Store { entries }) {
        Outcome::Stored(stored) => stored,
        other => panic!("{other:?} is no answer to a store"),
    }
}

fn kept(stored: &Stored) -> usize {
    stored.kept_by_others + usize::from(stored.kept_here)
}

/// Every node announces itself under one key and writes one plain value; everybody must see all of it.
fn announce_all(swarm: &mut Swarm, writers: &[NodeIndex]) -> (BTreeSet<String>, Vec<String>) {
    let expiration = swarm.now() + TTL;
    let mut names = BTreeSet::new();
    let mut keys = Vec::new();
    for writer in writers {
        let name = format!("server {writer}");
        let own_key = format!("plain {writer}");
        let entries = vec![
            entry("model.0", &name, "online", expiration),
            entry("model.1", &name, "online", expiration),
            plain(&own_key, &name, expiration),
        ];
        let stored = store(swarm, *writer, entries);
        assert!(
            stored.iter().all(|stored| kept(stored) > 0),
            "{writer}: {stored:?}"
        );
        names.insert(name);
        keys.push(own_key);
    }
    (names, keys)
}

fn assert_agreement(
    swarm: &mut Swarm,
    readers: &[NodeIndex],
    names: &BTreeSet<String>,
    keys: &[String],
) {
    for reader in readers {
        assert_eq!(
            read(swarm, *reader, "model.0", true),
            *names,
            "model.0 at {reader}"
        );
        assert_eq!(
            read(swarm, *reader, "model.1", true),
            *names,
            "model.1 at {reader}"
        );
        for key in keys {
            let expected = key.replace("plain", "server");
            assert_eq!(
                read(swarm, *reader, key, false),
                BTreeSet::from([expected]),
                "{key} at {reader}"
            );
        }
    }
}

/// Joins `count` nodes through the first, stores, reads everywhere, kills a third and reads everywhere again.
fn store_read_kill_read(seed: u64, count: usize, loss: f64) {
    println!("seed {seed}, {count} nodes, loss {loss}");
    let mut swarm = Swarm::new(seed, loss);
    let all: Vec<NodeIndex> = (0..count)
        .map(|n| swarm.add_server(&[0][..n.min(1)]))
        .collect();
    swarm.run_until_ready(&all);
    let (names, keys) = announce_all(&mut swarm, &all);
    let sample: Vec<String> = keys.iter().step_by(count.div_ceil(10)).cloned().collect();
    assert_agreement(&mut swarm, &all, &names, &sample);
    // The bootstrap is among the dead.
    let (dead, alive): (Vec<_>, Vec<_>) = all.iter().partition(|node| *node % 3 == 0);
    for node in dead {
        swarm.kill(node);
    }
    assert_agreement(&mut swarm, &alive, &names, &sample);
    let (fresh_names, fresh_keys) = announce_all(&mut swarm, &alive[..1]);
    assert!(fresh_names.is_subset(&names));
    assert_agreement(&mut swarm, &alive, &names, &fresh_keys);
}

#[test]
fn three_nodes_agree_and_survive_the_death_of_one() {
    for seed in 1..=5 {
        store_read_kill_read(seed, 3, 0.0);
    }
}

#[test]
fn twenty_nodes_agree_and_survive_the_death_of_a_third() {
    store_read_kill_read(20, 20, 0.0);
    store_read_kill_read(21, 20, 0.0);
}

#[test]
fn fifty_nodes_agree_and_survive_the_death_of_a_third() {
    store_read_kill_read(50, 50, 0.0);
}

#[test]
fn twenty_nodes_agree_although_messages_get_lost() {
    store_read_kill_read(22, 20, 0.03);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut swarm = Swarm::new(7, 0.1);
        let all: Vec<NodeIndex> = (0..10)
            .map(|n| swarm.add_server(&[0][..n.min(1)]))
            .collect();
        swarm.run_until_ready(&all);
        announce_all(&mut swarm, &all[..3]);
        (swarm.now(), swarm.messages())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_record_has_five_holders() {
    let mut swarm = Swarm::new(3, 0.0);
    let all: Vec<NodeIndex> = (0..20)
        .map(|n| swarm.add_server(&[0][..n.min(1)]))
        .collect();
    swarm.run_until_ready(&all);
    let expiration = swarm.now() + TTL;
    let stored = store(
        &mut swarm,
        4,
        (0..40)
            .map(|n| plain(&format!("key {n}"), "v", expiration))
            .collect(),
    );
    assert!(stored.iter().all(|stored| kept(stored) == 5), "{stored:?}");
    let calls = swarm.messages();
    store(
        &mut swarm,
        4,
        (0..40)
            .map(|n| entry(&format!("block {n}"), "me", "v", expiration))
            .collect(),
    );
    println!("announcing 40 keys took {} calls", swarm.messages() - calls);
    assert!(swarm.messages() - calls < 200, "keys share calls");
}

#[test]
fn records_and_entries_expire_on_their_own() {
    let mut swarm = Swarm::new(4, 0.0);
    let all: Vec<NodeIndex> = (0..3).map(|n| swarm.add_server(&[0][..n.min(1)])).collect();
    swarm.run_until_ready(&all);
    let now = swarm.now();
    let entries = vec![
        entry("k", "short", "v", now + 60.0),
        entry("k", "long", "v", now + 120.0),
        plain("p", "v", now + 60.0),
    ];
    store(&mut swarm, 1, entries);
    assert_eq!(read(&mut swarm, 2, "k", true).len(), 2);
    assert_eq!(read(&mut swarm, 2, "p", false).len(), 1);
    swarm.run_until(now + 61.0);
    for reader in all.clone() {
        assert_eq!(
            read(&mut swarm, reader, "k", true),
            BTreeSet::from(["long".to_owned()])
        );
        assert!(read(&mut swarm, reader, "p", false).is_empty());
    }
    swarm.run_until(now + 140.0);
    assert!(
        all.iter().all(|node| swarm.stored_keys(*node) == 0),
        "swept, not only hidden"
    );
}

#[test]
fn a_later_announcement_replaces_an_earlier_one_everywhere() {
    let mut swarm = Swarm::new(5, 0.0);
    let all: Vec<NodeIndex> = (0..8).map(|n| swarm.add_server(&[0][..n.min(1)])).collect();
    swarm.run_until_ready(&all);
    for round in 0..4 {
        let expiration = swarm.now() + 240.0;
        store(
            &mut swarm,
            3,
            vec![entry("k", "server", &format!("round {round}"), expiration)],
        );
        for reader in &all {
            let keys = vec![DhtId::of_text("k")];
            let Outcome::Found(found) =
                swarm.run_command(*reader, Command::Get { keys, latest: true })
            else {
                panic!("not found")
            };
            let Some(DhtValue::Dictionary(dictionary)) =
                found[0].as_ref().map(|record| record.value.clone())
            else {
                panic!("no dictionary")
            };
            let value = dictionary.text_entries().next().unwrap().1.value.clone();
            assert_eq!(value, Bytes::from(format!("round {round}")));
        }
        swarm.run_until(swarm.now() + 60.0);
    }
}

#[test]
fn one_slow_answer_parts_two_nodes_only_for_a_moment() {
    let mut swarm = Swarm::new(6, 0.0);
    let bootstrap = swarm.add_server(&[]);
    let server = swarm.add_server(&[bootstrap]);
    swarm.run_until_ready(&[bootstrap, server]);
    assert!(swarm.knows(server, bootstrap) && swarm.knows(bootstrap, server));
    swarm.delay_next_answer(bootstrap, 4.0);
    read(&mut swarm, server, "anything", true);
    assert!(
        !swarm.knows(server, bootstrap),
        "one failed call removes a node"
    );
    let parted_at = swarm.now();
    swarm.run_until(parted_at + 2.0);
    assert!(swarm.knows(server, bootstrap) && swarm.knows(bootstrap, server));
    let expiration = swarm.now() + TTL;
    store(&mut swarm, server, vec![plain("p", "v", expiration)]);
    assert_eq!(read(&mut swarm, bootstrap, "p", true).len(), 1);
}

#[test]
fn a_partition_heals_however_long_it_lasted() {
    for (seed, lasting) in [(8, 20.0), (9, 3600.0)] {
        println!("seed {seed}, partition of {lasting} s");
        let mut swarm = Swarm::new(seed, 0.0);
        let all: Vec<NodeIndex> = (0..6).map(|n| swarm.add_server(&[0][..n.min(1)])).collect();
        swarm.run_until_ready(&all);
        swarm.partition(&all[..3], &all[3..]);
        // Both sides notice by using each other.
        for node in &all {
            read(&mut swarm, *node, "anything", true);
        }
        swarm.run_until(swarm.now() + lasting);
        assert!(!swarm.knows(4, 0) && !swarm.knows(0, 4));
        swarm.heal();
        swarm.run_until(swarm.now() + 35.0);
        assert!(swarm.knows(4, 0) && swarm.knows(0, 4));
        let (names, keys) = announce_all(&mut swarm, &all);
        assert_agreement(&mut swarm, &all, &names, &keys);
    }
}

#[test]
fn a_node_joins_a_bootstrap_that_starts_later() {
    let mut swarm = Swarm::new(10, 0.0);
    let bootstrap = swarm.add_server(&[]);
    swarm.kill(bootstrap);
    let server = swarm.add_server(&[bootstrap]);
    swarm.run_until(START + 300.0);
    assert!(!swarm.is_ready(server));
    swarm.revive(bootstrap);
    swarm.run_until(swarm.now() + 35.0);
    assert!(swarm.is_ready(server) && swarm.knows(bootstrap, server));
}

#[test]
fn clients_read_and_write_without_being_known() {
    let mut swarm = Swarm::new(11, 0.0);
    let servers: Vec<NodeIndex> = (0..7).map(|n| swarm.add_server(&[0][..n.min(1)])).collect();
    swarm.run_until_ready(&servers);
    let (names, keys) = announce_all(&mut swarm, &servers);
    let clients: Vec<NodeIndex> = (0..3).map(|_| swarm.add_client(&[0])).collect();
    swarm.run_until_ready(&clients);
    assert_agreement(&mut swarm, &clients, &names, &keys);
    let expiration = swarm.now() + TTL;
    let stored = store(
        &mut swarm,
        clients[0],
        vec![plain("from a client", "v", expiration)],
    );
    assert!(stored[0].kept_by_others >= 4, "{stored:?}");
    assert_eq!(read(&mut swarm, servers[5], "from a client", true).len(), 1);
    for server in servers {
        assert!(clients.iter().all(|client| !swarm.knows(server, *client)));
    }
}

#[test]
fn a_newcomer_gets_the_records_it_is_nearest_to() {
    let mut swarm = Swarm::new(12, 0.0);
    let old: Vec<NodeIndex> = (0..3).map(|n| swarm.add_server(&[0][..n.min(1)])).collect();
    swarm.run_until_ready(&old);
    let (names, keys) = announce_all(&mut swarm, &old);
    let newcomer = swarm.add_server(&[0]);
    swarm.run_until_ready(&[newcomer]);
    swarm.run_until(swarm.now() + 5.0);
    assert!(swarm.stored_keys(newcomer) > 0);
    for node in old {
        swarm.kill(node);
    }
    assert_agreement(&mut swarm, &[newcomer], &names, &keys);
}

#[test]
fn a_value_that_was_read_is_kept_near_the_reader() {
    let mut swarm = Swarm::new(13, 0.0);
    let all: Vec<NodeIndex> = (0..20)
        .map(|n| swarm.add_server(&[0][..n.min(1)]))
        .collect();
    swarm.run_until_ready(&all);
    let expiration = swarm.now() + TTL;
    store(&mut swarm, 2, vec![plain("popular", "v", expiration)]);
    let reader = *all
        .iter()
        .find(|node| swarm.stored_keys(**node) == 0)
        .unwrap();
    assert_eq!(read(&mut swarm, reader, "popular", false).len(), 1);
    let calls = swarm.messages();
    assert_eq!(read(&mut swarm, reader, "popular", false).len(), 1);
    assert_eq!(swarm.messages(), calls, "answered from the copy");
}

#[test]
fn a_copy_in_use_is_fetched_again_before_it_expires() {
    let mut swarm = Swarm::new(14, 0.0);
    let all: Vec<NodeIndex> = (0..20)
        .map(|n| swarm.add_server(&[0][..n.min(1)]))
        .collect();
    swarm.run_until_ready(&all);
    let begin = swarm.now();
    store(&mut swarm, 2, vec![plain("popular", "old", begin + 60.0)]);
    let reader = *all
        .iter()
        .find(|node| swarm.stored_keys(**node) == 0)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            read(&mut swarm, reader, "popular", false),
            BTreeSet::from(["old".to_owned()])
        );
    }
    swarm.run_until(begin + 30.0);
    store(&mut swarm, 2, vec![plain("popular", "new", begin + 300.0)]);
    assert_eq!(
        read(&mut swarm, reader, "popular", false),
        BTreeSet::from(["old".to_owned()])
    );
    swarm.run_until(begin + 58.0);
    let calls = swarm.messages();
    assert_eq!(
        read(&mut swarm, reader, "popular", false),
        BTreeSet::from(["new".to_owned()])
    );
    assert_eq!(swarm.messages(), calls, "it was fetched at 55 s");
}
