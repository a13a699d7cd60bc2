//! Messages that are no change of a row, in topics that lie beside those of tables: what `pg_logical_emit_message` wrote, and
//! the borders of transactions. A pattern of topics may mean them too.

use super::document::Object;
use super::node::Node;

/// Whether values of this schema are such messages.
pub(super) fn by_schema(value: &Node) -> bool {
    is_one(|name| value.field(name).is_some())
}

/// Whether this is such a message, as JSON.
pub(super) fn by_json(value: &[u8]) -> bool {
    let Ok(object) = Object::parse(value) else { return false };
    match (object.get("schema"), object.get("payload")) {
        (Some(_), Some(payload)) => Object::parse(payload.as_bytes()).is_ok_and(|payload| has_form(&payload)),
        _ => has_form(&object),
    }
}

fn has_form(payload: &Object<'_>) -> bool {
    let is_op = payload.get("op").is_none_or(|op| op == "\"m\"");
    is_op && is_one(|name| payload.get(name).is_some())
}

/// Tells them by their fields: their records have the same names whatever the topic is called, but JSON does not say those.
fn is_one(has: impl Fn(&str) -> bool) -> bool {
    let is_message = ["op", "source", "message"].into_iter().all(&has);
    let is_border = ["status", "id", "event_count", "data_collections"].into_iter().all(&has);
    (is_message || is_border) && !has("before") && !has("after")
}
