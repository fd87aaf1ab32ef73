use super::*;

fn node(n: u32) -> NodeContact {
    NodeContact {
        node_id: DhtId::of_raw(&n.to_be_bytes()),
        peer: Bytes::copy_from_slice(&n.to_be_bytes()),
    }
}

fn sorted_by(key: &DhtId, count: u32) -> Vec<NodeContact> {
    let mut nodes: Vec<_> = (0..count).map(node).collect();
    nodes.sort_by_key(|node| key.distance(&node.node_id));
    nodes
}

/// Runs a lookup in a swarm where everybody knows everybody; returns the number of visits.
fn run(lookup: &mut Lookup, swarm: u32, is_dead: impl Fn(&NodeContact) -> bool) -> usize {
    let mut visits = 0;
    let mut under_way = Vec::new();
    loop {
        while let Some(visit) = lookup.next_visit(|_| false) {
            visits += 1;
            under_way.push(visit);
        }
        let Some(visit) = under_way.pop() else {
            assert!(lookup.is_finished());
            return visits;
        };
        if is_dead(&visit.node) {
            lookup.failed(&visit);
        } else {
            let near = |key: &DhtId| sorted_by(key, swarm).into_iter().take(20).collect();
            lookup.answered(&visit, visit.keys.iter().map(near).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_nearest_nodes_are_found_from_one_stranger() {
    let key = DhtId::of_raw(b"key");
    let mut lookup = Lookup::new([key], 20, 4, |_| vec![node(7)]);
    let visits = run(&mut lookup, 200, |_| false);
    assert_eq!(lookup.nearest(&key), sorted_by(&key, 200)[..20]);
    assert!((20..=25).contains(&visits), "{visits} visits");
}

#[test]
fn nodes_that_fail_make_room_for_farther_ones() {
    let key = DhtId::of_raw(b"key");
    let dead: Vec<_> = sorted_by(&key, 200)[..10].to_vec();
    let mut lookup = Lookup::new([key], 5, 4, |key| {
        sorted_by(key, 200).into_iter().take(20).collect()
    });
    run(&mut lookup, 200, |node| dead.contains(node));
    assert_eq!(lookup.nearest(&key), sorted_by(&key, 200)[10..15]);
}

#[test]
fn several_keys_share_visits() {
    let keys: Vec<_> = (0..64_u8).map(|n| DhtId::of_raw(&[n])).collect();
    let mut lookup = Lookup::new(keys.clone(), 20, 8, |_| (0..5).map(node).collect());
    let visits = run(&mut lookup, 40, |_| false);
    for key in &keys {
        assert_eq!(lookup.nearest(key), sorted_by(key, 40)[..20]);
    }
    assert!(visits <= 64 * 20 / 4, "{visits} visits");
}

#[test]
fn the_keys_of_one_visit_are_the_root_of_all_and_at_most_sixteen() {
    for (keys, expected) in [(1, 1), (3, 1), (4, 2), (100, 10), (400, 16)] {
        let keys = (0..keys).map(|n: u32| DhtId::of_raw(&n.to_be_bytes()));
        let mut lookup = Lookup::new(keys, 20, 1, |_| vec![node(1)]);
        assert_eq!(lookup.next_visit(|_| false).unwrap().keys.len(), expected);
        assert_eq!(lookup.next_visit(|_| false), None, "one call at a time");
    }
}

#[test]
fn excluded_nodes_are_not_asked() {
    let key = DhtId::of_raw(b"key");
    let mut lookup = Lookup::new([key], 20, 4, |_| vec![node(1), node(2)]);
    let is_excluded = |peer: &Bytes| *peer == node(1).peer;
    let visit = lookup.next_visit(is_excluded).unwrap();
    assert_eq!(visit.node, node(2));
    assert_eq!(lookup.next_visit(is_excluded), None);
    lookup.answered(&visit, [vec![node(1)]]);
    assert!(lookup.is_finished());
}

#[test]
fn a_finished_key_is_left_alone() {
    let key = DhtId::of_raw(b"key");
    let mut lookup = Lookup::new([key], 20, 1, |_| vec![node(1), node(2)]);
    let visit = lookup.next_visit(|_| false).unwrap();
    lookup.finish(&key);
    assert!(lookup.is_finished());
    lookup.answered(&visit, [vec![node(3)]]);
    assert_eq!(lookup.next_visit(|_| false), None);
    assert_eq!(lookup.nearest(&key), [visit.node]);
}

#[test]
fn a_liar_cannot_lead_a_search_on_for_ever() {
    let key = DhtId::from_bytes([0; 20]);
    let mut lookup = Lookup::new([key], 20, 4, |_| vec![node(1)]);
    let mut invented: u32 = 1000;
    let mut visits = 0;
    while let Some(visit) = lookup.next_visit(|_| false) {
        visits += 1;
        invented += 1;
        let mut nearer = [0; 20];
        nearer[16..].copy_from_slice(&(u32::MAX - invented).to_be_bytes());
        let lie = NodeContact {
            node_id: DhtId::from_bytes(nearer),
            peer: node(invented).peer,
        };
        lookup.answered(&visit, [vec![lie]]);
    }
    assert_eq!(visits, MAX_VISITS_PER_QUERY);
    assert!(lookup.is_finished());
}
