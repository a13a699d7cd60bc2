"""Rows of one table in canonical form, their digest, and the difference of two such tables.

The digest does not depend on the order of the rows: per key bucket, the number of rows and the sum of their hashes.
Duplicate keys are kept apart, so a doubled row shows.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

BUCKETS = 1024
MODULUS = 1 << 128


@dataclass(frozen=True)
class Table:
    """Rows of a table; each row is a tuple of cells (None or text) in the order of `columns`."""

    columns: tuple
    key: tuple
    rows: list

    def keys_of(self):
        """The row's key, for each row."""
        places = [self.columns.index(column) for column in self.key]
        return [tuple(row[place] for place in places) for row in self.rows]

    def digest(self):
        """Bucket -> (rows, sum of their hashes)."""
        buckets = defaultdict(lambda: (0, 0))
        for key, row in zip(self.keys_of(), self.rows, strict=True):
            bucket = int.from_bytes(hash_cells(key)[:2], "big") % BUCKETS
            count, total = buckets[bucket]
            buckets[bucket] = count + 1, (total + int.from_bytes(hash_cells(row), "big")) % MODULUS
        return dict(buckets)

    def total(self):
        """Rows and digest of the whole table, as one printable pair."""
        digest = self.digest().values()
        return sum(count for count, _ in digest), f"{sum(total for _, total in digest) % MODULUS:032x}"


def hash_cells(cells):
    """128 bits over cells; no two different lists of cells give the same bytes to the hash."""
    hasher = hashlib.blake2b(digest_size=16)
    for cell in cells:
        if cell is None:
            hasher.update(b"\xff")
        else:
            data = cell.encode()
            hasher.update(b"\x01" + len(data).to_bytes(8, "big") + data)
    return hasher.digest()


def difference(source, lake, limit=10, place="lake"):
    """What differs between two tables, key by key; empty if they are equal. `place` is where the second one is."""
    if source.columns != lake.columns:
        return [f"columns: source {source.columns}, {place} {lake.columns}"]
    ours, theirs = source.digest(), lake.digest()
    bad = {bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket)}
    if not bad:
        return []
    lines = [f"{len(source.rows)} rows in the source, {len(lake.rows)} in the {place}; {len(bad)} buckets differ"]
    missing, extra = _multiset(source, bad), _multiset(lake, bad)
    for key in sorted(missing.keys() | extra.keys(), key=repr):
        if missing.get(key) != extra.get(key):
            lines.append(_explain(key, missing.get(key), extra.get(key), source.columns, place))
    if len(lines) == 1:
        lines.append("no key differs although digests do: the checker is broken")
    if len(lines) > limit + 1:
        lines[limit + 1 :] = [f"... and {len(lines) - limit - 1} keys more"]
    return lines


def _multiset(table, buckets):
    rows = defaultdict(Counter)
    for key, row in zip(table.keys_of(), table.rows, strict=True):
        if int.from_bytes(hash_cells(key)[:2], "big") % BUCKETS in buckets:
            rows[key][row] += 1
    return rows


def _explain(key, source, lake, columns, place):
    name = "key " + ", ".join(str(cell)[:40] for cell in key)
    if source is None:
        return f"{name}: only in the {place} ({lake.total()} rows)"
    if lake is None:
        return f"{name}: not in the {place}"
    if lake.total() != source.total():
        return f"{name}: {lake.total()} rows in the {place} instead of {source.total()}"
    (left,), (right,) = (source - lake).keys() or [()], (lake - source).keys() or [()]
    cells = [
        f"{column} is {_short(b)}, should be {_short(a)}"
        for column, a, b in zip(columns, left, right, strict=True)
        if a != b
    ]
    return f"{name}: {'; '.join(cells)}"


def _short(cell):
    if cell is None:
        return "NULL"
    return repr(cell) if len(cell) <= 40 else f"{cell[:20]!r}... ({len(cell)} characters)"
