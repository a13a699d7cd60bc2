//! Delta tables: `TableFormat` by our own JSON commits.
//!
//! Empty until the merge writes Delta; the deletion vector encoder that it will use is in `sinks/lake/merge`.
