use block_network::{DhtConfig, NodeConfig};

use super::*;

async fn alone() -> Swarm {
    let (node, task) = Node::start(NodeConfig::throw_away()).await.unwrap();
    let dht = Dht::start(node.clone(), DhtConfig::default());
    Swarm(Arc::new(Shared {
        node,
        dht,
        task: Mutex::new(Some(task)),
        refresh_period: REFRESH_PERIOD,
        views: Mutex::default(),
    }))
}

fn handles(swarm: &Swarm) -> Vec<usize> {
    let views = swarm.0.views.lock().unwrap();
    views.values().map(Weak::strong_count).collect()
}

#[tokio::test]
async fn one_view_is_shared_and_ends_with_its_last_handle() {
    let swarm = alone().await;
    let view = swarm.view("m-hf", 4);
    let again = swarm.view("m-hf", 4);
    assert!(Arc::ptr_eq(view.handle(), again.handle()));
    assert_eq!(handles(&swarm), [2]);
    drop((view, again));
    assert_eq!(handles(&swarm), [0]);
    let other = swarm.view("n-hf", 4);
    assert_eq!(handles(&swarm), [1], "views without handles are forgotten");
    drop(other);
    swarm.shutdown().await;
}
