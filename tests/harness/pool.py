"""Values for churn: per SQL type a pool of those that break things, and random ones.

A value is the text that PostgreSQL reads; `None` is NULL. The pools hold only values that the lake can hold: what it
cannot (an infinite date, say) has a scenario of its own.
"""

import uuid

from .daemon import CELL_CANARY

TEXTS = [
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    "\\.",
    "a\tb",
    "line\nbreak\r\n",
    'quote\'s "double"',
    "back\\slash",
    "{}",
    "{a,b}",
    "Zürich",
    "数据湖",
    "😀👩‍👩‍👧",
    "e\u0301",
    "\u202eright to left",
    "%s $1 :x",
    "x" * 300,
    CELL_CANARY,
]

POOLS = {
    "boolean": ["true", "false"],
    "smallint": ["0", "-1", "32767", "-32768"],
    "integer": ["0", "-1", "2147483647", "-2147483648"],
    "bigint": ["0", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993"],
    "real": ["0", "-0", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity", "0.1", "16777217"],
    "double precision": ["0", "-0", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "0.1", "1e16"],
    "numeric(20,6)": ["0", "-0.000001", "99999999999999.999999", "-99999999999999.999999", "1.5"],
    "numeric(38,10)": ["0", "9999999999999999999999999999.9999999999", "-0.0000000001"],
    "numeric": ["0", "0.00", "1e-300", "1e300", "NaN", "Infinity", "-Infinity", "-123456789012345678901234567890.5"],
    "text": TEXTS,
    "varchar(40)": [text for text in TEXTS if len(text) <= 40],
    "char(5)": ["", "a", "ab c", "äöü"],
    "bytea": ["\\x", "\\x00", "\\x00ff5c", "\\x" + "ab" * 100],
    "json": ['{"a": 1, "a": 2}', "[1, 1e400, 123456789012345678901234567890]", '"\\u00e9"', "null", ' {"sp" : [ ] } '],
    "jsonb": ['{"b": 1, "a": {"c": null}}', "[]", '"text"', "null", "1.10"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "date": ["1970-01-01", "1969-12-31", "2024-02-29", "0001-01-01", "9999-12-31", "1582-10-10", "1900-02-28"],
    "time": ["00:00:00", "24:00:00", "23:59:59.999999", "12:34:56.1"],
    "timestamp": [
        "1970-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "2024-03-31 02:30:00",
        "9999-12-31 23:59:59.999999",
    ],
    "timestamptz": [
        "1970-01-01 00:00:00+00",
        "2024-03-31 02:30:00+02",
        "2024-10-27 02:30:00+01",
        "1883-11-18 12:00:00+00",
    ],
    "timestamptz(0)": ["2024-06-30 23:59:59.6+00", "2024-01-01 00:00:00+14"],
    "shop.mood": ["sad", "ok", 'happy, "very"'],
    "shop.email": ["a@b", "ü@example.org"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "::1", "::ffff:1.2.3.4/96"],
    "bit(5)": ["00000", "10101", "00001"],
    "int4range": ["empty", "[1,5)", "(,3]", "[7,)"],
    "integer[]": ["{}", "{NULL}", "{1,NULL,-2147483648}"],
    "text[]": ["{}", '{"a,b","NULL",NULL,"q\\"\\\\","{x}",""}', "{one}"],
    "numeric(10,2)[]": ["{}", "{1.10,NULL,-99999999.99}"],
    "timestamptz[]": ["{}", '{"2024-03-31 02:30:00+02",NULL}'],
}


def text(rng, size_max=60):
    """Random text of a size whose logarithm is uniform, so that large ones are rare."""
    size = int(2 ** rng.uniform(0, size_max.bit_length()))
    return "".join(rng.choice("abcdefghij klmnopqrst äöü'\"\\\t\n€😀") for _ in range(min(size, size_max)))


def large(rng, size_max=60_000):
    """Incompressible text, mostly beyond the size at which PostgreSQL moves a value out of its row (2 kB)."""
    size = int(2 ** rng.uniform(9, size_max.bit_length()))
    return rng.randbytes(min(size, size_max) // 2).hex()


_RANDOM = {
    "boolean": lambda rng: rng.choice(["true", "false"]),
    "smallint": lambda rng: str(rng.randint(-32768, 32767)),
    "integer": lambda rng: str(rng.randint(-(2**31), 2**31 - 1)),
    "bigint": lambda rng: str(rng.randint(-(2**63), 2**63 - 1)),
    "real": lambda rng: repr(rng.gauss(0, 1) * 10 ** rng.randint(-30, 30)),
    "double precision": lambda rng: repr(rng.gauss(0, 1) * 10.0 ** rng.randint(-300, 300)),
    "numeric(20,6)": lambda rng: f"{rng.randint(-(10**19), 10**19)}e-6",
    "numeric(38,10)": lambda rng: f"{rng.randint(-(10**37), 10**37)}e-10",
    "numeric": lambda rng: f"{rng.randint(-(10**40), 10**40)}e{rng.randint(-50, 20)}",
    "text": text,
    "varchar(40)": lambda rng: text(rng, 40),
    "bytea": lambda rng: "\\x" + rng.randbytes(rng.randint(0, 64)).hex(),
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    "date": lambda rng: f"{rng.randint(1, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    "time": lambda rng: (
        f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}.{rng.randint(0, 999999):06}"
    ),
    "timestamp": lambda rng: f"{_RANDOM['date'](rng)} {_RANDOM['time'](rng)}",
    "timestamptz": lambda rng: f"{rng.randint(1900, 2100)}-06-15 {_RANDOM['time'](rng)}+{rng.randint(0, 14):02}",
    "integer[]": lambda rng: "{" + ",".join(str(rng.randint(-9, 9)) for _ in range(rng.randint(0, 8))) + "}",
}


def value(rng, sql_type):
    """A value of the type: NULL, one from the pool, or a random one."""
    if rng.random() < 0.15:
        return None
    random = _RANDOM.get(sql_type)
    if random and rng.random() < 0.5:
        return random(rng)
    return rng.choice(POOLS[sql_type])
