//! `quality`: what each format of weights, keys and values, and activations does to the embedded model's next token,
//! over the positions of stories that it has told in float32.

mod reader;
mod scores;
mod stories;

use anyhow::{Context, Result};
use block_model::{CpuOptions, KvDType};
use block_protocol::Compression;

use crate::figure::Figure;
use crate::format::Format;
use crate::spread::Spread;
use reader::Reader;
use scores::Scores;
use stories::Stories;

const BENCH: &str = "quality";

/// Servers of the chain whose links carry a codec: three links, one into each and one out.
const SERVERS: usize = 2;

/// Codecs that a link may carry.
const CODECS: [Compression; 4] = [
    Compression::Float16,
    Compression::MeanStd16,
    Compression::Uniform8,
    Compression::Blockwise8,
];

/// Formats of the cache, under bf16 weights.
const CACHES: [(&str, KvDType); 3] = [
    ("float32", KvDType::F32),
    ("bf16", KvDType::Bf16),
    ("int8", KvDType::Int8),
];

/// Takes seconds, so there is no quicker way.
pub(crate) fn run() -> Result<Vec<Figure>> {
    let exact = || Reader::load(&Format::F32.options());
    let stories = Stories::tell(&mut exact()?)?;
    let mut figures = figures("float32", &stories.scores(&mut exact()?)?)?;
    for format in Format::SERVED {
        let scores = stories.scores(&mut Reader::load(&format.options())?)?;
        figures.extend(self::figures(
            &format!("weights {}", format.name()),
            &scores,
        )?);
    }
    for (name, kv_dtype) in CACHES {
        let options = CpuOptions {
            kv_dtype: Some(kv_dtype),
            ..Format::Bf16.options()
        };
        let scores = stories.scores(&mut Reader::load(&options)?)?;
        figures.extend(self::figures(
            &format!("weights bf16, cache {name}"),
            &scores,
        )?);
    }
    for codec in CODECS {
        let scores = stories.scores(&mut exact()?.over_links(SERVERS, codec))?;
        let name = format!("{SERVERS} servers, codec {}", codec.name());
        figures.extend(self::figures(&name, &scores)?);
    }
    Ok(figures)
}

fn figures(name: &str, scores: &Scores) -> Result<Vec<Figure>> {
    let summary = scores.summary().context("stories have positions")?;
    let figure = |what: &str, value, unit| {
        Figure::new(BENCH, format!("{name}, {what}"), Spread::exact(value), unit)
    };
    Ok(vec![
        figure(
            "same next token",
            summary.agreement * 100.0,
            "% of positions",
        ),
        figure("KL from float32", summary.divergence * 1e3, "1e-3 nats"),
        figure("perplexity", summary.perplexity, "-"),
    ])
}
