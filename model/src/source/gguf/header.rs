//! The header of a file: its metadata and its table of tensors, checked against the file's size.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::cursor::Cursor;
use super::kind::GgufKind;
use super::value::Value;

/// A file's metadata and where its tensors are.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: HashMap<String, Value>,
    pub(super) tensors: HashMap<String, GgufTensor>,
    /// Bytes before the tensors' alignment.
    pub(super) bytes: usize,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GgufTensor {
    /// The type's number.
    pub(super) type_id: u32,
    /// Outermost dimension first, as torch has it; the file has it the other way round.
    pub(crate) shape: Vec<usize>,
    /// Place in the file; empty for a type that is not read.
    pub(super) bytes: Range<u64>,
}

impl GgufTensor {
    /// How it is stored; `None` for a type that is not read.
    pub(crate) fn kind(&self) -> Option<GgufKind> {
        GgufKind::from_id(self.type_id)
    }
}

impl Header {
    /// Parses a header.
    ///
    /// - `bytes`: the start of the file, at most [`MAX_HEADER_BYTES`]; `file_bytes`: the file's size
    ///
    /// # Errors
    /// What is wrong, in words that follow the file's name.
    pub(super) fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self, String> {
        let mut cursor = Cursor::new(bytes);
        check_version(&mut cursor)?;
        let tensor_count = cursor.count("tensors", LEAST_TENSOR_BYTES, MAX_TENSORS)?;
        let value_count = cursor.count("values of metadata", LEAST_VALUE_BYTES, MAX_VALUES)?;
        let mut metadata = HashMap::with_capacity(value_count);
        for _ in 0..value_count {
            let key = cursor.name()?;
            let value = Value::read(&mut cursor)?;
            if metadata.insert(key.to_owned(), value).is_some() {
                return Err(format!("its metadata has {key:?} twice"));
            }
        }
        let alignment = alignment(&metadata)?;
        let mut tensors = HashMap::with_capacity(tensor_count);
        for _ in 0..tensor_count {
            let name = cursor.name()?;
            match tensors.entry(name.to_owned()) {
                Entry::Occupied(_) => return Err(format!("it has two tensors {name:?}")),
                Entry::Vacant(place) => {
                    let tensor = read_tensor(&mut cursor, alignment);
                    let tensor = tensor.map_err(|reason| format!("tensor {name:?}: {reason}"))?;
                    place.insert(tensor);
                }
            }
        }
        let start = (cursor.position() as u64).next_multiple_of(alignment);
        place_tensors(&mut tensors, start, file_bytes)?;
        Ok(Self {
            metadata,
            tensors,
            bytes: cursor.position(),
        })
    }
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), String> {
    if cursor.array()? != MAGIC {
        return Err("no GGUF file: it does not begin with \"GGUF\"".to_owned());
    }
    match cursor.u32()? {
        2 | 3 => Ok(()),
        version if version.trailing_zeros() >= 16 && version != 0 => {
            Err("a GGUF file for big-endian machines; convert it again without that".to_owned())
        }
        version => Err(format!("GGUF version {version}; supported: 2, 3")),
    }
}

/// What tensors' places are multiples of.
fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let alignment = value
        .as_u64()
        .filter(|alignment| alignment.is_power_of_two() && *alignment <= MAX_ALIGNMENT);
    alignment.ok_or_else(|| {
        format!("general.alignment is {value:?}, no power of two up to {MAX_ALIGNMENT}")
    })
}

/// Reads an entry of the table; its place counts from where the tensors begin.
fn read_tensor(cursor: &mut Cursor<'_>, alignment: u64) -> Result<GgufTensor, String> {
    let dimensions = cursor.u32()?;
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(format!(
            "{dimensions} dimensions instead of 1 to {MAX_DIMENSIONS}"
        ));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    let mut values: u64 = 1;
    for _ in 0..dimensions {
        let size = cursor.u64()?;
        let product = values.checked_mul(size).filter(|values| *values > 0);
        values = product.ok_or_else(|| format!("a dimension of {size}"))?;
        // A file of so many values cannot be longer than the address space.
        shape.push(usize::try_from(size).map_err(|_| format!("a dimension of {size}"))?);
    }
    let type_id = cursor.u32()?;
    let offset = cursor.u64()?;
    if !offset.is_multiple_of(alignment) {
        return Err(format!("offset {offset} is no multiple of {alignment}"));
    }
    let bytes = match GgufKind::from_id(type_id) {
        None => 0,
        Some(kind) => {
            if !shape[0].is_multiple_of(kind.block_values()) {
                return Err(format!(
                    "rows of {} values; {} has blocks of {}",
                    shape[0],
                    kind.name(),
                    kind.block_values()
                ));
            }
            let blocks = values / kind.block_values() as u64;
            let bytes = blocks.checked_mul(kind.block_bytes() as u64);
            bytes.ok_or("more bytes than any file has")?
        }
    };
    let end = offset.checked_add(bytes).ok_or("it ends beyond any file")?;
    shape.reverse();
    Ok(GgufTensor {
        type_id,
        shape,
        bytes: offset..end,
    })
}

/// Counts places from the file's start, and checks that they are inside and apart.
fn place_tensors(
    tensors: &mut HashMap<String, GgufTensor>,
    start: u64,
    file_bytes: u64,
) -> Result<(), String> {
    let mut places = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let place = &mut tensor.bytes;
        let moved = place
            .start
            .checked_add(start)
            .zip(place.end.checked_add(start));
        let inside = moved.filter(|(_, end)| *end <= file_bytes);
        let (first, end) = inside.ok_or_else(|| {
            format!("tensor {name:?} ends behind the file's end, as after an interrupted copy")
        })?;
        *place = first..end;
        places.push((first, end, name));
    }
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(format!(
            "tensors {:?} and {:?} overlap",
            pair[0].2, pair[1].2
        )),
        None => Ok(()),
    }
}

const MAGIC: [u8; 4] = *b"GGUF";

/// Most bytes of a header that are read: ten times what the largest vocabularies take.
pub(super) const MAX_HEADER_BYTES: u64 = 256 * 1024 * 1024;

/// Most tensors: 64 in each block of the deepest model that is taken.
const MAX_TENSORS: usize = 1 << 18;

/// Most values of metadata: known files have some dozens.
const MAX_VALUES: usize = 1 << 16;

/// Bytes of the shortest entry for a tensor: empty name, one dimension, type, offset.
const LEAST_TENSOR_BYTES: usize = 8 + 4 + 8 + 4 + 8;

/// Bytes of the shortest value of metadata with an empty key.
const LEAST_VALUE_BYTES: usize = 8 + 4 + 1;

/// As the format says.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Largest alignment: a huge page; nothing profits from more.
const MAX_ALIGNMENT: u64 = 1 << 21;

/// As the format says.
const MAX_DIMENSIONS: u32 = 4;

#[cfg(test)]
mod tests;
