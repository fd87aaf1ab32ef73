//! Skeleton.
#![forbid(unsafe_code)]

pub mod compression;
pub mod parts;
pub mod tensor;
