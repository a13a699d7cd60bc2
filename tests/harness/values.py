"""The canonical form of a value, written once for PostgreSQL's text and once for what a reader of the lake gives.

This is the checker's own idea of which lake value means which source value; it shares nothing with walbrook. A cell is
`None` (NULL) or a text; a list is the JSON of its elements' canonical forms.

    bool true|false   numbers decimal digits   float4, float8 their bits, NaN is one   bytea hex   uuid lower case
    date days since 1970   timestamp(tz) microseconds since 1970 (UTC)   time microseconds   else: the text
"""

import json
import re
import struct

DAY_US = 86_400_000_000
_DATE = re.compile(r"(\d{4,})-(\d\d)-(\d\d)( BC)?")
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?")
_STAMP = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)(\+00)?( BC)?")


def days(year, month, day):
    """Days since 1970-01-01 in the Gregorian calendar carried back for ever; year 0 is 1 BC."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def date(text):
    """`2024-02-29`, `0044-03-15 BC` -> days."""
    year, month, day, bc = _DATE.fullmatch(text).groups()
    return days(1 - int(year) if bc else int(year), int(month), int(day))


def time(text):
    """`24:00:00`, `23:59:59.5` -> microseconds."""
    hours, minutes, seconds, fraction = _TIME.fullmatch(text).groups()
    whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0)
    return whole * 1_000_000 + int((fraction or "").ljust(6, "0"))


def timestamp(text):
    """`2024-02-29 12:00:00.5`, with `+00` and ` BC` where they apply -> microseconds."""
    day, clock, _, bc = _STAMP.fullmatch(text).groups()
    return date(day + (bc or "")) * DAY_US + time(clock)


def float_bits(value, width):
    """The bits of a float of 32 or 64 bits; all NaNs are one."""
    if value != value:
        return "nan"
    return struct.pack(">f" if width == 32 else ">d", value).hex()


def array(text):
    """PostgreSQL's one-dimensional array text -> list of texts and None."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"not a one-dimensional array: {text[:20]!r}")
    items, position, end = [], 1, len(text) - 1
    while position < end:
        if text[position] == '"':
            found = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S).match(text, position)
            items.append(re.sub(r"\\(.)", r"\1", found[1], flags=re.S))
        else:
            found = re.compile(r"((?:[^,}\\]|\\.)*)", re.S).match(text, position)
            items.append(None if found[1].upper() == "NULL" else re.sub(r"\\(.)", r"\1", found[1], flags=re.S))
        position = found.end()
        if position < end and text[position] != ",":
            raise ValueError("nested array")
        position += 1
    return items


def _same(text):
    return text


SOURCE = {
    "bool": lambda text: {"t": "true", "f": "false"}[text],
    "float4": lambda text: float_bits(float(text), 32),
    "float8": lambda text: float_bits(float(text), 64),
    "bytea": lambda text: text.removeprefix("\\x"),
    "date": lambda text: str(date(text)),
    "time": lambda text: str(time(text)),
    "timestamp": lambda text: str(timestamp(text)),
    "timestamptz": lambda text: str(timestamp(text)),
}


def source_form(typname):
    """A function from PostgreSQL's text of a cell (ISO dates, UTC, hex bytea) to the canonical form."""
    if typname.startswith("_"):
        element = source_form(typname[1:])
        return lambda text: json.dumps([None if item is None else element(item) for item in array(text)])
    return SOURCE.get(typname, _same)


def lake_sql(name, duckdb_type, source_type):
    """How DuckDB is asked for a column, so that `lake_form` can read it."""
    if duckdb_type.endswith("[]"):
        inner = lake_sql("x", duckdb_type[:-2], source_type.removeprefix("_"))
        return f"list_transform({name}, lambda x: {inner})"
    if duckdb_type == "BLOB":
        return f"lower(hex({name}))"
    if duckdb_type == "DATE":
        return f"({name} - DATE '1970-01-01')::VARCHAR"
    if duckdb_type in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        return f"epoch_us({name})::VARCHAR"
    if duckdb_type in ("FLOAT", "DOUBLE"):
        return name
    return f"{name}::VARCHAR"


def lake_form(duckdb_type, source_type):
    """A function from what `lake_sql` fetched to the canonical form."""
    if duckdb_type.endswith("[]"):
        element = lake_form(duckdb_type[:-2], source_type.removeprefix("_"))
        return lambda items: json.dumps([None if item is None else element(item) for item in items])
    if duckdb_type in ("FLOAT", "DOUBLE"):
        width = 32 if duckdb_type == "FLOAT" else 64
        return lambda value: float_bits(value, width)
    if source_type == "time":
        return lambda text: str(time(text))
    return _same
