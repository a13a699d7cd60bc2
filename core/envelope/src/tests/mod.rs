//! Tests of the crate as a whole.

mod debezium;
pub(crate) mod postgres;
mod reading;
mod roundtrip;
mod samples;
