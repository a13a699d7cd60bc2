"""The registry is away: what has a schema flows on; a new version of a table waits for it, and the source with them;
nothing is lost, and no table stops. The daemon also starts without it, and waits."""

from harness import capture
from harness.churn import Churn

KAFKA = True
SECONDS = 35


def run(world):
    registry = world.registry()
    server, shop = capture.shop(world, schemas=registry)
    server.sql("INSERT INTO shop.plain SELECT g, 'note ' || g, 0 FROM generate_series(1, 100) g")
    # Each table has a message, so each schema is known.
    churn = Churn(server, world.seed(), features=("key_changes", "reinserts", "swaps"))
    for _ in range(300):
        churn.sessions[0].transaction()
    shop.daemon.start().follows()
    for _ in range(300):
        churn.sessions[0].transaction()
    world.caught_up(shop.daemon)
    pid = shop.daemon.process.pid

    registry.kill()
    server.sql("UPDATE shop.plain SET n = n + 1 WHERE id <= 100")
    world.caught_up(shop.daemon)
    waits(world, server, shop, "one")
    assert shop.daemon.process.pid == pid, "a lost registry is no reason to end"
    registry.start()
    world.caught_up(shop.daemon)

    registry.freeze()
    waits(world, server, shop, "two")
    registry.thaw()
    world.caught_up(shop.daemon)

    registry.kill()
    waits(world, server, shop, "three")
    shop.daemon.kill()
    shop.daemon.start()
    held = world.confirmed(shop.daemon)
    world.until(lambda: shop.daemon.get("/livez")[0] == 200, "the daemon to live")
    assert world.confirmed(shop.daemon) == held
    registry.start()
    rows, messages = shop.agree()
    shop.daemon.stop()
    return (
        f"a version of a table waited for a registry that was down, hung, and down at the start; {rows} rows agree, "
        f"{messages} messages"
    )


def waits(world, server, shop, column):
    """Adds a column and a row: the source must not be acknowledged past it while the registry is away."""
    server.sql(
        f"ALTER TABLE shop.plain ADD {column} text",
        f"INSERT INTO shop.plain (id, {column}) SELECT coalesce(max(id), 0) + 1, 'waits' FROM shop.plain",
    )
    wall = world.lsn(server)
    server.sql("INSERT INTO shop.full SELECT coalesce(max(id), 0) + 1, 'behind it' FROM shop.full")
    world.until(lambda: refused(shop), "the daemon to say that the registry is away")
    assert world.confirmed(shop.daemon) < wall, "a change was acknowledged whose schema nobody has"
    assert shop.daemon.get("/livez")[0] == 200, "a lost registry is no reason to restart the daemon"


def refused(shop):
    return any("registry" in line and ("WARN" in line or "ERROR" in line) for line in shop.daemon.log_lines()[-20:])
