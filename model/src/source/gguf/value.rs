//! The values of a file's metadata.

use std::ops::Range;

use super::cursor::Cursor;

/// A value of metadata. Arrays stay in the file until they are asked for: a vocabulary is of no use to a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Either float; a single as the number that its shortest decimal names, so that `1e-5` stays `1e-5`.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text; what is no UTF-8 in it is replaced.
    Text(String),
    /// Several values of one kind.
    Array(Array),
}

/// An array by its place in the header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    element: Element,
    count: usize,
    bytes: Range<usize>,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl Element {
    /// All of them in the order of their numbers in files.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let number = cursor.u32()?;
        let found = usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number));
        found
            .copied()
            .ok_or_else(|| format!("its metadata has a value of unknown type {number}"))
    }

    /// Bytes of a value; of the shortest, if they differ.
    const fn least_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::Array => 12,
        }
    }
}

impl Value {
    /// Reads a value with its type before it.
    ///
    /// # Errors
    /// If it is of no known type, or longer than the header.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let element = Element::read(cursor)?;
        Self::read_as(element, cursor, 0)
    }

    fn read_as(element: Element, cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        Ok(match element {
            Element::U8 => Self::Unsigned(u8::from_le_bytes(cursor.array()?).into()),
            Element::I8 => Self::Signed(i8::from_le_bytes(cursor.array()?).into()),
            Element::U16 => Self::Unsigned(u16::from_le_bytes(cursor.array()?).into()),
            Element::I16 => Self::Signed(i16::from_le_bytes(cursor.array()?).into()),
            Element::U32 => Self::Unsigned(cursor.u32()?.into()),
            Element::I32 => Self::Signed(i32::from_le_bytes(cursor.array()?).into()),
            Element::F32 => Self::Float(by_decimal(f32::from_le_bytes(cursor.array()?))),
            Element::Bool => Self::Bool(cursor.array::<1>()? != [0]),
            Element::Text => Self::Text(String::from_utf8_lossy(cursor.string()?).into_owned()),
            Element::Array => Self::Array(Array::read(cursor, depth)?),
            Element::U64 => Self::Unsigned(cursor.u64()?),
            Element::I64 => Self::Signed(i64::from_le_bytes(cursor.array()?)),
            Element::F64 => Self::Float(f64::from_le_bytes(cursor.array()?)),
        })
    }

    /// The value as a number that is not negative.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            Self::Float(_) | Self::Bool(_) | Self::Text(_) | Self::Array(_) => None,
        }
    }

    /// The value as a number; yes is 1.
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(*number as f64),
            Self::Signed(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(yes) => Some(f64::from(u8::from(*yes))),
            Self::Text(_) | Self::Array(_) => None,
        }
    }
}

impl Array {
    /// Reads past an array, so that all of it is known to be there.
    fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        if depth == MAX_DEPTH {
            return Err(format!(
                "its metadata has arrays within arrays, over {MAX_DEPTH} deep"
            ));
        }
        let element = Element::read(cursor)?;
        let count = cursor.count("values of an array", element.least_bytes(), MAX_VALUES)?;
        let start = cursor.position();
        match element {
            Element::Text => (0..count).try_for_each(|_| cursor.string().map(drop))?,
            Element::Array => {
                (0..count).try_for_each(|_| Self::read(cursor, depth + 1).map(drop))?;
            }
            _ => drop(cursor.take((count * element.least_bytes()) as u64)?),
        }
        Ok(Self {
            element,
            count,
            bytes: start..cursor.position(),
        })
    }

    /// The numbers in it; `None` if it has other values.
    pub(crate) fn numbers(&self, header: &[u8]) -> Option<Vec<f64>> {
        let mut cursor = self.cursor(header)?;
        (0..self.count)
            .map(|_| {
                Value::read_as(self.element, &mut cursor, MAX_DEPTH)
                    .ok()?
                    .as_f64()
            })
            .collect()
    }

    /// The texts in it; `None` if it has other values, or one that is no UTF-8.
    pub(crate) fn texts(&self, header: &[u8]) -> Option<Vec<String>> {
        let mut cursor = self.cursor(header)?;
        if self.element != Element::Text {
            return None;
        }
        (0..self.count)
            .map(|_| String::from_utf8(cursor.string().ok()?.to_vec()).ok())
            .collect()
    }

    fn cursor<'a>(&self, header: &'a [u8]) -> Option<Cursor<'a>> {
        header.get(self.bytes.clone()).map(Cursor::new)
    }
}

/// The number that the shortest decimal of a single names.
pub(super) fn by_decimal(single: f32) -> f64 {
    let decimal = single.to_string();
    decimal.parse().unwrap_or_else(|_| f64::from(single))
}

/// Arrays within arrays, deepest: no known key has any.
const MAX_DEPTH: usize = 4;

/// Most values of an array: a hundred times the largest vocabulary.
const MAX_VALUES: usize = 1 << 25;

#[cfg(test)]
mod tests {
    use super::{Value, by_decimal};
    use crate::source::gguf::cursor::Cursor;

    #[test]
    fn singles_keep_their_decimals() {
        assert_eq!(by_decimal(1e-5), 1e-5);
        assert_eq!(by_decimal(500_000.0), 500_000.0);
        assert!(by_decimal(f32::NAN).is_nan());
        assert_eq!(by_decimal(f32::INFINITY), f64::INFINITY);
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let read = |bytes: &[u8]| Value::read(&mut Cursor::new(bytes));
        let with_kind = |kind: u32, bytes: &[u8]| [&kind.to_le_bytes(), bytes].concat();
        for (kind, bytes, value) in [
            (0, &[255][..], Value::Unsigned(255)),
            (1, &[255], Value::Signed(-1)),
            (2, &[1, 2], Value::Unsigned(0x201)),
            (3, &[255, 255], Value::Signed(-1)),
            (4, &[1, 0, 0, 2], Value::Unsigned(0x200_0001)),
            (5, &[254, 255, 255, 255], Value::Signed(-2)),
            (6, &[0, 0, 128, 63], Value::Float(1.0)),
            (7, &[1], Value::Bool(true)),
            (
                8,
                &[1, 0, 0, 0, 0, 0, 0, 0, 65],
                Value::Text("A".to_owned()),
            ),
            (10, &[0, 0, 0, 0, 1, 0, 0, 0], Value::Unsigned(1 << 32)),
            (11, &[255; 8], Value::Signed(-1)),
            (12, &[0, 0, 0, 0, 0, 0, 240, 63], Value::Float(1.0)),
        ] {
            let bytes = with_kind(kind, bytes);
            assert_eq!(read(&bytes).unwrap(), value, "{kind}");
            assert!(read(&bytes[..bytes.len() - 1]).is_err(), "{kind}");
        }
        let three_shorts = [3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 255, 255];
        let bytes = with_kind(9, &three_shorts);
        let Value::Array(array) = read(&bytes).unwrap() else {
            unreachable!("9 is an array");
        };
        assert_eq!(array.numbers(&bytes).unwrap(), [1.0, 2.0, -1.0]);
        assert_eq!(array.texts(&bytes), None);
        assert!(read(&with_kind(13, &[0; 8])).is_err());
    }

    #[test]
    fn arrays_within_arrays_end_somewhere() {
        let one_array_inside = [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let mut bytes = 9u32.to_le_bytes().to_vec();
        bytes.extend(one_array_inside.repeat(100_000));
        let error = Value::read(&mut Cursor::new(&bytes)).unwrap_err();
        assert!(error.contains("deep"), "{error}");
    }
}
