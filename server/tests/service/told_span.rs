//! A span that tells of its calls: what stands between them and the blocks is the test's.

use std::ops::Range;
use std::sync::{Arc, Mutex, mpsc};

use block_model::{BlockSpan, CacheHandle, ForwardRow, Row, SpanDescription, SpanError};

use crate::support::{eventually, span};

/// A span, what is told before a call (`None`: a pass without a cache), and what after a step.
pub(crate) struct Told<S, B, A> {
    span: S,
    before: B,
    after: A,
}

impl<S, B, A> Told<S, B, A>
where
    S: BlockSpan,
    B: FnMut(Option<&[Row<'_>]>) + Send,
    A: FnMut(&S, &[Row<'_>]) + Send,
{
    pub(crate) fn new(span: S, before: B, after: A) -> Self {
        Self {
            span,
            before,
            after,
        }
    }
}

impl<S, B, A> BlockSpan for Told<S, B, A>
where
    S: BlockSpan,
    B: FnMut(Option<&[Row<'_>]>) + Send,
    A: FnMut(&S, &[Row<'_>]) + Send,
{
    fn description(&self) -> &SpanDescription {
        self.span.description()
    }

    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.span.open_cache(blocks, batch, max_length)
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.span.close_cache(cache);
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        (self.before)(Some(rows));
        let outputs = self.span.step(rows);
        (self.after)(&self.span, rows);
        outputs
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        (self.before)(None);
        self.span.forward(row)
    }
}

/// The value that makes a [`tricky`] span panic when it comes first in a step.
pub(crate) const PANIC: f32 = 12345.0;

/// The test's side of a [`tricky`] span.
pub(crate) struct Controls {
    entered: mpsc::Receiver<()>,
    passes: Option<mpsc::Sender<()>>,
    calls: Arc<Mutex<Vec<usize>>>,
}

/// A span whose calls wait at a gate, if it is `gated`, and that panics when told to.
pub(crate) fn tricky(blocks: Range<usize>, gated: bool) -> (Box<dyn BlockSpan>, Controls) {
    let (entered_sender, entered) = mpsc::channel();
    let (passes, gate) = mpsc::channel();
    let gate = gated.then_some(gate);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let controls = Controls {
        entered,
        passes: Some(passes),
        calls: Arc::clone(&calls),
    };
    let before = move |rows: Option<&[Row<'_>]>| {
        entered_sender.send(()).ok();
        if let Some(gate) = &gate {
            gate.recv().ok();
        }
        let Some(rows) = rows else { return };
        calls.lock().unwrap().push(rows.len());
        let told = |row: &Row<'_>| row.hidden_states.values.first() == Some(&PANIC);
        assert!(!rows.iter().any(told), "told to panic");
    };
    (
        Box::new(Told::new(span(blocks), before, |_, _| ())),
        controls,
    )
}

impl Controls {
    /// Waits until the span is inside a call; the runtime goes on meanwhile.
    pub(crate) async fn inside(&self) {
        eventually(|| async { self.entered.try_recv().is_ok() }).await;
    }

    /// Lets one call pass.
    pub(crate) fn pass(&self) {
        self.passes.as_ref().unwrap().send(()).unwrap();
    }

    /// Lets all calls pass from now on.
    pub(crate) fn open(&mut self) {
        self.passes = None;
    }

    /// Rows of each step call so far.
    pub(crate) fn rows_of_calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }
}
