"""The broker and the registry that many tests use at once: each keeps to topics of its own."""

from concurrent.futures import ThreadPoolExecutor

from .kafka import Broker
from .registry import Registry
from .server import free_port

KAFKA, REGISTRY = "WALBROOK_TEST_KAFKA", "WALBROOK_TEST_REGISTRY"


class Shared:
    """One broker and one registry, which start at the same time as whatever else is started."""

    def __init__(self, folder):
        self._broker = Broker(folder / "kafka", free_port(), free_port())
        self._registry = Registry(folder / "registry", free_port(), free_port())
        self._pool = ThreadPoolExecutor(2)
        self._starts = [self._pool.submit(each.start) for each in (self._broker, self._registry)]

    def environment(self):
        """Waits until both answer; gives the variables by which tests find them."""
        for start in self._starts:
            start.result()
        return {KAFKA: self._broker.address, REGISTRY: self._registry.url}

    def kill(self):
        """Ends both."""
        for each in (self._broker, self._registry):
            each.kill()
        self._pool.shutdown()
        # One that came up meanwhile.
        for each in (self._broker, self._registry):
            each.kill()
