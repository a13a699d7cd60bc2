//! Iceberg tables of format version 3: commits and catalogs.
//!
//! ```text
//! Commit -> plan -> Puffin file, manifests, manifest list (durable) -> vN.metadata.json (exclusive) -> expiry
//! ```
//!
//! A commit of any size is one snapshot, whose cost follows what it touches: manifests are kept in memory and only
//! those with a touched entry are rewritten.
//!
//! The file formats are written by code of our own. The `iceberg` crate has no commit that replaces deletion vectors,
//! drops a column default that it cannot parse, and writes about 40 µs per manifest entry; tests read with it
//! everything that we write.

mod avro;
mod avro_read;
mod avro_schema;
mod catalog;
mod draft;
mod expire;
mod folder;
mod load;
mod manifest;
mod metadata;
mod plan;
mod puffin;
mod schema;
mod summary;
mod table;
mod tree;

#[cfg(test)]
mod tests;

pub use catalog::FolderCatalog;
