"""A full hivemind DHT node that stores and reads on request."""

import threading
import time

import loopback
from hivemind.dht import DHT
from hivemind.utils.timed_storage import get_dht_time

# Between two looks at a value that is awaited.
POLL_PERIOD_S = 0.2


class DhtPeer:
    in_order = ("start",)

    def __init__(self):
        self._dht = None
        self._reachability = None
        # The pipe to the DHT process takes one writer at a time.
        self._pipe = threading.Lock()

    def start(self, initial_peers, reachability=False):
        """Joins through `initial_peers`, or starts a swarm if there is none; answers its own addresses."""
        self._dht = DHT(
            initial_peers=loopback.check_addresses(initial_peers) or None,
            start=True,
            host_maddrs=[loopback.LISTEN_ADDRESS],
        )
        if reachability:
            from petals.server.reachability import ReachabilityProtocol

            self._reachability = ReachabilityProtocol.attach_to_dht(self._dht, await_ready=True)
        return {
            "addresses": [str(address) for address in self._dht.get_visible_maddrs()],
            "peer_id": self._dht.peer_id.to_base58(),
        }

    def store(self, key, value, ttl_s, subkey=None):
        """Stores one plain or subkey value; answers whether the swarm took it."""
        with self._pipe:
            future = self._dht.store(
                key, value, expiration_time=get_dht_time() + ttl_s, subkey=subkey, return_future=True
            )
        return bool(future.result())

    def get(self, key, latest=True):
        """Answers null, {"value": …} or {"subkeys": {name: value}}."""
        with self._pipe:
            future = self._dht.get(key, latest=latest, return_future=True)
        return describe(future.result())

    def await_value(self, key, expected, patience_s):
        """Reads `key` until it equals `expected` (as `get` would answer it) or patience ends; answers the last reading."""
        give_up = time.monotonic() + patience_s
        while True:
            found = self.get(key)
            if found == expected or time.monotonic() > give_up:
                return found
            time.sleep(POLL_PERIOD_S)

    def close(self):
        if self._reachability is not None:
            self._reachability.shutdown()
        if self._dht is not None:
            self._dht.shutdown()


def describe(found):
    if found is None:
        return None
    if isinstance(found.value, dict) and all(hasattr(entry, "expiration_time") for entry in found.value.values()):
        return {"subkeys": {str(name): entry.value for name, entry in sorted(found.value.items())}}
    return {"value": found.value}
