//! A model of 200 MB in five files, whose limits are not those of the blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use block_model::{HubError, HubOptions, LoadError, ModelSource, SpanDType};
use block_testing::mock_hub::{Action, Contents, Fault, Host, MockHub};

use super::{missing_bytes, offline, options, parts, snapshot};
use crate::engine;

/// A server's share in these tests: a quarter of the blocks, in two of the files.
pub(super) const QUARTER: Range<usize> = 2..4;

const BLOCKS: usize = 8;
const HIDDEN: usize = 1024;
const FFN: usize = 2816;
const VOCAB: usize = 512;

/// Bytes of a file, roughly.
const SHARD_BYTES: usize = 47_000_000;

/// How many files that makes.
const FILES: usize = 5;

fn file_name(number: usize) -> String {
    format!("model-{number:05}-of-{FILES:05}.safetensors")
}

type Tensor = (String, Vec<usize>);

/// The tensors of the blocks `blocks`.
fn tensors(blocks: Range<usize>) -> Vec<Tensor> {
    let of_block = |block: usize| {
        let named = move |(part, shape): (&str, Vec<usize>)| {
            (format!("model.layers.{block}.{part}.weight"), shape)
        };
        let parts = [
            ("input_layernorm", vec![HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FFN]),
            ("mlp.gate_proj", vec![FFN, HIDDEN]),
            ("mlp.up_proj", vec![FFN, HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.k_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.v_proj", vec![HIDDEN, HIDDEN]),
        ];
        parts.into_iter().map(named)
    };
    blocks.flat_map(of_block).collect()
}

fn tensor_bytes((_, shape): &Tensor) -> usize {
    2 * shape.iter().product::<usize>()
}

/// Bytes of the tensors of the blocks `blocks`.
pub(super) fn bytes_of(blocks: Range<usize>) -> u64 {
    tensors(blocks).iter().map(tensor_bytes).sum::<usize>() as u64
}

pub(super) fn large_hub() -> MockHub {
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN])];
    all.extend(tensors(0..BLOCKS));
    all.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    all.push(("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]));
    let mut shards: Vec<Vec<Tensor>> = vec![Vec::new()];
    for tensor in all {
        let last = shards.last_mut().unwrap();
        if last.iter().map(tensor_bytes).sum::<usize>() + tensor_bytes(&tensor) > SHARD_BYTES {
            shards.push(vec![tensor]);
        } else {
            last.push(tensor);
        }
    }
    let mut files = BTreeMap::from([("config.json".to_owned(), Contents::small(config()))]);
    let mut index = Vec::new();
    let mut total_bytes = 0;
    for (number, tensors) in shards.iter().enumerate() {
        let file = file_name(number + 1);
        index.extend(
            tensors
                .iter()
                .map(|(name, _)| format!("\"{name}\":\"{file}\"")),
        );
        let contents = Contents::tensors(tensors);
        total_bytes += contents.size();
        files.insert(file, contents);
    }
    assert!(
        total_bytes >= 200_000_000 && shards.len() == FILES,
        "{total_bytes}"
    );
    let index = format!("{{\"weight_map\":{{{}}}}}", index.join(","));
    files.insert(
        "model.safetensors.index.json".to_owned(),
        Contents::small(index),
    );
    MockHub::start(files)
}

fn config() -> String {
    format!(
        r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{HIDDEN},
        "intermediate_size":{FFN},"num_hidden_layers":{BLOCKS},"num_attention_heads":16,
        "num_key_value_heads":16,"rms_norm_eps":1e-5,"rope_theta":10000.0,"hidden_act":"silu",
        "max_position_embeddings":512,"vocab_size":{VOCAB},"tie_word_embeddings":false,
        "torch_dtype":"bfloat16"}}"#
    )
}

pub(super) fn load_blocks(source: &ModelSource, blocks: Range<usize>) -> Result<(), LoadError> {
    engine::load_span(source, blocks, SpanDType::BF16).map(|_| ())
}

/// Checks that the bytes of the blocks in the cache are those of the hub.
pub(super) fn assert_is_here(hub: &MockHub, cache_dir: &Path, blocks: Range<usize>) {
    let wanted = tensors(blocks);
    let mut found = 0;
    for number in 1..=FILES {
        let name = file_name(number);
        let contents = hub.contents(&name);
        let length = contents.read(0, 8);
        let end = 8 + u64::from_le_bytes(length.try_into().unwrap());
        let header: serde_json::Value = serde_json::from_slice(&contents.read(8, end)).unwrap();
        for (tensor, _) in &wanted {
            let Some(place) = header.get(tensor) else {
                continue;
            };
            let offsets: [u64; 2] = serde_json::from_value(place["data_offsets"].clone()).unwrap();
            let [start, end] = offsets.map(|offset| end + offset);
            let mut here = vec![0; (end - start) as usize];
            let parts = parts(cache_dir, hub, &name);
            let whole = || File::open(snapshot(cache_dir, &name));
            let file = File::open(parts).or_else(|_| whole()).unwrap();
            file.read_exact_at(&mut here, start).unwrap();
            assert!(here == contents.read(start, end), "{tensor}");
            found += 1;
        }
    }
    assert_eq!(found, wanted.len());
}

/// Bytes of weights that the hub has sent, for each byte of the blocks' tensors.
pub(super) fn share_sent(hub: &MockHub, blocks: Range<usize>) -> f64 {
    let share = hub.sent_bytes("model-") as f64 / bytes_of(blocks) as f64;
    eprintln!("sent {share:.4} of the tensors");
    share
}

fn impatient(options: HubOptions) -> HubOptions {
    HubOptions {
        patience: Duration::from_secs(2),
        ..options
    }
}

#[test]
fn a_quarter_of_the_blocks_costs_a_quarter_of_the_bytes() {
    let hub = large_hub();
    let cache = tempfile::tempdir().unwrap();
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    assert_eq!(missing_bytes(&source, QUARTER), bytes_of(QUARTER));
    load_blocks(&source, QUARTER).unwrap();
    assert_eq!(missing_bytes(&source, QUARTER), 0);
    assert!(share_sent(&hub, QUARTER) <= 1.02);
    assert_is_here(&hub, cache.path(), QUARTER);
    let requests = hub.requests();
    let fetches = requests
        .iter()
        .filter(|request| request.host == Host::Contents && request.method == "GET");
    // A header and a run of tensors in each file.
    assert!(fetches.count() <= 4);
    assert!(!snapshot(cache.path(), &file_name(2)).exists());

    // Another block costs what it is, and offline all of them are there.
    load_blocks(&source, 3..5).unwrap();
    assert!(share_sent(&hub, 2..5) <= 1.02);
    assert_is_here(&hub, cache.path(), 2..5);
    let requests = hub.requests().len();
    let source = ModelSource::hub(offline(&hub, cache.path())).unwrap();
    load_blocks(&source, 2..5).unwrap();
    assert_eq!(hub.requests().len(), requests);
}

#[test]
fn what_is_cut_goes_on_where_it_ended() {
    let hub = large_hub();
    let cache = tempfile::tempdir().unwrap();
    let cut = Action::Cut(7_000_000);
    hub.fault(Fault::new(Host::Contents, "GET", "model-0", cut));
    let source = ModelSource::hub(options(&hub, cache.path())).unwrap();
    load_blocks(&source, QUARTER).unwrap();
    let requests = hub.requests();
    let fetches = requests
        .iter()
        .filter(|request| request.host == Host::Contents && request.method == "GET");
    assert!(fetches.count() >= 8);
    assert!(share_sent(&hub, QUARTER) <= 1.05);
    assert_is_here(&hub, cache.path(), QUARTER);
}

#[test]
fn a_later_start_goes_on_where_an_earlier_one_gave_up() {
    let hub = large_hub();
    let cache = tempfile::tempdir().unwrap();
    let options = impatient(options(&hub, cache.path()));
    let source = ModelSource::hub(options.clone()).unwrap();
    // The third request is the first for many bytes.
    let cut = Fault::new(Host::Contents, "GET", "model-0", Action::Cut(9_300_000));
    hub.fault(cut.times(3));
    let refuse = Action::Refuse {
        status: "503 Service Unavailable",
        code: "",
        retry_after: None,
    };
    hub.fault(Fault::new(Host::Contents, "GET", "model-0", refuse));
    let error = load_blocks(&source, QUARTER).unwrap_err();
    let is_told = matches!(error, LoadError::Hub(HubError::Unreachable { .. }));
    assert!(is_told && error.to_string().contains("503"), "{error}");
    hub.mend();
    let source = ModelSource::hub(options).unwrap();
    let left = missing_bytes(&source, QUARTER);
    assert!(left < bytes_of(QUARTER) - 9_000_000, "{left}");
    load_blocks(&source, QUARTER).unwrap();
    assert!(share_sent(&hub, QUARTER) <= 1.05);
    assert_is_here(&hub, cache.path(), QUARTER);
}
