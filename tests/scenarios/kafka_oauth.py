"""Capture and merge through a listener that wants a token (OAUTHBEARER). Tokens end after a few seconds and brokers ask for
another sooner; the daemons fetch them in time and go on. They outlive an endpoint that fails until no token is left. A client secret that is refused ends them with status 78 and the
option to look at, and `check` says so too; an endpoint that fails is waited for. No token is ever in a log."""

import time
from concurrent.futures import ThreadPoolExecutor

from harness import capture
from harness.daemon import PASSWORD
from harness.merge import Merge
from harness.tokens import TokenEndpoint

KAFKA = True
SECONDS = 70
CONFIG = 78
CLIENT = "walbrook"
LIFE = 10
SESSION = 6


def run(world):
    broker, address = world.broker_for_tokens(SESSION)
    endpoint = TokenEndpoint(world.port(), CLIENT, PASSWORD, LIFE)
    try:
        return follow(world, broker, address, endpoint)
    finally:
        endpoint.close()


def follow(world, broker, address, endpoint):
    server, shop = capture.shop(world, cluster=broker, options=login("sink.kafka", address, endpoint))
    merge = Merge(world, shop, login("source.kafka", address, endpoint))
    both = (shop.daemon, merge.daemon)
    server.sql("INSERT INTO shop.plain SELECT g, 'note ' || g, 0 FROM generate_series(1, 100) g")
    for daemon in both:
        status, output = daemon.command("check", str(daemon.file))
        assert status == 0, f"check ended with status {status}: {output}"
        daemon.start()
    merge.agree()
    processes = [daemon.process.pid for daemon in both]

    # Every token that they began with has ended when each has had two more: one process fetches one for all its clients.
    wanted = len(endpoint.given) + 2 * len(both)

    def another():
        server.sql("UPDATE shop.plain SET n = n + 1")
        return len(endpoint.given) >= wanted

    world.until(another, "tokens to be fetched anew")
    merge.agree()
    for daemon in both:
        assert "OAUTHBEARER token" not in daemon.log.read_text(errors="replace"), daemon.tail()
    given = len(endpoint.given)

    endpoint.status = 503
    for daemon in both:
        world.until(lambda d=daemon: "(status 503)" in d.tail(), "the daemon to name the status")
    world.until(lambda: time.time() > endpoint.end, "the last token to end")
    server.sql("UPDATE shop.plain SET n = n + 1")
    endpoint.status = None
    merge.agree()
    assert processes == [daemon.process.pid for daemon in both] and all(daemon.running() for daemon in both)

    for daemon in both:
        daemon.kill()
    held = world.confirmed(shop.daemon)
    endpoint.secret = "another one"
    server.sql("UPDATE shop.plain SET n = n + 1")
    for daemon in both:
        daemon.start()
    with ThreadPoolExecutor() as pool:
        list(pool.map(refused, both))
    for daemon in both:
        assert daemon.process.wait(timeout=30) == CONFIG, f"ended with status {daemon.process.returncode}"
        assert "refuses the client (status 401, invalid_client)" in daemon.tail()

    endpoint.secret, endpoint.status = PASSWORD, 503
    for daemon in both:
        daemon.start()
        world.until(lambda d=daemon: "(status 503)" in d.tail(3), "the daemon to name the status")
        assert daemon.running() and daemon.get("/readyz")[0] == 503
    assert world.confirmed(shop.daemon) == held
    endpoint.status = None
    for daemon in both:
        daemon.follows()
    rows = merge.agree()
    for daemon in both:
        daemon.stop()
        log = daemon.log.read_text(errors="replace")
        assert not any(token in log for token in endpoint.given), "a token is in the log"
    return f"{rows} rows agree, {given} tokens before the first fault; a wrong secret and a failing endpoint are told"


def login(section, address, endpoint):
    sasl = {
        "mechanism": "oauthbearer",
        "username": CLIENT,
        "password_env": "WALBROOK_TEST_PASSWORD",
        "token_url": endpoint.url,
        "scope": "kafka",
    }
    return {section: {"brokers": [address]}, f"{section}.sasl": sasl}


def refused(daemon):
    status, output = daemon.command("check", str(daemon.file))
    said = "refuses the client (status 401, invalid_client)"
    assert status == CONFIG and said in output and "sasl.username" in output, f"check ended with {status}: {output}"
