//! Tests of whole tables: a model over random commits, faults, expiry, tables that others changed.

mod expiry;
mod faults;
mod foreign;
mod model;
mod oracle;
mod support;
