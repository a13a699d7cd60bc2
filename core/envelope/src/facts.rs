//! What the catalog of the source knows of a column and the model does not.

/// Facts of one column, beside what [`walbrook_model::Column`] holds. All are optional: without them a message is right,
/// but under [`crate::Compat::Debezium`] its schema may differ from Debezium's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The type below all domains, as the source prints it. `None`: the column's `source_type`.
    pub base_type: Option<String>,
    /// Whether the source forbids NULL. `None`: as the model says.
    pub not_null: Option<bool>,
    /// The default's expression, as the source prints it.
    pub default: Option<String>,
    /// The labels of an enum, or of an array's enum, in order.
    pub labels: Option<Vec<String>>,
}
