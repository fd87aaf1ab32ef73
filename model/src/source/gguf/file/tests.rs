use super::GgufFile;
use crate::error::LoadError;
use crate::kernels::format::Format;
use crate::kernels::quantized_row::QuantizedRow;
use crate::source::gguf::kind::GgufKind;
use crate::source::gguf::row_order::RowOrder;
use crate::source::gguf::test_file::TestFile;

fn values(file: &GgufFile, name: &str, slice: Option<usize>, shape: &[usize]) -> Vec<f32> {
    let rows = file.rows(name, slice, RowOrder::Same, shape).unwrap();
    let mut values = vec![0.0; rows.values()];
    rows.read_all(&mut values);
    values
}

#[test]
fn floats_are_widened_and_stacks_are_taken_apart() {
    let mut test_file = TestFile::new();
    let numbers: Vec<f32> = (0..24).map(|number| number as f32).collect();
    test_file.singles("stack", &[3, 4, 2], &numbers);
    test_file.tensor("halves", GgufKind::F16, &[2], &[0x00, 0x3c, 0x01, 0x00]);
    test_file.tensor("brains", GgufKind::Bf16, &[2], &[0x80, 0x3f, 0x00, 0xc0]);
    let file = test_file.open().unwrap();
    assert_eq!(values(&file, "stack", Some(2), &[4, 2]), &numbers[16..]);
    assert_eq!(values(&file, "stack", None, &[3, 4, 2]), numbers);
    assert_eq!(values(&file, "halves", None, &[2]), [1.0, 2f32.powi(-24)]);
    assert_eq!(values(&file, "brains", None, &[2]), [1.0, -2.0]);
    let fourth = file.rows("stack", Some(3), RowOrder::Same, &[4, 2]);
    assert!(matches!(fourth, Err(LoadError::MissingTensor { .. })));
}

/// Blocks of Q8_0 whose row `row` has the weights `row * 100 + 0..64`, scaled by 0.5.
fn eights() -> TestFile {
    let mut bytes = Vec::new();
    for row in 0..4 {
        for block in 0..2 {
            bytes.extend([0x00, 0x38]);
            bytes.extend((0..32).map(|input| row * 16 + block * 4 + input));
        }
    }
    let mut file = TestFile::new();
    file.tensor("w", GgufKind::Q8_0, &[4, 64], &bytes);
    file
}

#[test]
fn rows_come_in_the_order_that_is_asked_for() {
    let file = eights().open().unwrap();
    let order = RowOrder::Paired { heads: 1 };
    let rows = file.rows("w", None, order, &[4, 64]).unwrap();
    assert_eq!(rows.format(), Some(Format::Int8));
    for (row, stored) in [0u8, 2, 1, 3].into_iter().enumerate() {
        let (mut integers, mut values) = ([0; 64], [0.0; 64]);
        let (mut scales, mut minimums) = ([0.0; 4], [1.0; 2]);
        rows.read(row, &mut values);
        rows.read_quantized(
            row,
            QuantizedRow {
                integers: &mut integers,
                scales: &mut scales,
                minimums: &mut minimums,
            },
        );
        assert_eq!((scales, minimums), ([0.5; 4], [0.0; 2]));
        for (input, (integer, value)) in integers.iter().zip(values).enumerate() {
            let expected = stored * 16 + (input / 32 * 4 + input % 32) as u8;
            assert_eq!(*integer, expected.cast_signed());
            assert_eq!(value, f32::from(expected) / 2.0);
        }
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let mut test_file = eights();
    test_file.singles("last", &[8], &[0.0; 8]);
    test_file.entry("tiny", &[256], 16, 320);
    let file = test_file.open().unwrap();
    let fails = |name: &str, order: RowOrder, shape: &[usize], named: &str| {
        let error = file.rows(name, None, order, shape).unwrap_err().to_string();
        assert!(
            error.contains(named) && error.contains("model.gguf"),
            "{error}"
        );
    };
    fails("w", RowOrder::Same, &[64, 4], "[4, 64]");
    fails("w", RowOrder::Paired { heads: 3 }, &[4, 64], "heads");
    fails("x", RowOrder::Same, &[4, 64], "missing");
    fails(
        "tiny",
        RowOrder::Same,
        &[256],
        "IQ2_XXS; supported: F32, F16, BF16, Q4_0",
    );
}

#[test]
fn a_file_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    assert!(matches!(
        GgufFile::open(&path),
        Err(LoadError::NotFound { .. })
    ));
    for bytes in [&b""[..], b"not a model"] {
        std::fs::write(&path, bytes).unwrap();
        let error = GgufFile::open(&path).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("model.gguf"), "{error}");
    }
}

#[test]
fn sizes_may_be_one_for_each_block_if_they_are_the_same() {
    let mut test_file = TestFile::new();
    test_file.i32s("same", &[8, 8, 8]);
    test_file.i32s("different", &[8, 4, 8]);
    test_file.i32s("negative", &[-1, -1]);
    test_file.i32s("none", &[]);
    test_file.u32("one", 5);
    test_file.text("text", "5");
    let file = test_file.open().unwrap();
    assert_eq!((file.size("same"), file.size("one")), (Some(8), Some(5)));
    for key in ["different", "negative", "none", "text", "absent"] {
        assert_eq!(file.size(key), None, "{key}");
    }
}
