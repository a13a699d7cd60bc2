"""Another server answers at the same address, with the same tables and names: `gap`, told by its identifier."""

from harness import gap, schema
from harness.server import template

SECONDS = 40


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.stop()
    server.restore_data(template(server.version, world.folder / "another"))
    server.start()
    schema.create(server, daemon.publication)
    server.sql(
        "INSERT INTO shop.plain SELECT g, 'another server', 0 FROM generate_series(1, 500) g",
        f"SELECT pg_create_logical_replication_slot('{daemon.slot}', 'pgoutput')",
    )
    body = gap.stands(world, daemon)
    rows = gap.accept(world, daemon)
    return f"gap ({body}); after accept {rows} rows agree, and the first server's are swept"
