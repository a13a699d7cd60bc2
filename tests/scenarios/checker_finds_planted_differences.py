"""The checker is not blind: it finds two equal tables equal, and every planted difference by key and column.

The lake table is written by PyIceberg from the source's rows, so that this needs no walbrook: source text and lake
values are read on different ways and must meet in one canonical form, for every type of `shop.wide`.
"""

import json
import struct
from decimal import Context, Decimal

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from harness import lake, schema, source_digest
from harness.churn import Churn
from harness.readers import clock
from harness.tables import Table, difference

VERSIONS = (15, 18)
SECONDS = 15
EXACT = Context(prec=60)
ARROW = {
    "bool": pa.bool_(), "int2": pa.int32(), "int4": pa.int32(), "int8": pa.int64(), "float4": pa.float32(),
    "float8": pa.float64(), "bytea": pa.binary(), "uuid": pa.uuid(), "date": pa.date32(),
    "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"), "_int4": pa.list_(pa.int32()),
    "_text": pa.list_(pa.string()), "_timestamptz": pa.list_(pa.timestamp("us", "UTC")),
    "_numeric": pa.list_(pa.decimal128(10, 2)),
}  # fmt: skip
DECIMALS = {"money": pa.decimal128(20, 6), "huge": pa.decimal128(38, 10)}


def run(world):
    server = world.server()
    schema.create(server, "walbrook_shop")
    churn = Churn(server, world.seed(), sessions=1, keys=300)
    cursor = churn.sessions[0].cursor()
    for _ in range(500):
        churn.sessions[0].wide(cursor)
    source = source_digest.read(server, "shop.wide")
    types = source_digest.columns(server.connect().cursor(), "shop.wide")
    warehouse = world.folder / "warehouse"
    write(warehouse, source, types)
    found = lake.read(warehouse, "shop.wide", types, source.key)
    equal = difference(source, found)
    assert equal == [], equal
    planted = plant(world.rng, found)
    for what, table, expected in planted:
        lines = difference(source, table)
        assert len(lines) > 1 and expected in lines[1], f"{what}: {lines}"
    return f"{len(source.rows)} rows of {len(types)} types agree, {len(planted)} planted differences are named"


def write(warehouse, table, types):
    """Writes canonical rows as an Iceberg table, with the name that a Hadoop table's metadata has."""
    warehouse.mkdir()
    catalog = SqlCatalog("planted", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace("shop")
    arrays = []
    for place, (name, typname) in enumerate(types.items()):
        kind = DECIMALS.get(name) or ARROW.get(typname, pa.string())
        cells = [row[place] for row in table.rows]
        arrays.append(column([cell and clock(int(cell)) for cell in cells] if typname == "time" else cells, kind))
    rows = pa.table(dict(zip(types, arrays, strict=True)))
    made = catalog.create_table("shop.wide", rows.schema, location=f"file://{warehouse}/shop/wide")
    made.append(rows)
    newest = made.metadata_location.removeprefix("file://")
    folder = warehouse / "shop" / "wide" / "metadata"
    (folder / newest).rename(folder / "v1.metadata.json")


def column(cells, kind):
    """An Arrow column from canonical cells."""
    if pa.types.is_list(kind):
        items = [None if cell is None else json.loads(cell) for cell in cells]
        flat = column([item for cell in items if cell is not None for item in cell], kind.value_type)
        offsets, total = [], 0
        for cell in items:
            offsets.append(None if cell is None else total)
            total += len(cell or ())
        return pa.ListArray.from_arrays(pa.array([*offsets, total], pa.int32()), flat)
    values = [None if cell is None else plain(cell, kind) for cell in cells]
    if pa.types.is_date(kind):
        return pa.array(values, pa.int32()).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def plain(cell, kind):
    if pa.types.is_boolean(kind):
        return cell == "true"
    if pa.types.is_floating(kind):
        return (
            float("nan")
            if cell == "nan"
            else struct.unpack(">f" if kind == pa.float32() else ">d", bytes.fromhex(cell))[0]
        )
    if pa.types.is_decimal(kind):
        return EXACT.create_decimal(Decimal(cell))
    if pa.types.is_binary(kind):
        return bytes.fromhex(cell)
    if kind == pa.uuid():
        return bytes.fromhex(cell.replace("-", ""))
    if pa.types.is_string(kind):
        return cell
    return int(cell)


def plant(rng, table):
    """(what, changed table, what the report must name)."""
    place = rng.randrange(len(table.rows))
    row = table.rows[place]
    name = f"key {row[0]}"
    others = table.rows[:place] + table.rows[place + 1 :]

    def changed(rows):
        return Table(table.columns, table.key, rows)

    planted = [
        ("a lost row", changed(others), f"{name}: not in the lake"),
        ("a doubled row", changed([*table.rows, row]), f"{name}: 2 rows in the lake instead of 1"),
        ("a row too many", changed([*table.rows, ("-77", *row[1:])]), "key -77: only in the lake"),
    ]
    for index, column_name in enumerate(table.columns[1:], 1):
        cell = None if row[index] is not None else "0"
        planted.append(
            (
                f"a wrong {column_name}",
                changed([*others, (*row[:index], cell, *row[index + 1 :])]),
                f"{name}: {column_name} is",
            )
        )
    return planted
