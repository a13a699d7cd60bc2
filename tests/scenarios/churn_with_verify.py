"""A churn of everything at once ends with equal tables, by the checker and by `walbrook verify`; and `verify` sees a
difference that no log carries."""

from harness.churn import FEATURES, Churn

VERSIONS = (15, 18)
SECONDS = 90


def run(world):
    server, daemon = world.shop()
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(100)
    daemon.start().follows()
    churn.wait_for(1500 if not world.long else 30_000, timeout=600)
    churn.stop()
    rows = world.agree(daemon)
    assert daemon.verify(), f"the tables agree, but verify says that they differ\n{daemon.tail()}"
    # The churn may have emptied the table.
    server.sql("INSERT INTO shop.plain (id, note) VALUES (-77, 'there') ON CONFLICT DO NOTHING")
    # A rewrite of the whole table: new values, but no change in any log.
    server.sql("ALTER TABLE shop.plain ALTER note TYPE text USING note || '!'")
    world.caught_up(daemon)
    assert not daemon.verify(), (
        f"verify does not see a column that was rewritten behind the log's back\n{daemon.tail()}"
    )
    daemon.stop()
    return f"{churn.transactions()} transactions, {rows} rows agree, verify agrees, and it sees a planted difference"
