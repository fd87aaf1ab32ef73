//! The announcing task on a paused clock, with a list in place of the DHT.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use block_network::DhtError;
use block_protocol::Span;
use block_protocol::dht::{DhtId, Dictionary, text_subkey};

use super::*;

/// Keeps what was stored, call by call.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Vec<StoreEntry>>>>);

impl Records for Kept {
    async fn announce(&self, entries: Vec<StoreEntry>) -> Result<(), DhtError> {
        self.0.lock().unwrap().push(entries);
        Ok(())
    }

    async fn announce_shared(&self, _entry: StoreEntry) -> Result<(), DhtError> {
        // As if another server's entry were fresher.
        Ok(())
    }

    async fn read(&self, _keys: Vec<String>) -> Result<Vec<Dictionary>, DhtError> {
        Ok(Vec::new())
    }
}

impl Kept {
    fn calls(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn last_record(&self) -> ServerRecord {
        let calls = self.0.lock().unwrap();
        ServerRecord::decode(&calls.last().unwrap()[0].value).unwrap()
    }
}

fn announcement(prefix: &str) -> Arc<Announcement> {
    Arc::new(Announcement {
        prefix: prefix.into(),
        num_blocks: 8,
        repository: Some("https://huggingface.co/org/name".into()),
        peer_id: "12D3".into(),
        throughput: 10.0,
        info: ServerInfo {
            span: Some(Span::new(2, 5).unwrap()),
            ..ServerInfo::default()
        },
    })
}

fn start(kept: &Kept) -> (Announcer, watch::Sender<NextPings>) {
    let (pings, next_pings) = watch::channel(NextPings::new());
    let config = AnnouncerConfig {
        period: Duration::from_secs(120),
        expiration: Duration::from_secs(240),
        next_pings,
    };
    (Announcer::start(kept.clone(), config), pings)
}

#[test]
fn one_record_under_every_block_and_the_model_in_the_registry() {
    let announced = announcement("tiny-hf");
    let blocks = announced
        .block_entries(ServerState::Online, 7, &NextPings::new(), 9.0)
        .unwrap();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[0].key, DhtId::of_text("tiny-hf.2"));
    assert_eq!(blocks[2].key, DhtId::of_text("tiny-hf.4"));
    assert_eq!(blocks[0].value, blocks[2].value);
    assert_eq!(blocks[0].subkey, Some(text_subkey("12D3")));
    assert!(blocks.iter().all(|entry| entry.expiration == 9.0));

    let entry = announced.model_entry(9.0).unwrap().unwrap();
    assert_eq!(entry.key, DhtId::of_text("_petals.models"));
    assert_eq!(entry.subkey, Some(text_subkey("tiny-hf")));
    assert_eq!(ModelRecord::decode(&entry.value).unwrap().num_blocks, 8);
    let hidden = announcement("_tiny").model_entry(9.0).unwrap();
    assert!(
        hidden.is_none(),
        "a prefix with an underscore is not listed"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_go_out_at_once_and_the_state_again_every_period() {
    let kept = Kept::default();
    let (announcer, pings) = start(&kept);
    let cache = Arc::new(AtomicU64::new(5));
    let read_cache: ReadCache = {
        let cache = Arc::clone(&cache);
        Arc::new(move || cache.load(Ordering::Relaxed))
    };
    let announcement = announcement("tiny-hf");
    assert!(
        announcer
            .announce(&announcement, ServerState::Joining, &read_cache)
            .await
    );
    assert_eq!(
        (kept.calls(), kept.last_record().state),
        (1, ServerState::Joining)
    );
    assert!(
        announcer
            .announce(&announcement, ServerState::Online, &read_cache)
            .await
    );
    assert_eq!(
        (kept.calls(), kept.last_record().info.cache_tokens_left),
        (2, Some(5))
    );

    cache.store(3, Ordering::Relaxed);
    pings.send_replace(NextPings::from([("a".to_owned(), f64::INFINITY)]));
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(kept.calls(), 3);
    let record = kept.last_record();
    assert_eq!(
        (record.state, record.info.cache_tokens_left),
        (ServerState::Online, Some(3))
    );
    assert_eq!(record.info.next_pings["a"], f64::INFINITY);

    announcer.goodbye().await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(
        (kept.calls(), kept.last_record().state),
        (4, ServerState::Offline),
        "OFFLINE is said once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_figure_that_readers_refuse_is_not_announced() {
    let kept = Kept::default();
    let (announcer, _pings) = start(&kept);
    let wrong = Arc::new(Announcement {
        throughput: f64::NAN,
        ..(*announcement("tiny-hf")).clone()
    });
    let read_cache: ReadCache = Arc::new(|| 0);
    assert!(
        !announcer
            .announce(&wrong, ServerState::Online, &read_cache)
            .await
    );
    assert_eq!(kept.calls(), 0);
}
