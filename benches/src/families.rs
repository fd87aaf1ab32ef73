//! `families`: what `decode` and `prefill` measure, with the shapes of families that compute more than Llama's blocks do.
//! Of experts the weights of the chosen ones count. The goals for shares are 10 percentage points below Llama's.

use anyhow::Result;

use crate::figure::Figure;
use crate::format::Format;
use crate::models::Stack;
use crate::{decode, prefill};

const BENCH: &str = "families";

/// Tokens of the prompt.
const PROMPT: usize = 128;

/// How far a share of stream or peak may be below Llama's goal.
const TOLERANCE: f64 = 0.10;

const FORMATS: [Format; 2] = [Format::Bf16, Format::Int8];

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::families() {
        for format in FORMATS {
            figures.extend(decode::one_session(BENCH, stack, format, quick)?);
        }
        figures.extend(prefill::of_stack(BENCH, stack, &FORMATS, &[PROMPT], quick)?);
    }
    let figures = figures
        .into_iter()
        .map(|figure| figure.with_easier_share(TOLERANCE));
    Ok(figures.collect())
}
