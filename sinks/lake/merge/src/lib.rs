//! Merges changes into lake tables.
//!
//! ```text
//! Batch -> sink -> table -> buffer (Arrow)      at a commit: guard -> key index -> data file + deletion vectors
//!                                                            one Commit -> TableFormat (Iceberg, Delta)
//! ```

mod buffer;
mod column;
mod data_file;
mod durable;
mod evolve;
pub mod format;
pub mod layout;
mod single_value;
#[cfg(test)]
mod testing;
