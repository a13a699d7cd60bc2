"""The tables that scenarios and churn share: one for each way in which a table can be hard to follow.

plain   bigint key                    wide   one column per type             pair   key of two columns, large values
swap    deferrable key, identity FULL full   identity FULL, large values     marker one row per churn transaction
fence   one row per wait              canary is a cell value that no log may ever show
"""

from .daemon import PASSWORD, ROLE

SCHEMA = "shop"
TABLES = tuple(f"{SCHEMA}.{name}" for name in ("plain", "wide", "pair", "swap", "full", "marker", "fence"))

# Column of `wide` -> its SQL type.
WIDE = {
    "flag": "boolean",
    "small": "smallint",
    "middle": "integer",
    "large": "bigint",
    "single": "real",
    "double": "double precision",
    "money": "numeric(20,6)",
    "huge": "numeric(38,10)",
    "exact": "numeric",
    "words": "text",
    "short": "varchar(40)",
    "padded": "char(5)",
    "raw": "bytea",
    "document": "json",
    "tree": "jsonb",
    "ident": "uuid",
    "day": "date",
    "clock": "time",
    "local": "timestamp",
    "instant": "timestamptz",
    "second": "timestamptz(0)",
    "mood": f"{SCHEMA}.mood",
    "email": f"{SCHEMA}.email",
    "address": "inet",
    "bits": "bit(5)",
    "span": "int4range",
    "numbers": "integer[]",
    "labels": "text[]",
    "prices": "numeric(10,2)[]",
    "moments": "timestamptz[]",
}

_STATEMENTS = (
    f"CREATE SCHEMA {SCHEMA}",
    f"CREATE TYPE {SCHEMA}.mood AS ENUM ('sad', 'ok', 'happy, \"very\"')",
    f"CREATE DOMAIN {SCHEMA}.email AS varchar(60) CHECK (value LIKE '%@%')",
    f"""CREATE TABLE {SCHEMA}.plain (id bigint PRIMARY KEY, note text, n integer NOT NULL DEFAULT 0,
        amount numeric(12,2))""",
    f"CREATE TABLE {SCHEMA}.wide (id integer PRIMARY KEY, {', '.join(f'{n} {t}' for n, t in WIDE.items())})",
    f"""CREATE TABLE {SCHEMA}.pair (payload text, number integer, region text, n integer NOT NULL DEFAULT 0,
        PRIMARY KEY (region, number))""",
    f"ALTER TABLE {SCHEMA}.pair ALTER payload SET STORAGE EXTERNAL",
    f"CREATE TABLE {SCHEMA}.swap (id integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, what text, n integer)",
    f"ALTER TABLE {SCHEMA}.swap REPLICA IDENTITY FULL",
    f"CREATE TABLE {SCHEMA}.full (id integer PRIMARY KEY, payload text, n integer NOT NULL DEFAULT 0)",
    f"ALTER TABLE {SCHEMA}.full REPLICA IDENTITY FULL",
    f"ALTER TABLE {SCHEMA}.full ALTER payload SET STORAGE EXTERNAL",
    f"CREATE TABLE {SCHEMA}.marker (session integer, n integer, seed bigint, PRIMARY KEY (session, n))",
    f"CREATE TABLE {SCHEMA}.fence (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
)


def create(server, publication, tables=TABLES, database="postgres"):
    """Makes the tables, and a role that may do no more than walbrook needs: read them, and stream the publication."""
    create_tables(server, database)
    grant(server, publication, tables, database)


def create_tables(server, database="postgres"):
    """Makes the tables alone."""
    server.sql(*_STATEMENTS, database=database)


def grant(server, publication, tables, database="postgres"):
    """Makes the role, lets it read the tables' schemas, and makes the publication as their owner would."""
    schemas = sorted({table.split(".")[0] for table in tables})
    server.sql(
        f"""DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{PASSWORD}';
            END IF; END $$""",
        *(f"GRANT USAGE ON SCHEMA {schema} TO {ROLE}" for schema in schemas),
        # A grant takes no lock, and fails beside a TRUNCATE of a churn that runs already.
        *(f"BEGIN; LOCK {table} IN ACCESS SHARE MODE; GRANT SELECT ON {table} TO {ROLE}; COMMIT" for table in tables),
        f"CREATE PUBLICATION {publication} FOR TABLE {', '.join(tables)}",
        database=database,
    )
