"""Writes down how hidden states travel in the inference sessions of a petals server: one JSON line a tensor.

{"session": id, "way": "stream" | "push" | "reply", "compression": "NONE", "dtype": "float32", "shape": [1, 5, 256], "bytes": 5120}
"""

import json

from hivemind.proto import runtime_pb2
from petals.server import handler


def record_to(path):
    """Has every handler process that is forked from now on append to the file `path`."""
    iterate = handler.iterate_rpc_inference

    def note(session, way, tensor):
        line = json.dumps(
            {
                "session": session,
                "way": way,
                "compression": runtime_pb2.CompressionType.Name(tensor.compression),
                "dtype": tensor.dtype,
                "shape": list(tensor.size),
                "bytes": len(tensor.buffer),
            }
        )
        # Opened each time: whoever reads the file sees whole lines only.
        with open(path, "a") as file:
            file.write(line + "\n")

    async def recording(*, input_iterator, **arguments):
        session = None

        async def received():
            nonlocal session
            async for request, metadata in input_iterator:
                session = metadata.get("session_id", session)
                note(session, "push" if metadata.get("pushed") else "stream", request.tensors[0])
                yield request, metadata

        async for tensors, can_push in iterate(input_iterator=received(), **arguments):
            note(session, "reply", tensors[0])
            yield tensors, can_push

    handler.iterate_rpc_inference = recording


def read(path):
    """What has been recorded so far."""
    try:
        with open(path) as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []
