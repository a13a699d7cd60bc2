#!/usr/bin/env python3
"""Reads Iceberg tables with another engine, and prints how many rows each has and a digest of them.

    read_table.py --engine duckdb|pyiceberg|polars|spark TABLE...
    read_table.py --engine ... --expected FILE

TABLE is the folder of a table or one of its metadata files. For each one line of JSON is printed: path, count, digest.
With --expected, FILE holds such lines; each table is read and compared, and the exit code is 1 if one differs. A line
may hold `digest_without_defaults`, which is what an engine finds that gives old rows NULL in a column that came later:
that is reported as `defaults: ignored` and is no difference, unless --strict is given.

The digest does not depend on the order of rows: it is the sum, modulo 2^128, of the first 16 bytes of the SHA-256 of
each row. A row is `name=value` of every column in the order of the schema, joined by tabs. A value is

    NULL                        \\N
    boolean                     true or false
    int, long                   decimal digits
    float, double               NaN, or the 16 hex digits of the IEEE 754 double
    decimal                     digits with exactly `scale` of them behind the point
    string                      hex of its UTF-8
    binary, uuid                hex of its bytes
    date                        days since 1970-01-01
    timestamp, timestamptz      microseconds since 1970-01-01 00:00 (UTC)
    list                        [value,value,...]
"""

import argparse
import decimal
import hashlib
import itertools
import json
import math
import os
import re
import struct
import sys
import uuid
from pathlib import Path


def metadata_file(table):
    """The newest metadata file of a table, found as readers of a Hadoop table do."""
    table = Path(table)
    if table.is_file():
        return table
    version = int((table / "metadata" / "version-hint.text").read_text())
    while (table / "metadata" / f"v{version + 1}.metadata.json").exists():
        version += 1
    return table / "metadata" / f"v{version}.metadata.json"


def columns(metadata):
    """Name and type of each column of the current schema."""
    schema = next(s for s in metadata["schemas"] if s["schema-id"] == metadata["current-schema-id"])
    return [(field["name"], field["type"]) for field in schema["fields"]]


def text(kind, value):
    """The text of a value; dates and timestamps are numbers already."""
    if value is None:
        return "\\N"
    if isinstance(kind, dict):
        return "[" + ",".join(text(kind["element"], item) for item in value) + "]"
    if kind == "boolean":
        return "true" if value else "false"
    if kind in ("float", "double"):
        return "NaN" if math.isnan(value) else struct.pack(">d", value).hex()
    if kind.startswith("decimal"):
        scale = int(re.search(r",\s*(\d+)", kind)[1])
        context = decimal.Context(prec=60)
        exact = decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-scale), context=context)
        return format(abs(exact) if exact == 0 else exact, "f")
    if kind == "string":
        return value.encode().hex()
    if kind == "uuid":
        return (value if isinstance(value, uuid.UUID) else as_uuid(value)).hex
    if kind == "binary":
        return bytes(value).hex()
    return str(int(value))


def as_uuid(value):
    return uuid.UUID(bytes=bytes(value)) if isinstance(value, (bytes, bytearray)) else uuid.UUID(value)


class Sum:
    """Count and digest of rows."""

    def __init__(self, schema):
        self.schema = schema
        self.count = 0
        self.sum = 0

    def add(self, row):
        line = "\t".join(f"{name}={text(kind, cell)}" for (name, kind), cell in zip(self.schema, row, strict=True))
        self.count += 1
        self.sum += int.from_bytes(hashlib.sha256(line.encode()).digest()[:16], "big")

    def digest(self):
        return f"{self.sum % 2**128:032x}"


def arrow_rows(table, schema):
    """Rows of a pyarrow table; dates and timestamps as numbers, which have no range that Python's own types lack."""
    import pyarrow as pa

    def plain(array):
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return plain(array.storage)
        if pa.types.is_date32(kind):
            return array.cast(pa.int32()).to_pylist()
        if pa.types.is_timestamp(kind):
            return array.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_pylist()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            items, offsets = plain(array.values), array.offsets.to_pylist()
            lists = [items[a:b] for a, b in itertools.pairwise(offsets)]
            return [cell if valid else None for cell, valid in zip(lists, array.is_valid().to_pylist(), strict=True)]
        return array.to_pylist()

    table = table.select([name for name, _ in schema])
    for batch in table.to_batches():
        yield from zip(*(plain(column) for column in batch.columns), strict=True)


def duckdb_reader():
    import duckdb

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    packages = Path(duckdb.__file__).parent.parent
    for name in ("avro", "iceberg"):
        file = next((packages / f"duckdb_extension_{name}").glob(f"extensions/*/{name}.duckdb_extension"))
        connection.execute(f"LOAD '{file}'")
    connection.execute("SET TimeZone = 'UTC'")

    def read(metadata, schema):
        return arrow_rows(connection.execute(f"SELECT * FROM iceberg_scan('{metadata}')").to_arrow_table(), schema)

    return read


def pyiceberg_reader():
    from pyiceberg.table import StaticTable

    def read(metadata, schema):
        return arrow_rows(StaticTable.from_metadata(f"file://{metadata}").scan().to_arrow(), schema)

    return read


def polars_reader():
    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")
    import polars

    def read(metadata, schema):
        frame = polars.scan_iceberg(f"file://{metadata}", reader_override="native")
        return arrow_rows(frame.collect().to_arrow(), schema)

    return read


def spark_reader():
    from pyspark.sql import SparkSession

    jar = os.environ["WALBROOK_ICEBERG_SPARK_JAR"]
    builder = SparkSession.builder.master("local[1]").appName("read_table")
    settings = {
        "spark.driver.extraClassPath": jar,
        # It reads little: half of its CPU time went into the second compiler.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.catalog.tables": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.tables.type": "hadoop",
        "spark.sql.catalog.tables.warehouse": "file:/nowhere",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")

    def number(kind, column):
        """Dates and timestamps as numbers, in lists too."""
        if isinstance(kind, dict):
            return f"transform({column}, x -> {number(kind['element'], 'x')})"
        forms = {
            "date": "unix_date({})",
            "timestamptz": "unix_micros({})",
            "timestamp": "unix_micros(cast({} as timestamp))",
        }
        return forms.get(kind, "{}").format(column)

    def read(metadata, schema):
        # The folder, read as a Hadoop table: finds the newest version itself.
        frame = spark.read.format("iceberg").load(str(metadata.parent.parent))
        frame = frame.selectExpr(*(f"{number(kind, f'`{name}`')} as `{name}`" for name, kind in schema))
        return (tuple(row) for row in frame.toLocalIterator())

    return read


READERS = {"duckdb": duckdb_reader, "pyiceberg": pyiceberg_reader, "polars": polars_reader, "spark": spark_reader}


def read_table(read, table):
    metadata = metadata_file(table).resolve()
    rows = Sum(columns(json.loads(metadata.read_text())))
    for row in read(metadata, rows.schema):
        rows.add(row)
    return {"path": str(table), "count": rows.count, "digest": rows.digest()}


def verdict(found, expected):
    """Whether a table is as expected, and the word for it."""
    if found["count"] != expected["count"]:
        return False, f"count is {found['count']}, not {expected['count']}"
    if found["digest"] == expected["digest"]:
        return True, "ok"
    if found["digest"] == expected.get("digest_without_defaults"):
        return None, "defaults: ignored"
    return False, "other rows"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, choices=sorted(READERS))
    parser.add_argument("--expected", type=Path, help="lines of JSON that say what must be found")
    parser.add_argument("--strict", action="store_true", help="an ignored default is a difference")
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    args = parser.parse_args()
    read = READERS[args.engine]()
    for table in args.tables:
        print(json.dumps(read_table(read, table)))
    if not args.expected:
        return 0
    differ = 0
    for line in args.expected.read_text().splitlines():
        expected = json.loads(line)
        try:
            good, word = verdict(read_table(read, expected["path"]), expected)
        except Exception as error:  # noqa: BLE001 - an engine may fail in any way, and that is a finding
            good, word = False, f"{type(error).__name__}: {str(error)[:200]}"
        differ += good is False or (good is None and args.strict)
        print(f"{args.engine:10} {expected.get('table', expected['path']):28} {expected['count']:8} {word}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
