//! `load`: from a checkpoint in the page cache to a span that is ready.

use std::fs::{self, File};
use std::io;
use std::time::Instant;

use anyhow::Result;
use block_model::{CandleSpan, ComputeDevice, ModelSource, SpanDType};

use crate::figure::Figure;
use crate::format::Format;
use crate::models::{Stack, WEIGHTS};
use crate::rounds::{Effort, Rounds, Subject};

const BENCH: &str = "load";

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stack in Stack::measured(quick) {
        figures.extend(measure(stack, quick)?);
    }
    Ok(figures)
}

fn measure(stack: Stack, quick: bool) -> Result<Vec<Figure>> {
    let model = stack.checkpoint()?;
    let weights = model.join(WEIGHTS);
    let gigabytes = fs::metadata(&weights)?.len() as f64 / 1e9;
    let source = ModelSource::directory(&model)?;
    let read = Subject::timed(|| {
        io::copy(&mut File::open(&weights)?, &mut io::sink())?;
        Ok(())
    });
    let model = &model;
    let ours = Format::SERVED.map(|format| {
        Subject::new(move || {
            let started = Instant::now();
            let span = format.load(model, stack.blocks)?;
            let took = started.elapsed().as_secs_f64();
            // Freeing it is no part of loading.
            drop(span);
            Ok(vec![took])
        })
    });
    let candle = Subject::new(|| {
        let started = Instant::now();
        let blocks = 0..stack.blocks;
        let span = CandleSpan::load(&source, blocks, SpanDType::F32, ComputeDevice::Cpu)?;
        let took = started.elapsed().as_secs_f64();
        drop(span);
        Ok(vec![took])
    });
    let subjects = [read].into_iter().chain(ours).chain([candle]).collect();
    let name = format!("{BENCH}, {}", stack.shape.name);
    let rounds = Rounds::measure(&name, Effort::new(7, quick, 15), subjects)?;
    let names = Format::SERVED.map(Format::name);
    let names = ["reading the file alone"]
        .into_iter()
        .chain(names)
        .chain(["candle, f32"]);
    let figures = names.enumerate().map(|(index, name)| {
        let rate = rounds.spread(|seconds| gigabytes / seconds[index]);
        Figure::new(
            BENCH,
            format!("{}, {name}", stack.shape.name),
            rate,
            "GB/s of file",
        )
    });
    Ok(figures.collect())
}
