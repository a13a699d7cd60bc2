"""Rows that are larger than a message may be, under both policies that go on: the whole message is among the dead
letters or in a file, the topic names it in its place, whatever is killed meanwhile, and the merge knows that its table
is not complete. When the topic takes larger messages, a replay of the capture makes the lake what the source is."""

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from harness import schema, topics
from harness.capture import Capture
from harness.churn import Churn
from harness.kafka import PATIENCE
from harness.lake import LakeError
from harness.merge import Merge
from harness.topics import Form

KAFKA = True
SECONDS = 45
LARGEST = 100_000
# More than a topic takes that is made for messages of that size.
LARGE = 300_000
FEATURES = ("reinserts", "swaps")
TABLE = "shop.plain"


def run(world):
    server = world.server()
    schema.create_tables(server)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    merges = []
    for number, oversize in enumerate(({"oversize": "dead_letter"}, folder(world))):
        form = Form(f"k{world.rng.getrandbits(48):012x}", ("avro", "json")[number], exactly_once=bool(number))
        sink = {"message_bytes_max": f"{LARGEST}B", **oversize}
        shop = Capture(world, server, form, options={"sink.kafka": sink}).publish()
        merges.append(Merge(world, shop, {"source.kafka": {"dead_letters": "topic"}}))
    for merge in merges:
        merge.capture.daemon.start().follows()
        merge.daemon.start().follows()
    rounds = world.rounds(3)
    for number in range(rounds):
        write_large(world, server, number)
        churn.wait_for(world.rng.randint(5, 30))
        for merge in merges:
            world.rng.choice((merge.capture.daemon, merge.daemon)).kill()
        for merge in merges:
            for daemon in (merge.capture.daemon, merge.daemon):
                if not daemon.running():
                    daemon.start().follows()
    churn.stop()
    told = [mended(world, merge, rounds) for merge in merges]
    rows = sum(merge.agree() for merge in merges)
    for merge in merges:
        merge.daemon.stop()
        merge.capture.daemon.stop()
    where = f"{told[0]} messages among the dead letters and {told[1]} in files"
    return f"{where}, {rounds} rounds of kills; {rows} rows agree"


def folder(world):
    return {"oversize": "split_off", "oversize_folder": str(world.folder / "large")}


def write_large(world, server, number):
    """Inserts, updates and deletes rows that do not fit, and some that do."""
    base = 1_000_000 + number * 10
    large = f"repeat(md5(random()::text), {LARGE // 32})"
    server.sql(
        f"INSERT INTO {TABLE} (id, note) SELECT {base} + g, {large} FROM generate_series(0, 4) g",
        f"UPDATE {TABLE} SET n = n + 1 WHERE id = {base}",
        f"UPDATE {TABLE} SET note = {large} WHERE id = {base + 1}",
        f"DELETE FROM {TABLE} WHERE id = {base + 2}",
        f"UPDATE {TABLE} SET note = 'small again' WHERE id = {base + 3}",
    )
    if number:
        server.sql(f"UPDATE {TABLE} SET note = {large} WHERE id = {base - 10 + 3}")


def mended(world, merge, rounds):
    """The lake lacks what was too large, and has it after the replay; gives how many messages that were."""
    shop = merge.capture
    world.caught_up(shop.daemon)
    merge.stays_fresh()
    topic = shop.form.topic(TABLE)
    notices = {}
    for message in topics.read(shop.cluster, topic):
        if message.header("walbrook.control") == "oversize":
            assert message.key is None and message.value is None, "a notice looks like a change"
            assert int(message.header("walbrook.oversize.bytes")) > LARGEST and "walbrook.key" in dict(message.headers)
            # The reads of a slice have one token.
            notices[message.header("walbrook.seq"), dict(message.headers)["walbrook.key"]] = message
    # Rows that were small again or gone when the snapshot came do not count.
    assert len(notices) >= 3 * rounds, f"only {len(notices)} messages were too large"
    lies_there(world, shop, notices)
    world.until(lambda: merge.open_letters() >= len(notices), f"{len(notices)} notices among the dead letters")
    try:
        merge.compare()
    except LakeError:
        pass
    else:
        raise AssertionError("nothing is missing, so that nothing is tried")

    resource = ConfigResource(ResourceType.TOPIC, topic)
    takes = ConfigEntry("max.message.bytes", str(4 * LARGE), incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(takes)
    for future in shop.cluster.admin.incremental_alter_configs([resource]).values():
        future.result(PATIENCE)
    replay(shop.daemon)
    # What builds on them was put aside as well, and is sent again behind them.
    world.until(lambda: merge.replay() and merge.open_letters() == 0, "no open letter", every=1)
    return len(notices)


def replay(daemon):
    status, output = daemon.command("replay", str(daemon.file))
    assert status == 0, output
    return output


def lies_there(world, shop, notices):
    """Each notice says where the whole message is, and there it is."""
    notice = next(iter(notices.values()))
    dead = notice.header("walbrook.oversize.topic")
    if dead is not None:
        found = {(message.header("walbrook.seq"), message.key): message for message in topics.read(shop.cluster, dead)}
        assert set(notices) <= set(found), "a message is nowhere"
        assert all(len(found[place].value) > LARGEST for place in notices)
        return
    files = {world.folder / "large" / message.header("walbrook.oversize.file") for message in notices.values()}
    assert len(files) == len(notices), "two messages in one file"
    assert all(file.stat().st_size > LARGEST for file in files)
