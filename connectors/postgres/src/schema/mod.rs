//! The server's catalogs -> [`walbrook_model::TableSchema`]: which type a column has ([`type_map`]) and what the key is
//! ([`key`]).
//!
//! Only the columns of a key are not nullable. A constraint that the catalog shows today may not have been there when an
//! older row of the log was written, and its removal changes nothing that the log tells of a table.

pub(crate) mod key;
pub(crate) mod type_map;
