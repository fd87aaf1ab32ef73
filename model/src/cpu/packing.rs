//! Which parts of a block lie packed in one matrix, and where.

use super::options::CpuOptions;
use crate::dtype::SpanDType;
use crate::families::{AttentionLayout, BlockLayout, GatedLayout, MlpBody, Part};
use crate::kernels::format::{Format, INPUT_PADDING, PANEL};
use crate::kernels::packed::Place;
use crate::quant::Quant;
use crate::source::Stored;

/// Parts that share their input, as one matrix `[outputs, inputs]`.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    pub(super) parts: Vec<(&'a Part, Place)>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

impl<'a> Joined<'a> {
    /// One part alone.
    pub(super) fn one(part: &'a Part) -> Self {
        Self {
            parts: vec![(part, Place::From(0))],
            outputs: part.outputs,
            inputs: part.inputs,
        }
    }

    /// Queries, keys and values one after the other.
    pub(super) fn qkv(attention: &'a AttentionLayout) -> Self {
        let (query, key, value) = (&attention.query, &attention.key, &attention.value);
        let values_from = query.outputs + key.outputs;
        Self {
            parts: vec![
                (query, Place::From(0)),
                (key, Place::From(query.outputs)),
                (value, Place::From(values_from)),
            ],
            outputs: values_from + value.outputs,
            inputs: query.inputs,
        }
    }

    /// Gate and up by panels in turn.
    pub(super) fn gate_up(gated: &'a GatedLayout) -> Self {
        Self {
            parts: vec![
                (&gated.gate, Place::EvenPanels),
                (&gated.up, Place::OddPanels),
            ],
            outputs: 2 * gated.gate.outputs.next_multiple_of(PANEL),
            inputs: gated.gate.inputs,
        }
    }

    /// Memory of the matrix in a format and of its bias, bytes.
    pub(super) fn bytes(&self, format: Format) -> usize {
        let panels = self.outputs.div_ceil(PANEL);
        let bias = if self.parts.iter().any(|(part, _)| part.has_bias) {
            panels * PANEL * size_of::<f32>()
        } else {
            0
        };
        panels * format.panel_bytes(self.inputs.next_multiple_of(INPUT_PADDING)) + bias
    }
}

/// The format of a router: the choice of experts is not left to quantized weights, and it is small.
pub(super) const ROUTER_FORMAT: Format = Format::F32;

impl CpuOptions {
    /// The format of a matrix whose parts are stored like this.
    ///
    /// Integers stay what they are where the operator asks for nothing else. Parts that differ go into a format that
    /// holds all of them; only where 8-bit integers meet scales of 16 inputs, or minimums, are these made anew.
    pub(super) fn joined_format(&self, parts: impl IntoIterator<Item = Stored>) -> Format {
        let (mut floats, mut integers) = (None, None);
        for part in parts {
            match part {
                Stored::Floats(dtype) => {
                    let is_same = floats.is_none_or(|other| other == dtype);
                    floats = Some(if is_same { dtype } else { SpanDType::F32 });
                }
                Stored::Integers(format) => {
                    integers = Some(match integers {
                        None => format,
                        Some(other) if other == format => format,
                        Some(Format::Int8) => Format::Int8,
                        Some(_) if format == Format::Int8 => Format::Int8,
                        Some(_) => Format::Int6,
                    });
                }
            }
        }
        match (self.quant, floats, integers) {
            (Quant::None, None, Some(format)) => format,
            _ => self.format(floats.unwrap_or(SpanDType::F32)),
        }
    }
}

/// Whether a format holds another one's integers, scales and minimums as they are.
pub(super) fn holds(format: Format, stored: Format) -> bool {
    match format {
        Format::Int8 => matches!(stored, Format::Int8 | Format::Int4),
        Format::Int6 => matches!(stored, Format::Int6 | Format::Int4 | Format::Int4Min),
        other => other == stored,
    }
}

/// Memory of a block with its projections in formats, bytes.
pub(super) fn block_bytes(block: &BlockLayout, format: impl Fn(&Joined<'_>) -> Format) -> usize {
    let bytes = |joined: Joined<'_>| joined.bytes(format(&joined));
    let gated =
        |gated: &GatedLayout| bytes(Joined::gate_up(gated)) + bytes(Joined::one(&gated.down));
    let mlp = match &block.mlp.body {
        MlpBody::Plain { up, down } => bytes(Joined::one(up)) + bytes(Joined::one(down)),
        MlpBody::Gated(one) => gated(one),
        MlpBody::Mixture { router, experts } => {
            Joined::one(router).bytes(ROUTER_FORMAT) + experts.iter().map(gated).sum::<usize>()
        }
    };
    let attention =
        bytes(Joined::qkv(&block.attention)) + bytes(Joined::one(&block.attention.output));
    let norms = block.norms();
    let norms = norms.map(|norm| norm.width * norm.vectors() * size_of::<f32>());
    attention + mlp + norms.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::level::Level;
    use crate::kernels::packed::Packed;
    use crate::kernels::pool::Pool;
    use crate::kernels::quantized_row::QuantizedRow;

    const INTEGERS: [Format; 4] = [Format::Int8, Format::Int4, Format::Int4Min, Format::Int6];

    #[test]
    fn parts_that_differ_share_a_format() {
        use Stored::{Floats, Integers};
        let options = CpuOptions::new(SpanDType::BF16);
        let [int8, int4, int4_min, int6] = INTEGERS.map(Integers);
        for (parts, expected) in [
            (vec![int8], Format::Int8),
            (vec![int4, int4], Format::Int4),
            (vec![int4, int4_min], Format::Int6),
            (vec![int6, int4_min, int4], Format::Int6),
            (vec![int4, int8], Format::Int8),
            (vec![int6, int4_min, int8], Format::Int8),
            (vec![int4, Floats(SpanDType::F16)], Format::F16),
            (vec![Floats(SpanDType::BF16)], Format::Bf16),
            (
                vec![Floats(SpanDType::BF16), Floats(SpanDType::F16)],
                Format::F32,
            ),
        ] {
            assert_eq!(options.joined_format(parts.clone()), expected, "{parts:?}");
            let chosen = CpuOptions {
                quant: Quant::Nf4,
                ..options.clone()
            };
            assert_eq!(chosen.joined_format(parts), Format::Nf4);
        }
    }

    /// A row of integers that a format takes, with scales and minimums that halves hold.
    fn write(format: Format, row: QuantizedRow<'_>) {
        let (least, most) = match format {
            Format::Int8 => (-128, 127),
            Format::Int4 => (-8, 7),
            Format::Int4Min => (0, 15),
            _ => (-32, 31),
        };
        for (place, integer) in row.integers.iter_mut().enumerate() {
            *integer = (least + (place as i32 * 7) % (most - least + 1)) as i8;
        }
        for (place, scale) in row.scales.iter_mut().enumerate() {
            let differs = format == Format::Int6;
            *scale = 0.25 * (1 + if differs { place } else { place / 2 }) as f32;
        }
        for (place, minimum) in row.minimums.iter_mut().enumerate() {
            let has_minimum = matches!(format, Format::Int4Min | Format::Int6);
            *minimum = if has_minimum {
                -1.5 - place as f32
            } else {
                0.0
            };
        }
    }

    #[test]
    fn what_a_format_holds_is_held_without_loss() {
        const INPUTS: usize = 64;
        let pool = Pool::new(1).unwrap();
        let level = Level::available()[0];
        let row = |format: Format, stored: Format| {
            let mut packed = Packed::zeros(format, 1, INPUTS).unwrap();
            packed.fill_quantized(level, &pool, Place::From(0), 1, &|_, row| {
                write(stored, row)
            });
            let mut values = [f32::NAN; INPUTS];
            packed.row(0, &mut values);
            values
        };
        for stored in INTEGERS {
            let exact = row(Format::F32, stored);
            for format in INTEGERS {
                let is_kept = row(format, stored) == exact;
                assert!(
                    is_kept || !holds(format, stored),
                    "{stored:?} in {format:?}"
                );
            }
            assert!(holds(stored, stored));
        }
    }
}
