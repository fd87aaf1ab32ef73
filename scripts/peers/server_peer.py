"""A Petals server that holds one span of a local model."""

import threading

import loopback
import petals
import wire_record
from petals.server.server import Server
from petals.utils.convert_block import QuantType

# Room for a few test sessions as long as the models allow.
CACHE_TOKENS = 4096
START_POLL_S = 0.1
STOP_PATIENCE_S = 60


class ServerPeer:
    in_order = ("start", "contact")

    def __init__(self):
        self._server = None
        self._thread = None
        self._record = None

    def start(self, model, prefix, blocks, initial_peers, dtype="float32", update_period_s=15, record=None):
        """Serves `blocks` ("first:end") of `model` under `prefix`; returns once the server is online.

        With `record`, the path of a file, `recorded` tells how hidden states travelled.
        """
        self._record = record
        if record is not None:
            wire_record.record_to(record)
        self._server = Server(
            initial_peers=loopback.check_addresses(initial_peers),
            dht_prefix=prefix,
            converted_model_name_or_path=model,
            block_indices=blocks,
            attn_cache_tokens=CACHE_TOKENS,
            device="cpu",
            host_maddrs=[loopback.LISTEN_ADDRESS],
            num_handlers=1,
            quant_type=QuantType.NONE,
            skip_reachability_check=True,
            startup_timeout=STOP_PATIENCE_S,
            throughput=10.0,
            torch_dtype=dtype,
            update_period=update_period_s,
            use_auto_relay=False,
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while self._server.module_container is None:
            if not self._thread.is_alive():
                raise RuntimeError("the server ended while it started")
            threading.Event().wait(START_POLL_S)
        self._server.module_container.ready.wait()

    def contact(self):
        """Where the server can be reached; waits until it is online."""
        return {
            "addresses": [str(address) for address in self._server.dht.get_visible_maddrs()],
            "peer_id": self._server.dht.peer_id.to_base58(),
            "version": petals.__version__,
        }

    def recorded(self):
        """Every hidden-state tensor of every inference session so far, see wire_record.py."""
        return wire_record.read(self._record)

    def close(self):
        if self._server is None:
            return
        # First the announcement that it is offline and its handlers, then the DHT that they use.
        self._server.stop.set()
        self._thread.join(STOP_PATIENCE_S)
        self._server.shutdown()
