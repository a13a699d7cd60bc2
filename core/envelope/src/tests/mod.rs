//! Tests of the crate as a whole.

mod debezium;
mod roundtrip;
pub(crate) mod postgres;
