"""Makes the published hivemind and petals packages importable together, and keeps them on loopback.

Import this module before `petals`, `transformers` or `torch`.
"""

import os

# Nothing is fetched while tests run; petals 2.2.0 would refuse a transformers patch release it has not seen.
os.environ.update(
    BITSANDBYTES_NOWELCOME="1",
    CUDA_VISIBLE_DEVICES="",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
    PETALS_IGNORE_DEPENDENCY_VERSION="1",
    TRANSFORMERS_OFFLINE="1",
)
os.environ.setdefault("HIVEMIND_LOGLEVEL", "INFO")

import importlib
import pkgutil
import warnings

LISTEN_ADDRESS = "/ip4/127.0.0.1/tcp/0"


def prepare_hivemind(scratch):
    """Restores hivemind's top-level names and confines its daemon to loopback and to the folder `scratch`."""
    warnings.filterwarnings("ignore")
    import hivemind

    _export_names(hivemind)
    # The default asks the local router for a port mapping (NAT-PMP and the like).
    hivemind.p2p.P2P.create.__func__.__kwdefaults__["nat_port_map"] = False
    # Control sockets of a killed daemon stay behind: they go where the harness cleans up.
    hivemind.p2p.P2P._UNIX_SOCKET_PREFIX = f"/unix{scratch}/"
    return hivemind


def check_addresses(addresses):
    """Returns `addresses`, refusing any that leaves this machine."""
    for address in addresses:
        if not address.startswith("/ip4/127.0.0.1/"):
            raise ValueError(f"not a loopback address: {address}")
    return list(addresses)


def _export_names(hivemind):
    # hivemind 1.1.12 stopped re-exporting its API at top level, where petals imports it from.
    for name in ("averaging", "compression", "dht", "moe", "optim", "p2p", "utils"):
        package = importlib.import_module(f"hivemind.{name}")
        modules = [package]
        if name in ("compression", "p2p", "utils"):
            modules += [
                importlib.import_module(f"{package.__name__}.{entry.name}")
                for entry in pkgutil.iter_modules(package.__path__)
                if not entry.ispkg
            ]
        for module in modules:
            for attribute in vars(module):
                if not attribute.startswith("_") and not hasattr(hivemind, attribute):
                    setattr(hivemind, attribute, getattr(module, attribute))
