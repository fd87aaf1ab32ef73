//! GGUF files for tests.

use super::file::GgufFile;
use super::kind::GgufKind;
use crate::error::LoadError;

/// A file to be: values of metadata and tensors.
#[derive(Clone, Debug, Default)]
pub(super) struct TestFile {
    values: Vec<u8>,
    value_count: u64,
    table: Vec<u8>,
    tensor_count: u64,
    tensors: Vec<u8>,
}

impl TestFile {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn value(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        self.value_count += 1;
        push_text(&mut self.values, key);
        self.values.extend(kind.to_le_bytes());
        self.values.extend(bytes);
    }

    pub(super) fn u32(&mut self, key: &str, value: u32) {
        self.value(key, 4, &value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, key: &str, value: f32) {
        self.value(key, 6, &value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, key: &str, value: bool) {
        self.value(key, 7, &[u8::from(value)]);
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        push_text(&mut bytes, value);
        self.value(key, 8, &bytes);
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, bytes: &[u8]) {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.value(key, 9, &[&head, bytes].concat());
    }

    pub(super) fn texts(&mut self, key: &str, values: &[&str]) {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| push_text(&mut bytes, value));
        self.array(key, 8, values.len(), &bytes);
    }

    pub(super) fn f32s(&mut self, key: &str, values: &[f32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 6, values.len(), &bytes);
    }

    pub(super) fn i32s(&mut self, key: &str, values: &[i32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 5, values.len(), &bytes);
    }

    pub(super) fn bools(&mut self, key: &str, values: &[bool]) {
        let bytes: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        self.array(key, 7, values.len(), &bytes);
    }

    /// An entry of the table as given.
    pub(super) fn entry(&mut self, name: &str, sizes: &[u64], type_id: u32, offset: u64) {
        self.tensor_count += 1;
        push_text(&mut self.table, name);
        self.table.extend((sizes.len() as u32).to_le_bytes());
        sizes
            .iter()
            .for_each(|size| self.table.extend(size.to_le_bytes()));
        self.table.extend(type_id.to_le_bytes());
        self.table.extend(offset.to_le_bytes());
    }

    /// A tensor; its shape outermost dimension first, as torch has it.
    pub(super) fn tensor(&mut self, name: &str, kind: GgufKind, shape: &[usize], bytes: &[u8]) {
        let sizes: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
        let offset = self.tensors.len().next_multiple_of(32);
        self.tensors.resize(offset, 0);
        self.tensors.extend(bytes);
        self.entry(name, &sizes, kind.id(), offset as u64);
    }

    /// A tensor of singles.
    pub(super) fn singles(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.tensor(name, GgufKind::F32, shape, &bytes);
    }

    /// The file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.value_count.to_le_bytes());
        bytes.extend(&self.values);
        bytes.extend(&self.table);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.tensors);
        bytes
    }

    /// The file, opened. It needs no name once it is open.
    pub(super) fn open(&self) -> Result<GgufFile, LoadError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        GgufFile::open(&path)
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
