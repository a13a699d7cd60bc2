"""An append table that is fed from topics gets each change once, as one row, over kills of the capture and of the merge,
in the snapshot and while changes flow: nothing twice, nothing left out, though its topic has several partitions."""

import time

from harness import capture, lake
from harness.churn import FEATURES, Churn
from harness.merge import Merge

KAFKA = True
SECONDS = 60
TABLE = "shop.marker"
ROWS = 20_000


def run(world):
    server, shop = capture.shop(world)
    # Sessions that the churn does not have.
    server.sql(f"INSERT INTO {TABLE} SELECT 1000 + g % 7, g, 0 FROM generate_series(1, {ROWS}) g")
    merge = Merge(world, shop, {f'sink.lake.table."{TABLE}"': {"mode": "append"}})
    churn = Churn(server, world.seed(), features=FEATURES).start()
    early = merge.kill_in_snapshot()
    follow(shop.daemon, merge.daemon)
    kills = world.rounds()
    rounds = [*[(merge.daemon,)] * kills, *[(shop.daemon,)] * kills, (merge.daemon, shop.daemon)]
    world.rng.shuffle(rounds)
    for daemons in rounds:
        churn.wait_for(world.rng.randint(5, 80))
        server.sql(f"UPDATE {TABLE} SET seed = seed + 1 WHERE n % 97 = {world.rng.randrange(97)} AND session >= 1000")
        time.sleep(world.rng.uniform(0, 0.4))
        for daemon in daemons:
            daemon.kill()
        follow(*daemons)
    server.sql(f"DELETE FROM {TABLE} WHERE n % 31 = 0 AND session >= 1000")
    server.sql(f"UPDATE {TABLE} SET n = -n WHERE n % 37 = 0 AND session >= 1000")
    churn.stop()
    merge.caught_up()
    rows, ops = check(server, merge, shop)
    tables = [table for table in shop.tables if table != TABLE]
    rows += lake.compare(server, merge.daemon.warehouse, tables)
    merge.daemon.stop()
    shop.daemon.stop()
    assert early > 0, "no kill met the snapshot"
    return f"{early} kills in the snapshot, {2 * kills + 1} later; {ops} each once, {rows} rows agree"


def check(server, merge, shop):
    """Played back, the table is what the source is; and it has the changes that the topic has, each once."""
    ask = lambda query: lake.scalar(merge.daemon.warehouse, TABLE, query)  # noqa: E731
    assert ask("SELECT count(*) - count(DISTINCT _seq) FROM {t} WHERE _op <> 'r'") == 0, "a change stands there twice"
    twice = "SELECT count(*) - count(DISTINCT (session, n, _seq)) FROM {t} WHERE _op = 'r'"
    assert ask(twice) == 0, "a read stands there twice"
    changes = shop.checked(TABLE).changes
    ended = {}
    for change in changes:
        if change.op == "snapshot_end":
            ended.setdefault(change.seq, set()).add(change.raw.partition)
    slices = {int(seq) for seq in ask("SELECT list(DISTINCT _seq::text) FROM {t} WHERE _op = 'r'")}
    # A capture that is killed before its checkpoint reads again what it has read whole.
    assert slices == {seq for seq, partitions in ended.items() if len(partitions) == 4}, "other slices than have ended"
    rows = f"SELECT * FROM {{t}} WHERE _seq::text::hugeint >= {max(slices)}"
    last = f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY session, n ORDER BY _seq DESC) = 1"
    live = f"SELECT count(*), coalesce(sum(seed), 0) FROM ({last}) WHERE _op <> 'd'"
    played = f"SELECT [count, sum] FROM ({live}) AS sums(count, sum)"
    source = server.sql(f"SELECT count(*), coalesce(sum(seed), 0) FROM {TABLE}")[0]
    assert [int(value) for value in ask(played)] == [int(value) for value in source], "it does not play back to the source"
    told = {change.seq for change in changes if change.op in ("c", "u", "d")}
    held = ask("SELECT count(DISTINCT _seq) FROM {t} WHERE _op <> 'r'")
    assert held == len(told), f"{held} changes in the table, {len(told)} in the topic"
    ops = {op: ask(f"SELECT count(*) FROM {{t}} WHERE _op = '{op}'") for op in "rcud"}
    assert all(ops.values()), f"not every operation was tried: {ops}"
    return sum(ops.values()), ", ".join(f"{count} {op}" for op, count in ops.items())


def follow(*daemons):
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.follows()
