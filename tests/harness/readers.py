"""What other engines must find in a lake table, in the form of `tests/readers/read_table.py`, and whether they do.

The expected digest is made of the source's cells. walbrook's own columns (`_seq`, `_committed_at`), which the source
does not have, are taken from one reading of the lake, so the engines must agree on those among themselves.
"""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

from . import lake, source_digest

READ_TABLE = Path(__file__).parent.parent / "readers" / "read_table.py"
ENGINES = ("duckdb", "pyiceberg", "polars", "spark")


class ReadersError(Exception):
    """An engine reads something else than the source holds."""


def check(server, warehouse, tables, folder, engines=ENGINES):
    """Lets every engine read every table; the pipeline must be at rest. Gives the number of rows of one reading."""
    expected = folder / "expected.jsonl"
    rows = expect(server, warehouse, tables, expected)
    problems = []
    for engine in engines:
        command = [sys.executable, READ_TABLE, "--engine", engine, "--expected", expected]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0 or done.stdout.count("\n") < len(tables):
            problems.append(f"{engine}:\n{done.stdout}{done.stderr[-2000:]}")
    if problems:
        raise ReadersError("\n".join(problems))
    return rows


def expect(server, warehouse, tables, file):
    """Writes what each table must hold, one line of JSON each; gives the number of rows."""
    source = source_digest.read_all(server, tables)
    lines, total = [], 0
    for table in tables:
        metadata = lake.metadata_file(warehouse, table)
        schema = columns(json.loads(metadata.read_text()))
        types = source_digest.columns(server.connect().cursor(), table)
        own = own_cells(warehouse, table, types, source[table].key, [name for name, _ in schema if name not in types])
        digest = 0
        for key, row in zip(source[table].keys_of(), source[table].rows, strict=True):
            cells = dict(zip(source[table].columns, row, strict=True)) | own[key]
            line = "\t".join(f"{name}={text(kind, types.get(name), cells[name])}" for name, kind in schema)
            digest += int.from_bytes(hashlib.sha256(line.encode()).digest()[:16], "big")
        count = len(source[table].rows)
        total += count
        found = {"table": table, "path": str(metadata.parent.parent), "count": count}
        lines.append(json.dumps(found | {"digest": f"{digest % 2**128:032x}"}))
    file.write_text("\n".join(lines) + "\n")
    return total


def columns(metadata):
    """Name and Iceberg type of each column."""
    schema = next(each for each in metadata["schemas"] if each["schema-id"] == metadata["current-schema-id"])
    return [(field["name"], field["type"]) for field in schema["fields"]]


def own_cells(warehouse, table, types, key, names):
    """Key -> walbrook's own columns of that row, by name, canonical."""
    key_types = {name: types[name] for name in key}
    found = lake.read(warehouse, table, key_types | dict.fromkeys(names, ""), key, whole=False)
    return {row[: len(key)]: dict(zip(names, row[len(key) :], strict=True)) for row in found.rows}


def text(kind, source_type, cell):
    """The form in which `read_table.py` writes a cell, from its canonical form."""
    if cell is None:
        return "\\N"
    if isinstance(kind, dict):
        element = source_type.removeprefix("_")
        return "[" + ",".join(text(kind["element"], element, item) for item in json.loads(cell)) + "]"
    if kind in ("float", "double"):
        if cell == "nan":
            return "NaN"
        return struct.pack(">d", struct.unpack(">f" if kind == "float" else ">d", bytes.fromhex(cell))[0]).hex()
    if kind == "string":
        return (clock(int(cell)) if source_type == "time" else cell).encode().hex()
    return cell.replace("-", "") if kind == "uuid" else cell


def clock(micros):
    """A time of day as the lake writes it, which has no type for it."""
    seconds, fraction = divmod(micros, 1_000_000)
    whole = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{whole}.{fraction:06}" if fraction else whole
