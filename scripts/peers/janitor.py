#!/usr/bin/env python3
"""Ends the process groups of a test run, however the run itself ends.

A petals peer is several processes, and killing its first one leaves the others. The harness names each
group that it starts; when the harness is gone (its end of our standard input closes) every group gets
time to end by itself, then SIGTERM, then SIGKILL. A group that is `owned` does not watch its own input
and gets SIGTERM at once; one that is paused (stopped) cannot hear it and is killed.

Requests, one a line:  watch GROUP | own GROUP | pause GROUP | kill GROUP | terminate GROUP | await GROUP
                       | stacks GROUP (its Python processes write where each thread is to their log)
Answers, one a line:   the scratch folder, first; then `ended GROUP` or `alive GROUP` to the last four
"""

import os
import shutil
import signal
import sys
import tempfile
import time

# A petals server announces that it leaves and joins its children: up to 5 s when nothing else runs.
LEAVE_ALONE_S = 20
TERMINATE_S = 5
KILL_S = 10
WRITE_STACKS_S = 2
POLL_S = 0.05

SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}


def main():
    scratch = tempfile.mkdtemp(prefix="peers-")
    # A harness that is interrupted must not take its janitor along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups, owned, paused = set(), set(), set()
    answer(scratch)
    for line in sys.stdin:
        verb, group = line.split()
        group = int(group)
        if verb in ("watch", "own"):
            groups.add(group)
            if verb == "own":
                owned.add(group)
        elif verb == "pause":
            paused.add(group)
            end(group, signal.SIGSTOP)
        elif verb == "stacks":
            for process in processes(group):
                # The libp2p daemon, which is no Python program, would end.
                if is_python(process):
                    os.kill(process, signal.SIGUSR1)
            report(group, ended(group, WRITE_STACKS_S), groups)
        else:
            if verb in SIGNALS:
                end(group, SIGNALS[verb])
            report(group, ended(group, LEAVE_ALONE_S), groups)
    for group in groups & paused:
        end(group, signal.SIGKILL)
    for group in groups & owned:
        end(group, signal.SIGTERM)
    sweep(groups)
    shutil.rmtree(scratch, ignore_errors=True)


def sweep(groups):
    for patience_s, sign in ((LEAVE_ALONE_S, signal.SIGTERM), (TERMINATE_S, signal.SIGKILL), (KILL_S, None)):
        give_up = time.monotonic() + patience_s
        groups = {group for group in groups if not ended(group, max(0, give_up - time.monotonic()))}
        for group in groups:
            if sign is not None:
                end(group, sign)


def end(group, sign):
    try:
        os.killpg(group, sign)
    except ProcessLookupError:
        pass


def ended(group, patience_s):
    give_up = time.monotonic() + patience_s
    while is_alive(group):
        if time.monotonic() > give_up:
            return False
        time.sleep(POLL_S)
    return True


def is_alive(group):
    """Whether a process of `group` runs; one that only waits for its parent to notice its end does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return any(True for _ in processes(group))


def processes(group):
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"{entry.path}/stat") as file:
                    # The name in parentheses may hold spaces; state, parent and group follow it.
                    state, _, of_group = file.read().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(of_group) == group and state not in "ZX":
                yield int(entry.name)


def is_python(process):
    try:
        return "python" in os.path.basename(os.readlink(f"/proc/{process}/exe"))
    except OSError:
        return False


def report(group, is_over, groups):
    if is_over:
        groups.discard(group)
    answer(f"{'ended' if is_over else 'alive'} {group}")


def answer(text):
    print(text, flush=True)


if __name__ == "__main__":
    main()
