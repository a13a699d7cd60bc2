//! Merges changes into lake tables.
//!
//! ```text
//! Batch -> sink -> table -> buffer (Arrow)      at a commit: guard -> key index -> data file + deletion vectors
//!                                                            one Commit -> TableFormat (Iceberg, Delta)
//! ```

pub mod format;
pub mod layout;
