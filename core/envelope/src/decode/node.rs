//! Schemas of writers, Avro's and Kafka Connect's, as one tree.

use serde_json::Value as Json;
use walbrook_model::{Error, Result};

/// A schema, with what its writer says of its meaning.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// The semantic name of Kafka Connect.
    pub(crate) name: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    /// The logical type of Avro.
    pub(crate) logical: Option<String>,
    pub(crate) scale: Option<i64>,
    pub(crate) precision: Option<i64>,
}

/// What a schema describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Bytes,
    Text,
    List(Box<Node>),
    Map(Box<Node>),
    Record(Vec<(String, Node)>),
    /// The branches of a union of Avro; an optional value of Kafka Connect is null or the value.
    Union(Vec<Node>),
    Fixed(usize),
    Enum,
}

/// Deeper is no schema of a table.
const DEPTH_MAX: usize = 24;
/// More is no schema of a table: 1,600 columns, both images, and room.
const NODES_MAX: usize = 100_000;

impl Node {
    pub(crate) fn plain(kind: Kind) -> Self {
        Self { kind, name: None, parameters: Vec::new(), logical: None, scale: None, precision: None }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The branch of null and the value's, and the value's schema. `None`: not null or a value, but more.
    pub(crate) fn optional(&self) -> Option<(Option<(usize, usize)>, &Self)> {
        let Kind::Union(branches) = &self.kind else { return Some((None, self)) };
        match branches.as_slice() {
            [null, value] if matches!(null.kind, Kind::Null) => Some((Some((0, 1)), value)),
            [value, null] if matches!(null.kind, Kind::Null) => Some((Some((1, 0)), value)),
            _ => None,
        }
    }

    /// The fields of a record.
    pub(crate) fn fields(&self) -> Option<&[(String, Self)]> {
        match &self.kind {
            Kind::Record(fields) => Some(fields),
            _ => None,
        }
    }

    /// A field of a record.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.fields()?.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }
}

/// From the text of an Avro schema.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is none.
pub(crate) fn from_avro(text: &str) -> Result<Node> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| Error::data("an Avro schema is no JSON").because(error))?;
    let mut parser = Avro { named: Vec::new(), open: Vec::new(), nodes: 0 };
    parser.node(&json, "", 0).ok_or_else(|| Error::data("an Avro schema is not understood"))
}

struct Avro {
    named: Vec<(String, Node)>,
    open: Vec<String>,
    nodes: usize,
}

impl Avro {
    fn node(&mut self, json: &Json, namespace: &str, depth: usize) -> Option<Node> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return None;
        }
        match json {
            Json::String(name) => primitive(name).map(Node::plain).or_else(|| self.named(name, namespace)),
            Json::Array(branches) => {
                let branches: Option<Vec<Node>> =
                    branches.iter().map(|branch| self.node(branch, namespace, depth + 1)).collect();
                Some(Node::plain(Kind::Union(branches?)))
            }
            Json::Object(object) => {
                let ty = object.get("type")?;
                let mut node = match ty.as_str() {
                    Some("record") => return self.record(json, namespace, depth),
                    Some("array") => {
                        Node::plain(Kind::List(Box::new(self.element(object.get("items")?, namespace, depth)?)))
                    }
                    Some("map") => {
                        Node::plain(Kind::Map(Box::new(self.node(object.get("values")?, namespace, depth + 1)?)))
                    }
                    Some("fixed") => {
                        let size = usize::try_from(object.get("size")?.as_u64()?).ok()?;
                        self.define(object, namespace, Node::plain(Kind::Fixed(size)))
                    }
                    Some("enum") => self.define(object, namespace, Node::plain(Kind::Enum)),
                    _ => self.node(ty, namespace, depth + 1)?,
                };
                attributes(&mut node, json);
                Some(node)
            }
            _ => None,
        }
    }

    /// An element takes at least a byte: else a few bytes could say that there are billions of them.
    fn element(&mut self, json: &Json, namespace: &str, depth: usize) -> Option<Node> {
        self.node(json, namespace, depth + 1).filter(|node| !may_be_empty(node))
    }

    fn record(&mut self, json: &Json, namespace: &str, depth: usize) -> Option<Node> {
        let full = full_name(json, namespace)?;
        let space = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        self.open.push(full.clone());
        let mut fields = Vec::new();
        for field in json.get("fields")?.as_array()? {
            let name = field.get("name")?.as_str()?.to_owned();
            fields.push((name, self.node(field.get("type")?, &space, depth + 1)?));
        }
        self.open.pop();
        let mut node = Node::plain(Kind::Record(fields));
        attributes(&mut node, json);
        node.name.get_or_insert_with(|| full.clone());
        self.named.push((full, node.clone()));
        Some(node)
    }

    fn define(&mut self, object: &serde_json::Map<String, Json>, namespace: &str, node: Node) -> Node {
        if let Some(full) = full_name(&Json::Object(object.clone()), namespace) {
            self.named.push((full, node.clone()));
        }
        node
    }

    /// A name that was defined before; a record inside itself is no table's.
    fn named(&mut self, name: &str, namespace: &str) -> Option<Node> {
        let full =
            if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
        if self.open.contains(&full) {
            return None;
        }
        let found =
            self.named.iter().find(|(known, _)| *known == full || *known == name).map(|(_, node)| node.clone())?;
        self.nodes += size(&found);
        (self.nodes <= NODES_MAX).then_some(found)
    }
}

fn may_be_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Null | Kind::Fixed(0) => true,
        Kind::Record(fields) => fields.iter().all(|(_, field)| may_be_empty(field)),
        _ => false,
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::List(inner) | Kind::Map(inner) => size(inner),
        Kind::Record(fields) => fields.iter().map(|(_, field)| size(field)).sum(),
        Kind::Union(branches) => branches.iter().map(size).sum(),
        _ => 0,
    }
}

fn full_name(json: &Json, namespace: &str) -> Option<String> {
    let name = json.get("name")?.as_str()?;
    let space = json.get("namespace").and_then(Json::as_str).unwrap_or(namespace);
    Some(if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") })
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int32,
        "long" => Kind::Int64,
        "float" => Kind::Float32,
        "double" => Kind::Float64,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        _ => return None,
    })
}

fn attributes(node: &mut Node, json: &Json) {
    let text = |name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
    node.name = text("connect.name").or_else(|| node.name.take());
    node.logical = text("logicalType").or_else(|| node.logical.take());
    node.scale = json.get("scale").and_then(Json::as_i64).or(node.scale);
    node.precision = json.get("precision").and_then(Json::as_i64).or(node.precision);
    if let Some(parameters) = json.get("connect.parameters") {
        node.parameters = pairs(parameters);
    }
    if node.kind == Kind::Int32 && json.get("connect.type").and_then(Json::as_str) == Some("int16") {
        node.kind = Kind::Int16;
    }
}

fn pairs(json: &Json) -> Vec<(String, String)> {
    let object = json.as_object().into_iter().flatten();
    object.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// From the schema inside a JSON message.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is none.
pub(crate) fn from_connect(json: &Json) -> Result<Node> {
    connect(json, 0).ok_or_else(|| Error::data("a message's schema is not understood"))
}

fn connect(json: &Json, depth: usize) -> Option<Node> {
    if depth > DEPTH_MAX {
        return None;
    }
    let kind = match json.get("type")?.as_str()? {
        "boolean" => Kind::Boolean,
        "int8" | "int16" => Kind::Int16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float" => Kind::Float32,
        "double" => Kind::Float64,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        "array" => Kind::List(Box::new(connect(json.get("items")?, depth + 1)?)),
        "map" => Kind::Map(Box::new(connect(json.get("values")?, depth + 1)?)),
        "struct" => {
            let mut fields = Vec::new();
            for field in json.get("fields")?.as_array()? {
                fields.push((field.get("field")?.as_str()?.to_owned(), connect(field, depth + 1)?));
            }
            Kind::Record(fields)
        }
        _ => return None,
    };
    let mut node = Node::plain(kind);
    node.name = json.get("name").and_then(Json::as_str).map(str::to_owned);
    node.parameters = json.get("parameters").map(pairs).unwrap_or_default();
    let optional = json.get("optional").and_then(Json::as_bool).unwrap_or(false);
    Some(if optional { Node::plain(Kind::Union(vec![Node::plain(Kind::Null), node])) } else { node })
}
