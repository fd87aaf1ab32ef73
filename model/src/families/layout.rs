//! What a block consists of: which tensors of a checkpoint it takes, and what is done with them.

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockLayout {
    pub(crate) attention: AttentionLayout,
    pub(crate) mlp: MlpLayout,
}

/// Attention and the norms around it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttentionLayout {
    pub(crate) norm: NormLayout,
    pub(crate) query: Part,
    pub(crate) key: Part,
    pub(crate) value: Part,
    /// Norms of each head of the queries and of the keys, before positions are applied.
    pub(crate) head_norms: Option<[NormLayout; 2]>,
    pub(crate) output: Part,
    /// Norm of what is added to the stream.
    pub(crate) post_norm: Option<NormLayout>,
}

/// The MLP and the norms around it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MlpLayout {
    /// None if it shares attention's.
    pub(crate) norm: Option<NormLayout>,
    pub(crate) body: MlpBody,
    /// Norm of what is added to the stream.
    pub(crate) post_norm: Option<NormLayout>,
}

/// The arithmetic of an MLP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MlpBody {
    /// `down(act(up(x)))`.
    Plain { up: Part, down: Part },
    /// `down(act(gate(x)) * up(x))`.
    Gated(GatedLayout),
    /// For each token the weighted sum of some of several.
    Mixture {
        router: Part,
        experts: Vec<GatedLayout>,
    },
}

/// A gated MLP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatedLayout {
    pub(crate) gate: Part,
    pub(crate) up: Part,
    pub(crate) down: Part,
}

/// The kinds of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// `x / rms(x) * w`.
    Rms,
    /// `x / rms(x) * (1 + w)`.
    RmsPlusOne,
    /// `(x - mean(x)) / deviation(x) * w + b`.
    Layer,
}

/// A norm: its tensors are `name.weight`, and `name.bias` for [`NormKind::Layer`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NormLayout {
    pub(crate) kind: NormKind,
    pub(crate) name: String,
    pub(crate) width: usize,
}

/// A projection, or a part of one that a checkpoint holds joined with others: `outputs` rows of the tensor
/// `name.weight`, `[tensor_rows, inputs]`, and of `name.bias` if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) has_bias: bool,
    pub(crate) tensor_rows: usize,
    runs: Runs,
}

/// Which rows of a tensor belong to a part: `length` from `first` on, then again after each `stride`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Runs {
    first: usize,
    length: usize,
    stride: usize,
}

impl Part {
    /// A tensor of its own.
    pub(crate) fn whole(name: String, [outputs, inputs]: [usize; 2], has_bias: bool) -> Self {
        Self {
            name,
            outputs,
            inputs,
            has_bias,
            tensor_rows: outputs,
            runs: Runs {
                first: 0,
                length: outputs,
                stride: outputs,
            },
        }
    }

    /// The rows `first..first + outputs` of this tensor.
    pub(crate) fn slice(&self, first: usize, outputs: usize) -> Self {
        Self {
            outputs,
            runs: Runs {
                first,
                length: outputs,
                stride: outputs,
            },
            ..self.clone()
        }
    }

    /// Of this tensor, which repeats after each `stride` rows, the rows `first..first + length` of each repetition.
    pub(crate) fn every(&self, first: usize, length: usize, stride: usize) -> Self {
        Self {
            outputs: self.tensor_rows / stride * length,
            runs: Runs {
                first,
                length,
                stride,
            },
            ..self.clone()
        }
    }

    /// The tensor's row that is this part's row `row`.
    pub(crate) fn tensor_row(&self, row: usize) -> usize {
        let Runs {
            first,
            length,
            stride,
        } = self.runs;
        first + row / length * stride + row % length
    }

    pub(crate) fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    pub(crate) fn bias(&self) -> Option<String> {
        self.has_bias.then(|| format!("{}.bias", self.name))
    }

    fn values(&self) -> u64 {
        let per_row = self.inputs as u64 + u64::from(self.has_bias);
        self.outputs as u64 * per_row
    }
}

impl NormLayout {
    pub(crate) fn new(kind: NormKind, name: String, width: usize) -> Self {
        Self { kind, name, width }
    }

    pub(crate) fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    pub(crate) fn bias(&self) -> Option<String> {
        (self.kind == NormKind::Layer).then(|| format!("{}.bias", self.name))
    }

    /// Vectors that it is made of.
    pub(crate) fn vectors(&self) -> usize {
        if self.kind == NormKind::Layer { 2 } else { 1 }
    }
}

impl GatedLayout {
    pub(crate) fn parts(&self) -> [&Part; 3] {
        [&self.gate, &self.up, &self.down]
    }
}

impl BlockLayout {
    /// All projections; that of the queries first.
    pub(crate) fn parts(&self) -> Vec<&Part> {
        let attention = &self.attention;
        let mut parts = vec![
            &attention.query,
            &attention.key,
            &attention.value,
            &attention.output,
        ];
        match &self.mlp.body {
            MlpBody::Plain { up, down } => parts.extend([up, down]),
            MlpBody::Gated(gated) => parts.extend(gated.parts()),
            MlpBody::Mixture { router, experts } => {
                parts.push(router);
                parts.extend(experts.iter().flat_map(GatedLayout::parts));
            }
        }
        parts
    }

    /// All norms.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &NormLayout> {
        [
            Some(&self.attention.norm),
            self.attention.post_norm.as_ref(),
        ]
        .into_iter()
        .chain([self.mlp.norm.as_ref(), self.mlp.post_norm.as_ref()])
        .flatten()
        .chain(self.attention.head_norms.iter().flatten())
    }

    /// Names of all tensors, each once.
    pub(crate) fn tensor_names(&self) -> Vec<String> {
        let mut parts = self.parts();
        // Parts of one tensor follow each other.
        parts.dedup_by_key(|part| &part.name);
        let mut names = Vec::new();
        for part in parts {
            names.push(part.weight());
            names.extend(part.bias());
        }
        for norm in self.norms() {
            names.push(norm.weight());
            names.extend(norm.bias());
        }
        names
    }

    /// Number of its weights.
    pub(crate) fn values(&self) -> u64 {
        let parts = self.parts().into_iter().map(Part::values);
        let norms = self
            .norms()
            .map(|norm| (norm.width * norm.vectors()) as u64);
        parts.chain(norms).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn parts_of_joined_tensors_take_their_rows() {
        let joined = Part::whole("joined".to_owned(), [24, 8], false);
        let rows = |part: &Part| {
            let rows = (0..part.outputs).map(|row| part.tensor_row(row));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows(&joined.slice(20, 4)), [20, 21, 22, 23]);
        assert_eq!(rows(&joined.every(2, 2, 12)), [2, 3, 14, 15]);
        assert_eq!(rows(&joined), (0..24).collect::<Vec<_>>());
    }
}
