"""Reads a source table in PostgreSQL's text format, in one snapshot, with nothing decoded on the way.

`COPY (SELECT ...) TO STDOUT` gives the server's own text of every cell; `values` makes the canonical form of it.
"""

import io
import re

from .tables import Table
from .values import source_form

SESSION = (
    "SET datestyle = 'ISO, YMD'",
    "SET timezone = 'UTC'",
    "SET intervalstyle = 'postgres'",
    "SET extra_float_digits = 3",
    "SET bytea_output = 'hex'",
    "SET lc_monetary = 'C'",
)
_ESCAPE = re.compile(r"\\(.)", re.S)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

COLUMNS = """
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, t.oid, t.typname, t.typtype, t.typbasetype
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  UNION ALL
    SELECT b.attnum, b.attname, t.oid, t.typname, t.typtype, t.typbasetype
    FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
)
SELECT attname, typname FROM base WHERE typtype <> 'd' ORDER BY attnum"""

KEY = """
SELECT a.attname
FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, place), pg_attribute a
WHERE i.indrelid = %s::regclass AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.attnum
ORDER BY k.place"""


def columns(cursor, table):
    """Column -> name of its base type, in table order."""
    cursor.execute(COLUMNS, (table,))
    return dict(cursor.fetchall())


def read(server, table, where="true", database="postgres"):
    """The rows of `schema.table` as of now."""
    return read_all(server, [table], where, database)[table]


def read_all(server, tables, where="true", database="postgres"):
    """The rows of several tables as of one moment."""
    connection = server.connect(database)
    try:
        cursor = connection.cursor()
        for setting in SESSION:
            cursor.execute(setting)
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return {table: _read(cursor, table, where) for table in tables}
    finally:
        connection.close()


def _read(cursor, table, where):
    types = columns(cursor, table)
    cursor.execute(KEY, (table,))
    key = tuple(name for (name,) in cursor.fetchall())
    names = ", ".join(f'"{name}"' for name in types)
    text = io.StringIO()
    cursor.copy_expert(f"COPY (SELECT {names} FROM {table} WHERE {where}) TO STDOUT", text)
    forms = [source_form(typname) for typname in types.values()]
    rows = [_row(line, forms) for line in text.getvalue().split("\n")[:-1]]
    return Table(tuple(types), key or tuple(types), rows)


def _row(line, forms):
    cells = line.split("\t")
    return tuple(
        None if cell == "\\N" else form(_ESCAPE.sub(_unescape, cell) if "\\" in cell else cell)
        for cell, form in zip(cells, forms, strict=True)
    )


def _unescape(found):
    return _ESCAPES.get(found[1], found[1])
