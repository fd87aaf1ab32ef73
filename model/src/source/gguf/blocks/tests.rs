use safetensors::SafeTensors;

use super::unpack;
use crate::kernels::format::Format;
use crate::kernels::quantized_row::QuantizedRow;
use crate::source::gguf::kind::GgufKind;

/// Random blocks and the weights that gguf-py 0.19.0 makes of them; see the folder's README.
const BLOCKS: &[u8] = include_bytes!("../../../../tests/fixtures/gguf/blocks.safetensors");

const QUANTIZED: [GgufKind; 8] = [
    GgufKind::Q4_0,
    GgufKind::Q4_1,
    GgufKind::Q5_0,
    GgufKind::Q5_1,
    GgufKind::Q8_0,
    GgufKind::Q4K,
    GgufKind::Q5K,
    GgufKind::Q6K,
];

fn range(format: Format) -> std::ops::RangeInclusive<i8> {
    match format {
        Format::Int8 => -128..=127,
        Format::Int4 => -8..=7,
        Format::Int4Min => 0..=15,
        Format::Int6 => -32..=31,
        other => unreachable!("{other:?} holds no integers of GGUF"),
    }
}

#[test]
fn random_blocks_give_the_reference_weights_exactly() {
    let tensors = SafeTensors::deserialize(BLOCKS).unwrap();
    for kind in QUANTIZED {
        let bytes = tensors.tensor(&format!("{}.bytes", kind.name())).unwrap();
        let values = tensors.tensor(&format!("{}.values", kind.name())).unwrap();
        let expected = values.data().as_chunks::<4>().0.iter();
        let mut expected = expected.map(|bytes| f32::from_le_bytes(*bytes));
        let range = range(kind.format().unwrap());
        assert_eq!(bytes.shape()[1], kind.block_bytes());
        for block in bytes.data().chunks_exact(kind.block_bytes()) {
            let inputs = kind.block_values();
            let (mut integers, mut values) = (vec![99; inputs], vec![0.0; inputs]);
            let (mut scales, mut minimums) =
                (vec![f32::NAN; inputs / 16], vec![f32::NAN; inputs / 32]);
            let mut row = QuantizedRow {
                integers: &mut integers,
                scales: &mut scales,
                minimums: &mut minimums,
            };
            unpack(kind, block, row.reborrow());
            row.weights(&mut values);
            assert!(
                integers.iter().all(|integer| range.contains(integer)),
                "{kind:?}"
            );
            for value in values {
                assert_eq!(Some(value), expected.next(), "{kind:?}");
            }
        }
        assert_eq!(expected.next(), None);
    }
}

#[test]
fn integers_that_need_no_minimum_have_none() {
    for (kind, has_minimum) in [
        (GgufKind::Q4_0, false),
        (GgufKind::Q8_0, false),
        (GgufKind::Q5_0, false),
        (GgufKind::Q6K, false),
        (GgufKind::Q4_1, true),
        (GgufKind::Q5_1, true),
        (GgufKind::Q4K, true),
        (GgufKind::Q5K, true),
    ] {
        // Every half is about 0.0008, every small number 17.
        let block = vec![0x11; kind.block_bytes()];
        let inputs = kind.block_values();
        let mut minimums = vec![f32::NAN; inputs / 32];
        let row = QuantizedRow {
            integers: &mut vec![0; inputs],
            scales: &mut vec![0.0; inputs / 16],
            minimums: &mut minimums,
        };
        unpack(kind, &block, row);
        assert!(
            minimums
                .iter()
                .all(|minimum| (*minimum != 0.0) == has_minimum),
            "{kind:?}"
        );
    }
}
