#!/usr/bin/env python3
"""One real hivemind or petals peer for interop tests, on loopback only.

usage: peer.py dht|server|client|monitor SCRATCH

SCRATCH is a folder for control sockets. Requests come as JSON lines, see channel.py; the peer shuts
down cleanly when its standard input ends.
"""

import faulthandler
import importlib
import os
import signal
import sys

import channel
import loopback

ROLES = {"dht": "DhtPeer", "server": "ServerPeer", "client": "ClientPeer", "monitor": "MonitorPeer"}


def main():
    name, scratch = sys.argv[1:]
    wire = channel.Channel()
    # The harness asks for the stacks of a peer that does not answer.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    loopback.prepare_hivemind(scratch)
    role = getattr(importlib.import_module(f"{name}_peer"), ROLES[name])()
    wire.serve(role)
    # hivemind's destructors raise when the interpreter takes its event loop away first.
    os._exit(0)


if __name__ == "__main__":
    main()
