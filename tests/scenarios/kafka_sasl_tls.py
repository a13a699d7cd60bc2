"""Capture and merge through a listener that wants a password (SCRAM-SHA-512) and a client certificate, over TLS. Neither
goes on with a password that is refused: both say which option to look at, acknowledge nothing, and go on by themselves
when it is right again. `check` says so too, and tells a missing certificate and a foreign authority from it."""

from concurrent.futures import ThreadPoolExecutor

from harness import capture
from harness.daemon import PASSWORD
from harness.merge import Merge
from harness.tls import Authority

KAFKA = True
SECONDS = 60
CONFIG = 78
USER = "walbrook"


def run(world):
    authority, foreign = Authority(world.folder / "tls"), Authority(world.folder / "tls", "foreign")
    broker, address = world.secure_broker(authority)
    broker.set_password(USER, PASSWORD)
    certificate, key = authority.certificate("client")
    tls = {"mode": "verify-full", "ca_file": str(authority.ca), "cert_file": str(certificate), "key_file": str(key)}
    server, shop = capture.shop(world, cluster=broker, options=secure("sink.kafka", address, tls))
    merge = Merge(world, shop, secure("source.kafka", address, tls))
    both = (shop.daemon, "sink.kafka.sasl"), (merge.daemon, "source.kafka.sasl")
    server.sql("INSERT INTO shop.plain SELECT g, 'note ' || g, 0 FROM generate_series(1, 100) g")
    for daemon, _ in both:
        status, output = daemon.command("check", str(daemon.file))
        assert status == 0, f"check ended with status {status}: {output}"
        daemon.start()
    merge.agree()

    broker.set_password(USER, "another one")
    for daemon, _ in both:
        daemon.kill()
    held = world.confirmed(shop.daemon)
    server.sql("UPDATE shop.plain SET n = n + 1")
    for daemon, _ in both:
        daemon.start()
    # What is refused takes the time that brokers have to answer: all at once.
    others = (without_certificate(tls), "check sink.kafka.tls"), (tls | {"ca_file": str(foreign.ca)}, "check sink.kafka.tls")
    checks = [(daemon, f"check {option}") for daemon, option in both]
    for options, said in others:
        options = secure("sink.kafka", address, options)
        checks.append((capture.Capture(world, server, shop.form, options=options, cluster=broker).daemon, said))
    with ThreadPoolExecutor() as pool:
        list(pool.map(refused, checks))
    for daemon, option in both:
        world.until(lambda d=daemon, option=option: f"check {option}" in d.tail(), f"the daemon to name {option}")
        assert daemon.running() and daemon.get("/readyz")[0] == 503
    assert world.confirmed(shop.daemon) == held
    broker.set_password(USER, PASSWORD)
    for daemon, _ in both:
        daemon.follows()
    rows = merge.agree()
    for daemon, _ in both:
        daemon.stop()
    return f"{rows} rows agree; a wrong password, no certificate and a foreign authority are told"


def secure(section, address, tls):
    sasl = {"mechanism": "scram-sha-512", "username": USER, "password_env": "WALBROOK_TEST_PASSWORD"}
    return {section: {"brokers": [address]}, f"{section}.tls": tls, f"{section}.sasl": sasl}


def without_certificate(tls):
    return {name: tls[name] for name in ("mode", "ca_file")}


def refused(check):
    daemon, said = check
    status, output = daemon.command("check", str(daemon.file))
    assert status == CONFIG and said in output, f"check ended with status {status}, not naming {said!r}: {output}"
