//! Parquet data files: written whole and durable, read back column by column with row positions.

mod bounds;
mod read;
mod write;

pub(crate) use read::{Scan, pick, scan, scan_present};
pub(crate) use write::write;

#[cfg(test)]
mod tests;
