"""Reads a lake table with DuckDB, from its metadata file alone, and compares it with the source.

Nothing here asks walbrook anything: the newest metadata file is found the way any reader of a Hadoop table finds it.
"""

import functools
from pathlib import Path

import duckdb

from . import source_digest
from .tables import Table, difference
from .values import lake_form, lake_sql


class LakeError(Exception):
    """The lake does not hold what the source holds."""


@functools.cache
def database():
    """DuckDB with the Iceberg extension that is installed beside it as a package; one for all, since it takes a while."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    # A table may be made anew in the place of another.
    connection.execute("SET enable_external_file_cache = false")
    packages = Path(duckdb.__file__).parent.parent
    for name in ("avro", "iceberg"):
        file = next((packages / f"duckdb_extension_{name}").glob(f"extensions/*/{name}.duckdb_extension"))
        connection.execute(f"LOAD '{file}'")
    return connection


def connect():
    """A session with it."""
    connection = database().cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def metadata_file(warehouse, table):
    """The metadata file of the newest version of `namespace.name`; `None` if there is no such table."""
    namespace, name = table.split(".", 1)
    files = (Path(warehouse) / namespace / name / "metadata").glob("v*.metadata.json")
    return max(files, key=lambda file: int(file.name[1:].split(".")[0]), default=None)


def read(warehouse, table, types, key, whole=True):
    """The rows of a lake table, restricted to the columns `types` (name -> source type). If `types` is the whole source
    table, the lake must have no other columns but walbrook's own."""
    file = metadata_file(warehouse, table)
    if file is None:
        raise LakeError(f"there is no lake table {table}")
    connection = connect()
    try:
        scan = f"iceberg_scan('{file}')"
        found = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
        strange = [name for name in found if name not in types and not name.startswith("_")]
        absent = [name for name in types if name not in found]
        if absent or (whole and strange):
            raise LakeError(f"{table}: columns {absent} are not in the lake, {strange} are not in the source")
        wanted = ", ".join(lake_sql(f'"{name}"', found[name], source) for name, source in types.items())
        forms = [lake_form(found[name], source) for name, source in types.items()]
        rows = connection.execute(f"SELECT {wanted} FROM {scan}").fetchall()
    finally:
        connection.close()
    canonical = [
        tuple(None if cell is None else form(cell) for cell, form in zip(row, forms, strict=True)) for row in rows
    ]
    return Table(tuple(types), tuple(key), canonical)


def scalar(warehouse, table, query):
    """The single cell of a query in which `{t}` stands for the lake table."""
    file = metadata_file(warehouse, table)
    if file is None:
        return None
    connection = connect()
    try:
        row = connection.execute(query.format(t=f"iceberg_scan('{file}')")).fetchone()
        return row[0] if row else None
    finally:
        connection.close()


def compare(server, warehouse, tables, database="postgres"):
    """Compares every table and gives the number of rows that agree; raises with the differing keys."""
    source = source_digest.read_all(server, tables, database=database)
    connection = server.connect(database)
    problems = []
    try:
        for table, rows in source.items():
            types = source_digest.columns(connection.cursor(), table)
            problems += [f"{table}: {line}" for line in difference(rows, read(warehouse, table, types, rows.key))]
    finally:
        connection.close()
    if problems:
        raise LakeError("source and lake differ\n" + "\n".join(problems))
    return sum(len(rows.rows) for rows in source.values())
