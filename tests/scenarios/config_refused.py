"""A wrong configuration ends the daemon with status 78, names the key, and never shows a value, a secret maybe."""

from harness.daemon import PASSWORD

SECONDS = 10


def run(world):
    # Tables that `check` has nothing to say about: every update carries the whole row.
    server, daemon = world.shop(tables=("shop.full", "shop.swap", "shop.marker", "shop.fence"))
    good = daemon.file.read_text()
    cases = {
        "an unknown key": (good.replace("host = ", "hots = "), "hots"),
        "a bare number for a duration": (good.replace('"300ms"', "300"), "commit_interval"),
        "a wrong type": (good.replace('port = ', 'port = "x"  # '), "port"),
        "no TOML": (good + "\n[[[", "walbrook.toml"),
        "a password in the file": (
            good.replace("[source.postgres]", f'[source.postgres]\npassword = "{PASSWORD}"'), "password"),
    }  # fmt: skip
    for what, (text, named) in cases.items():
        assert text != good, what
        daemon.file.write_text(text)
        status, output = daemon.command("run", str(daemon.file))
        assert status == 78, f"{what}: status {status}: {output}"
        assert named in output, f"{what}: {named} is not named: {output}"
    daemon.file.write_text(good)
    for what, statement in {
        "a password that is wrong": "ALTER ROLE walbrook PASSWORD 'other'",
        "a role without REPLICATION": "ALTER ROLE walbrook PASSWORD '" + PASSWORD + "' NOREPLICATION",
    }.items():
        server.sql(statement)
        status, output = daemon.command("check", str(daemon.file))
        assert status != 0, f"{what}: check finds nothing wrong: {output}"
    server.sql("ALTER ROLE walbrook REPLICATION")
    status, output = daemon.command("check", str(daemon.file))
    assert status == 0, f"check refuses what works: {output}"
    assert server.value("SELECT count(*) FROM pg_replication_slots") == 0, "a refused start left a slot"
    daemon.start().follows()
    world.agree(daemon)
    daemon.stop()
    return f"status 78 for {', '.join(cases)}; check tells wrong rights from right ones"
