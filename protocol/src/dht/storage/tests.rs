use super::*;
use crate::dht::value::text_subkey;

const KEY: DhtId = DhtId::from_bytes([1; 20]);
const NOW: f64 = 1000.0;
const SMALL: StorageLimits = StorageLimits {
    max_keys: 64,
    max_value_bytes: 64,
    max_subkeys: 8,
    max_record_bytes: 4096,
    max_total_bytes: 1 << 20,
};

fn put(
    storage: &mut Storage,
    key: DhtId,
    subkey: &Subkey,
    value: &[u8],
    expiration: f64,
    writer: &str,
) -> bool {
    let value = Bytes::copy_from_slice(value);
    let writer = Bytes::copy_from_slice(writer.as_bytes());
    storage.store(
        NewRecord {
            key,
            subkey,
            value: &value,
            expiration,
            writer: &writer,
        },
        NOW,
    )
}

fn entry(name: &str) -> Subkey {
    Subkey::Entry(text_subkey(name))
}

fn regular(storage: &mut Storage, value: &[u8], expiration: f64) -> bool {
    put(storage, KEY, &Subkey::Regular, value, expiration, "w")
}

fn dictionary(entries: &[(&str, f64)]) -> Bytes {
    let mut dictionary = Dictionary::default();
    for (name, expiration) in entries {
        let entry = DictionaryEntry {
            value: Bytes::copy_from_slice(name.as_bytes()),
            expiration: *expiration,
        };
        dictionary.insert_fresher(text_subkey(name), entry);
    }
    dictionary.encode()
}

fn live(storage: &Storage, now: f64) -> Vec<(String, f64)> {
    match storage.record(&KEY, now).map(|record| record.value) {
        Some(DhtValue::Dictionary(found)) => found
            .text_entries()
            .map(|(name, entry)| (name.to_owned(), entry.expiration))
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_regular_value_replaces_only_what_expires_strictly_earlier() {
    for (old, new, kept) in [(10.0, 9.0, false), (10.0, 10.0, false), (10.0, 10.5, true)] {
        let mut storage = Storage::new(SMALL);
        assert!(regular(&mut storage, b"old", NOW + old));
        assert_eq!(regular(&mut storage, b"new", NOW + new), kept);
        let expected: &[u8] = if kept { b"new" } else { b"old" };
        let record = storage.record(&KEY, NOW).unwrap();
        assert_eq!(
            record.value,
            DhtValue::Regular(Bytes::copy_from_slice(expected))
        );
        assert_eq!(record.expiration, NOW + old.max(new));
    }
}

#[test]
fn nothing_expired_or_unordered_is_kept() {
    let mut storage = Storage::new(SMALL);
    for expiration in [NOW - 1.0, NOW, f64::NAN, f64::NEG_INFINITY] {
        assert!(!regular(&mut storage, b"v", expiration));
        assert!(!put(&mut storage, KEY, &entry("s"), b"v", expiration, "w"));
    }
    assert!(storage.is_empty() && storage.used_bytes() == 0);
}

#[test]
fn an_entry_beside_a_regular_value_must_be_later() {
    for (new, kept) in [(9.0, false), (10.0, false), (11.0, true)] {
        let mut storage = Storage::new(SMALL);
        assert!(regular(&mut storage, b"old", NOW + 10.0));
        assert_eq!(
            put(&mut storage, KEY, &entry("s"), b"v", NOW + new, "w"),
            kept
        );
        assert_eq!(live(&storage, NOW).len(), usize::from(kept));
    }
}

#[test]
fn a_regular_value_must_be_later_than_the_whole_dictionary() {
    let mut storage = Storage::new(SMALL);
    assert!(put(&mut storage, KEY, &entry("a"), b"v", NOW + 5.0, "w"));
    assert!(put(&mut storage, KEY, &entry("b"), b"v", NOW + 20.0, "w"));
    assert!(!regular(&mut storage, b"r", NOW + 20.0));
    assert!(regular(&mut storage, b"r", NOW + 21.0));
    assert!(live(&storage, NOW).is_empty());
}

#[test]
fn entries_have_their_own_expiration_and_the_record_has_the_latest() {
    let mut storage = Storage::new(SMALL);
    assert!(put(&mut storage, KEY, &entry("a"), b"v", NOW + 20.0, "w"));
    assert!(put(&mut storage, KEY, &entry("b"), b"v", NOW + 5.0, "w")); // earlier than the record: kept all the same
    assert!(!put(&mut storage, KEY, &entry("b"), b"v", NOW + 5.0, "w"));
    assert!(put(&mut storage, KEY, &entry("b"), b"v", NOW + 6.0, "w"));
    assert_eq!(storage.expiration(&KEY, NOW), Some(NOW + 20.0));
    assert_eq!(live(&storage, NOW + 6.0), [("a".to_owned(), NOW + 20.0)]);
    assert_eq!(storage.record(&KEY, NOW + 20.0), None);
    storage.sweep(NOW + 20.0);
    assert!(storage.is_empty() && storage.used_bytes() == 0);
}

#[test]
fn a_merge_keeps_every_fresh_entry_and_is_true_only_if_all_were_kept() {
    let mut storage = Storage::new(SMALL);
    assert!(put(&mut storage, KEY, &entry("b"), b"v", NOW + 50.0, "w"));
    let merged = dictionary(&[("a", NOW + 10.0), ("b", NOW + 20.0), ("c", NOW + 30.0)]);
    assert!(!put(
        &mut storage,
        KEY,
        &Subkey::WholeDictionary,
        &merged,
        NOW + 30.0,
        "w"
    ));
    assert_eq!(
        live(&storage, NOW),
        [
            ("a".to_owned(), NOW + 10.0),
            ("b".to_owned(), NOW + 50.0),
            ("c".to_owned(), NOW + 30.0)
        ]
    );
    let newer = dictionary(&[("a", NOW + 60.0), ("d", NOW + 60.0)]);
    assert!(put(
        &mut storage,
        KEY,
        &Subkey::WholeDictionary,
        &newer,
        NOW + 60.0,
        "w"
    ));
    assert!(!put(
        &mut storage,
        KEY,
        &Subkey::WholeDictionary,
        b"\xc0",
        NOW + 90.0,
        "w"
    ));
}

#[test]
fn a_subkey_must_be_one_msgpack_value() {
    let mut storage = Storage::new(SMALL);
    for bad in [&b"\xa5ab"[..], b"\xc1", b"\x01\x02"] {
        assert!(!put(
            &mut storage,
            KEY,
            &Subkey::Entry(Bytes::copy_from_slice(bad)),
            b"v",
            NOW + 5.0,
            "w"
        ));
    }
    assert!(storage.is_empty());
}

#[test]
fn values_over_the_limit_are_refused() {
    let mut storage = Storage::new(SMALL);
    assert!(!regular(&mut storage, &[0; 65], NOW + 5.0));
    assert!(regular(&mut storage, &[0; 64], NOW + 5.0));
}

#[test]
fn a_flooding_writer_gives_way_and_cannot_push_others_out() {
    let mut storage = Storage::new(SMALL);
    let key = |n: u8| DhtId::from_bytes([n; 20]);
    assert!(put(
        &mut storage,
        key(200),
        &Subkey::Regular,
        b"honest",
        NOW + 1.0,
        "honest"
    ));
    for n in 0..100 {
        put(
            &mut storage,
            key(n),
            &Subkey::Regular,
            b"flood",
            NOW + 100.0 + f64::from(n),
            "flood",
        );
    }
    assert_eq!(storage.len(), 64);
    assert!(put(
        &mut storage,
        key(201),
        &Subkey::Regular,
        b"late",
        NOW + 1.0,
        "second"
    ));
    assert_eq!(storage.len(), 64);
    assert!(storage.record(&key(200), NOW).is_some());
    assert!(
        storage.record(&key(0), NOW).is_none(),
        "the flood's record that expires first gave way"
    );
    assert!(!put(
        &mut storage,
        key(150),
        &Subkey::Regular,
        b"flood",
        NOW + 900.0,
        "flood"
    ));
}

#[test]
fn a_full_dictionary_shares_its_places_among_writers() {
    let mut storage = Storage::new(SMALL);
    for n in 0..9 {
        let kept = put(
            &mut storage,
            KEY,
            &entry(&format!("f{n}")),
            b"v",
            NOW + 100.0,
            "flood",
        );
        assert_eq!(kept, n < 8);
    }
    assert!(put(
        &mut storage,
        KEY,
        &entry("honest"),
        b"v",
        NOW + 1.5,
        "honest"
    ));
    assert_eq!(live(&storage, NOW).len(), 8);
    assert!(live(&storage, NOW).iter().any(|(name, _)| name == "honest"));
}

#[test]
fn the_total_stays_bounded_and_the_accounts_stay_true() {
    let limits = StorageLimits {
        max_total_bytes: 20_000,
        ..SMALL
    };
    let mut storage = Storage::new(limits);
    for round in 0..2000_u32 {
        let key = DhtId::of_raw(&(round % 97).to_be_bytes());
        let subkey = if round % 3 == 0 {
            Subkey::Regular
        } else {
            entry(&format!("{}", round % 13))
        };
        let writer = format!("writer {}", round % 7);
        let expiration = NOW + 1.0 + f64::from(round.wrapping_mul(2_654_435_761) % 500);
        put(&mut storage, key, &subkey, &[0; 50], expiration, &writer);
        assert!(storage.used_bytes() <= limits.max_total_bytes && storage.len() <= limits.max_keys);
    }
    storage.sweep(NOW + 1e6);
    assert!(storage.is_empty());
    assert_eq!(storage.used_bytes(), 0);
}
