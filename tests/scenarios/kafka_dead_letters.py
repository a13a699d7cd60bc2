"""Messages that cannot be decoded: bytes that are no Avro, schemas that nobody has, halves of messages. The merge goes
on and is killed meanwhile; they lie among the dead letters byte for byte. Then its registry is the wrong one for a
while, so that real changes become letters. Sent again under the right one, and what never was a change given up, the
lake is what the source is; to send them once more harms nothing."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka import Producer

from harness import capture, topics
from harness.churn import FEATURES, Churn
from harness.kafka import PATIENCE
from harness.lake import LakeError
from harness.merge import Merge

KAFKA = True
SECONDS = 100
LETTER = "walbrook.letter"
NOBODY_HAS = (2_000_000_000).to_bytes(4, "big")


def run(world):
    server, shop = capture.shop(world)
    # What builds on a poisoned key would be a letter too.
    alone = [each for each in FEATURES if each not in ("key_changes", "toast")]
    churn = Churn(server, world.seed(), features=alone).start()
    churn.wait_for(100)
    merge = Merge(world, shop, {"source.kafka": {"dead_letters": "topic", "dead_letters_max": 5000}})
    shop.daemon.start().follows()
    merge.daemon.start().follows()
    merge.caught_up()
    dead = f"walbrook.dead_letters.{merge.daemon.name}"

    poison, kills = set(), world.rounds()
    for _ in range(kills):
        poison |= write_poison(world, shop)
        churn.wait_for(world.rng.randint(10, 60))
        merge.daemon.kill()
        merge.daemon.start().follows()
    churn.stop()
    rows = merge.agree()
    world.until(lambda: merge.open_letters() == len(poison), f"{len(poison)} dead letters")
    assert letters(shop, dead) == poison, "the dead letters are not what was written"
    status, output = merge.verify()
    assert status == 0 and f"letters  topic {shop.form.topic('shop.plain')}: " in output, f"{status}: {output}"
    # One transaction at a time from here on: each of its changes is a letter, and those are slow.
    churn = Churn(server, world.seed(), features=FEATURES)
    lost = under_a_wrong_registry(world, shop, merge, churn, len(poison))
    # Some of what comes now builds on what is missing.
    change(churn, 60)
    merge.daemon.start().follows()
    change(churn, 60)
    look = merge.replay("--dry-run")
    assert "dry run" in look and "schema" in look, look
    for call in range(2):
        merge.replay()
        if call == 0:
            merge.daemon.kill()
            merge.daemon.start().follows()
            change(churn, 20)
        merge.stays_fresh()
    churn.stop()

    # Real changes may build on what has their key and never was a change: they are sent again when that is given up.
    given_up = lambda: "no dead letter is left" in merge.replay("--discard") and merge.open_letters() == 0  # noqa: E731
    world.until(given_up, "no open letter", every=1)
    rows += merge.agree()
    merge.replay("--again")
    merge.stays_fresh()
    assert merge.open_letters() == 0
    merge.agree()
    merge.daemon.stop()
    shop.daemon.stop()
    return (
        f"{len(poison)} messages that are none, {kills} kills, {lost} changes that were letters; "
        f"{rows} rows agree"
    )


def write_poison(world, shop):
    """Writes messages that nobody can decode into every topic; gives them as they are."""
    producer = Producer(shop.cluster.client(**{"linger.ms": 5}))
    written = set()
    for table in ("shop.plain", "shop.pair"):
        messages = [message for message in topics.read(shop.cluster, shop.form.topic(table)) if message.value]
        good = world.rng.choice(messages)
        headers = (*good.headers, ("note", bytes(world.rng.randbytes(9))))
        for key, value, added in (
            (b"\xff\x00key", world.rng.randbytes(40), (("empty", b""), ("twice", b"1"), ("twice", b"\xfe"))),
            (good.key, b"\x00" + NOBODY_HAS + good.value[5:], headers),
            (good.key, good.value[: len(good.value) * 2 // 3], headers),
            (None, b"\x00\x01", ()),
        ):
            partition = world.rng.randrange(4)
            added = (*added, ("mark", world.rng.randbytes(8)))
            producer.produce(shop.form.topic(table), value, key, partition, headers=list(added))
            written.add((shop.form.topic(table), partition, key, value, added))
    assert producer.flush(PATIENCE) == 0
    return written


def letters(shop, dead):
    """The dead letters without what is said of them; one that is there twice counts once."""
    found = set()
    for message in topics.read(shop.cluster, dead):
        assert message.header(f"{LETTER}.reason") in ("bytes", "schema"), message.headers
        headers = tuple((name, value) for name, value in message.headers if not name.startswith(LETTER))
        place = message.header(f"{LETTER}.topic"), int(message.header(f"{LETTER}.partition"))
        found.add((*place, message.key, message.value, headers))
    return found


def under_a_wrong_registry(world, shop, merge, churn, known):
    """The merge is started with a registry that has no schema, and killed; gives how many changes became letters."""
    registry = Empty(world.port())
    text = merge.daemon.file.read_text()
    merge.daemon.stop()
    merge.daemon.file.write_text(text.replace(shop.schemas.url, registry.url))
    merge.daemon.start().follows()
    change(churn, 25)
    world.until(lambda: merge.open_letters() > known + 20, "letters of real changes")
    merge.daemon.kill()
    lost = still_missing(merge)
    merge.daemon.start().follows()
    world.until(lambda: merge.open_letters() >= known + 20, "the same letters after a restart")
    merge.daemon.stop()
    try:
        merge.compare()
    except LakeError:
        pass
    else:
        raise AssertionError("nothing is missing, so that nothing is tried")
    registry.stop()
    merge.daemon.file.write_text(text)
    return lost


def change(churn, transactions):
    for _ in range(transactions):
        churn.sessions[0].transaction()


def still_missing(merge):
    return sum("put aside" in line for line in merge.daemon.log_lines())


class Empty:
    """A registry that has nothing."""

    def __init__(self, port):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                found = self.path.endswith("/subjects")
                body = b"[]" if found else b'{"error_code":40403,"message":"no schema"}'
                if "/subjects/" in self.path:
                    body = b'{"error_code":40401,"message":"no subject"}'
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.url = f"http://127.0.0.1:{port}"
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
