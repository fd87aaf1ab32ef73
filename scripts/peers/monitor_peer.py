"""Reads a swarm as Petals' health monitor does: the model registry, every block record, every server.

Source: health.petals.dev reads `_petals.models`, all block keys with `latest`, and asks each server for
`rpc_info` with an empty uid; reachability is asked through `ReachabilityProtocol.rpc_check`.
"""

import asyncio
import math
import time
from functools import partial

import loopback
from hivemind import MSGPackSerializer, PeerID
from hivemind.dht import DHT
from hivemind.proto import dht_pb2, runtime_pb2
from petals.data_structures import ModelInfo, ServerInfo, ServerState
from petals.server.handler import TransformerConnectionHandler
from petals.server.reachability import ReachabilityProtocol
from petals.utils.dht import compute_spans, get_remote_module_infos

REGISTRY_KEY = "_petals.models"
# The monitor itself gives a server 5 s; a busy test machine gets more.
CALL_TIMEOUT_S = 30
POLL_PERIOD_S = 0.2


class MonitorPeer:
    # The pipe to the DHT process takes one writer at a time.
    in_order = ("start", "view", "info", "await_info", "await_state", "check")

    def __init__(self):
        self._dht = None

    def start(self, initial_peers):
        self._dht = DHT(
            initial_peers=loopback.check_addresses(initial_peers), start=True, client_mode=True, num_workers=32
        )

    def view(self):
        """Every registered model with its servers, as announced, and every entry that a Petals reader rejects."""
        rejected = []
        registry = self._entries(REGISTRY_KEY, ModelInfo.from_dict, rejected)
        return {"models": {name: self._model(name, info, rejected) for name, info in registry.items()}, "rejected": rejected}

    def info(self, peer_id):
        """`rpc_info` with an empty uid."""
        return self._dht.run_coroutine(partial(_rpc_info, peer_id=PeerID.from_base58(peer_id)))

    def await_info(self, peer_id, expected, patience_s):
        """Asks until the answer has every entry of `expected` or patience ends; answers the last one."""
        return poll(lambda: self.info(peer_id), lambda info: expected.items() <= info.items(), patience_s)

    def await_state(self, model, peer_id, state, patience_s):
        """Reads a server's records until they say `state` or patience ends; answers what they say."""
        return poll(lambda: self._state(model, peer_id), lambda found: found == state, patience_s)

    def check(self, peer_id, about):
        """Whether `peer_id` says, by `rpc_check`, that the peer `about` can be reached."""
        return self._dht.run_coroutine(
            partial(_rpc_check, peer_id=PeerID.from_base58(peer_id), about=PeerID.from_base58(about))
        )

    def close(self):
        if self._dht is not None:
            self._dht.shutdown()

    def _state(self, model, peer_id):
        server = self.view()["models"].get(model, {"servers": {}})["servers"].get(peer_id)
        return server and server["state"]

    def _model(self, name, info, rejected):
        uids = [f"{name}.{index}" for index in range(info.num_blocks)]
        raw = {uid: self._entries(uid, ServerInfo.from_tuple, rejected) for uid in uids}
        modules = get_remote_module_infos(self._dht, uids, latest=True)
        spans = compute_spans(modules, min_state=ServerState.OFFLINE)
        return {
            "num_blocks": info.num_blocks,
            "repository": info.repository,
            "servers": {peer.to_base58(): _describe(span) for peer, span in spans.items()},
            "servers_of_block": [sorted(raw[uid]) for uid in uids],
        }

    def _entries(self, key, parse, rejected):
        found = self._dht.get(key, latest=True)
        entries = {}
        if found is None:
            return entries
        if not isinstance(found.value, dict):
            rejected.append({"key": key, "reason": f"not a dictionary: {found}"})
            return entries
        for subkey, entry in found.value.items():
            try:
                entries[subkey] = parse(entry.value)
            except Exception as error:
                rejected.append({"key": key, "subkey": str(subkey), "reason": str(error)})
        return entries


def poll(read, is_enough, patience_s):
    give_up = time.monotonic() + patience_s
    while True:
        found = read()
        if is_enough(found) or time.monotonic() > give_up:
            return found
        time.sleep(POLL_PERIOD_S)


def _describe(span):
    info = span.server_info
    return {
        "state": info.state.name,
        "start_block": span.start,
        "end_block": span.end,
        "throughput": info.throughput,
        "inference_rps": info.inference_rps,
        "forward_rps": info.forward_rps,
        "network_rps": info.network_rps,
        "public_name": info.public_name,
        "version": info.version,
        "torch_dtype": info.torch_dtype,
        "quant_type": info.quant_type,
        "using_relay": info.using_relay,
        "cache_tokens_left": info.cache_tokens_left,
        "next_pings": {
            peer: None if math.isinf(seconds) else seconds for peer, seconds in (info.next_pings or {}).items()
        },
    }


# Both run in the DHT's own process, which is why they live at the top of the module.


async def _rpc_info(_dht, node, peer_id):
    stub = TransformerConnectionHandler.get_stub(node.protocol.p2p, peer_id)
    response = await asyncio.wait_for(stub.rpc_info(runtime_pb2.ExpertUID()), CALL_TIMEOUT_S)
    return MSGPackSerializer.loads(response.serialized_info)


async def _rpc_check(_dht, node, peer_id, about):
    stub = ReachabilityProtocol.get_stub(node.protocol.p2p, peer_id)
    request = dht_pb2.PingRequest(peer=dht_pb2.NodeInfo(node_id=about.to_bytes()))
    response = await asyncio.wait_for(stub.rpc_check(request), CALL_TIMEOUT_S)
    return response.available
