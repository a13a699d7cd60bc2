//! Change <-> message: the only place that will know Debezium's shapes (JSON, Avro, the registry client a module apart).
//!
//! Empty until changes travel through Kafka.
