"""One message of a topic of changes, decoded by fastavro or `json`, its cells in canonical form (`values`).

The checker's own idea of what a message means; it shares nothing with walbrook. What a cell is, its schema says: the
Avro schema that the registry has under the message's id, the schema inside the message, or the header with the shape.
"""

import base64
import functools
import io
import json
import math
from dataclasses import dataclass, field

import fastavro

from .values import float_bits, timestamp

SEQ, LINEAGE, CONTROL, SHAPE = "walbrook.seq", "walbrook.lineage", "walbrook.control", "walbrook.shape"
UNCHANGED, PARTITIONS = "walbrook.unchanged", "walbrook.partitions"
OLD_KEY, NEW_KEY = "__debezium.oldkey", "__debezium.newkey"
TOMBSTONE = "tombstone"
CONNECT_KINDS = {"int": "int32", "long": "int64"}


class MessageError(Exception):
    """A message is not what a reader of such topics understands."""


@dataclass(frozen=True)
class Raw:
    """A message as the cluster gives it. `headers` are names and bytes, in order."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple

    def header(self, name):
        """The text of a header; `None` if there is none. Two of one name are an error."""
        found = [value for known, value in self.headers if known == name]
        if len(found) > 1:
            raise MessageError(f"{len(found)} headers {name}")
        return found[0].decode() if found else None


@dataclass
class Change:
    """A message that was understood. `op` is Debezium's letter, `tombstone`, or what a control message is."""

    raw: Raw
    op: str
    seq: int
    lineage: str
    key: tuple | None
    before: dict | None = None
    after: dict | None = None
    source: dict = field(default_factory=dict)
    unchanged: tuple = ()
    moved: bool = False

    @property
    def unit(self):
        """Its place among the messages of its key: a delete comes before its tombstone."""
        return self.seq, self.op == TOMBSTONE

    def same(self, other):
        """Whether this is the other one sent again."""
        return (self.op, self.key, self.before, self.after) == (other.op, other.key, other.before, other.after)


@dataclass(frozen=True)
class Shape:
    """What a value is: a kind of Kafka Connect's, its semantic name and parameters, fields or elements."""

    kind: str
    name: str | None = None
    parameters: tuple = ()
    items: "Shape | None" = None
    fields: tuple = ()

    def parameter(self, name):
        return dict(self.parameters)[name]


def of_avro(schema):
    """The shape that an Avro schema describes by the attributes of Kafka Connect."""
    if isinstance(schema, list):
        (schema,) = [branch for branch in schema if branch != "null"]
    if isinstance(schema, str):
        return Shape(CONNECT_KINDS.get(schema, schema))
    kind = schema["type"]
    parameters = dict(schema.get("connect.parameters", {}))
    if schema.get("logicalType") == "decimal":
        parameters["scale"] = str(schema["scale"])
    fields = tuple((each["name"], of_avro(each["type"])) for each in schema.get("fields", ()))
    items = of_avro(schema["items"]) if kind == "array" else None
    return Shape(CONNECT_KINDS.get(kind, kind), schema.get("connect.name"), tuple(parameters.items()), items, fields)


def of_connect(schema):
    """The shape that a schema inside JSON describes."""
    kind = schema["type"]
    items = of_connect(schema["items"]) if kind == "array" else None
    fields = tuple((each["field"], of_connect(each)) for each in schema.get("fields", ()))
    return Shape(kind, schema.get("name"), tuple(schema.get("parameters", {}).items()), items, fields)


def decimal_text(unscaled, scale):
    """`-1`, 3 -> `-0.001`, as PostgreSQL prints a numeric of that scale."""
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if unscaled < 0 else text


def _zoned(text):
    return str(timestamp(text.replace("T", " ").removesuffix("Z") + "+00"))


# Semantic name -> from the value to the canonical form of the source's type.
NAMED = {
    "org.apache.kafka.connect.data.Decimal": lambda shape: (
        lambda raw: decimal_text(int.from_bytes(raw, "big", signed=True), int(shape.parameter("scale")))
    ),
    "io.debezium.time.Date": lambda _: str,
    "io.debezium.time.MicroTime": lambda _: str,
    "io.debezium.time.Time": lambda _: lambda raw: str(raw * 1000),
    "io.debezium.time.MicroTimestamp": lambda _: str,
    "io.debezium.time.Timestamp": lambda _: lambda raw: str(raw * 1000),
    "io.debezium.time.ZonedTimestamp": lambda _: _zoned,
    "walbrook.MicroInstant": lambda _: str,
    "io.debezium.data.Bits": lambda shape: (
        lambda raw: format(int.from_bytes(raw, "little"), f"0{shape.parameter('length')}b")
    ),
    "io.debezium.data.Json": lambda _: str,
    "io.debezium.data.Uuid": lambda _: str,
    "io.debezium.data.Enum": lambda _: str,
}
PLAIN = {
    "boolean": lambda raw: "true" if raw else "false",
    "int16": str,
    "int32": str,
    "int64": str,
    "float": lambda raw: float_bits(raw, 32),
    "double": lambda raw: float_bits(raw, 64),
    "string": str,
    "bytes": bytes.hex,
}


@functools.cache
def form(shape):
    """A function from a value of the shape to the canonical form."""
    if shape.name is not None:
        if shape.name not in NAMED:
            raise MessageError(f"a column of type {shape.name}, which this reader does not know")
        return NAMED[shape.name](shape)
    if shape.kind == "array":
        element = form(shape.items)
        return lambda items: json.dumps([None if item is None else element(item) for item in items])
    return PLAIN[shape.kind]


def of_json(shape, value):
    """A value as Avro would give it, from one that JSON gave."""
    if value is None:
        return None
    if shape.kind == "bytes":
        return base64.b64decode(value, validate=True)
    if shape.kind in ("float", "double"):
        return float(value) if isinstance(value, (int, float)) else {"NaN": math.nan}.get(value) or float(value)
    if shape.kind == "array":
        return [of_json(shape.items, item) for item in value]
    return value


def cells(shape, record, convert):
    """Column -> canonical cell; the record must have exactly the fields of its shape."""
    if record is None:
        return None
    if list(record) != [name for name, _ in shape.fields]:
        raise MessageError(f"fields {list(record)} instead of {[name for name, _ in shape.fields]}")
    values = {name: convert(inner, record[name]) for name, inner in shape.fields}
    return {name: None if values[name] is None else form(inner)(values[name]) for name, inner in shape.fields}


class Decoder:
    """Understands the messages of one topic of changes, in one `format` of walbrook's configuration."""

    def __init__(self, format_name, schemas=None):
        self._parts = {"avro": self._avro, "json": self._json, "json_with_schemas": self._json_with_schemas}[
            format_name
        ]
        self._plain = format_name == "json"
        self._schemas = schemas
        self._compiled = {}
        self.convert = (lambda _, value: value) if format_name == "avro" else of_json

    def change(self, raw):
        """The change that a message is."""
        try:
            return self._change(raw)
        except Exception as error:
            raise MessageError(f"partition {raw.partition}, offset {raw.offset}: {error!r}") from error

    def _change(self, raw):
        seq, lineage, control = raw.header(SEQ), raw.header(LINEAGE), raw.header(CONTROL)
        if seq is None or lineage is None:
            raise MessageError("no header with order token or lineage")
        if control is not None:
            return Change(raw, control, int(seq), lineage, None)
        key = None
        if raw.key is not None:
            shape, payload = self._parts(raw, raw.key, of_key=True)
            key = tuple(cells(shape, payload, self.convert).values())
        if raw.value is None:
            return Change(raw, TOMBSTONE, int(seq), lineage, key)
        row, payload = self._parts(raw, raw.value, of_key=False)
        before, after = (cells(row, payload[image], self.convert) for image in ("before", "after"))
        unchanged = tuple(json.loads(raw.header(UNCHANGED) or "[]"))
        moved = raw.header(OLD_KEY) is not None or raw.header(NEW_KEY) is not None
        source = payload["source"]
        return Change(raw, payload["op"], int(seq), lineage, key, before, after, source, unchanged, moved)

    def _avro(self, raw, data, of_key):
        if data[0] != 0:
            raise MessageError("does not begin with a schema's id")
        number = int.from_bytes(data[1:5], "big")
        if number not in self._compiled:
            schema = json.loads(self._schemas.schema(number))
            shape = of_avro(schema)
            self._compiled[number] = fastavro.parse_schema(physical(schema)), shape
        parsed, shape = self._compiled[number]
        stream = io.BytesIO(data[5:])
        payload = fastavro.schemaless_reader(stream, parsed)
        if stream.read(1):
            raise MessageError("bytes behind the Avro")
        return shape if of_key else dict(shape.fields)["before"], payload

    def _json_with_schemas(self, _raw, data, of_key):
        document = json.loads(data)
        shape = of_connect(document["schema"])
        return shape if of_key else dict(shape.fields)["before"], document["payload"]

    def _json(self, raw, data, of_key):
        described = self._shape(raw.header(SHAPE))
        row = of_connect(described["row"])
        if of_key:
            fields = dict(row.fields)
            row = Shape("struct", fields=tuple((name, fields[name]) for name in described["key"]))
        return row, json.loads(data)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - a decoder lives as long as its scenario
    def _shape(self, text):
        return json.loads(text)


def physical(schema):
    """The schema without logical types: the values as they are written, years beyond 9999 and 24:00 included."""
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if isinstance(schema, dict):
        return {name: physical(value) for name, value in schema.items() if name != "logicalType"}
    return schema
