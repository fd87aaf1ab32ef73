"""JSON lines between the test harness and a peer process.

To the peer:    {"id": 7, "do": "store", ...arguments}
From the peer:  {"ready": true}, once, when its imports are done; then, in any order,
                {"id": 7, "ok": result} or {"id": 7, "error": "text"}

A peer lives until its standard input ends.
"""

import json
import os
import sys
import threading
import traceback

READ_BYTES = 1 << 16


class Channel:
    """Owns the original standard input and output; whatever libraries print goes to standard error."""

    def __init__(self):
        # Raw descriptors: a buffered reader's lock, held while it waits, would hang every forked child.
        self._input = os.dup(0)
        self._output = os.dup(1)
        self._write_lock = threading.Lock()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def send(self, message):
        line = (json.dumps(message) + "\n").encode()
        with self._write_lock:
            while line:
                line = line[os.write(self._output, line) :]

    def serve(self, role):
        """Answers requests with the methods of `role` until the input ends, then closes it.

        Methods named in `role.in_order` start processes by forking, so they run here, on the main
        thread, one at a time; all others run side by side on threads of their own.
        """
        self.send({"ready": True})
        for line in self._lines():
            request = json.loads(line)
            name = request["do"]
            if name in role.in_order:
                self._answer(role, request)
            else:
                threading.Thread(target=self._answer, args=(role, request), daemon=True).start()
        role.close()

    def _lines(self):
        pending = b""
        while chunk := os.read(self._input, READ_BYTES):
            *lines, pending = (pending + chunk).split(b"\n")
            yield from lines

    def _answer(self, role, request):
        identifier, name = request.pop("id"), request.pop("do")
        try:
            self.send({"id": identifier, "ok": getattr(role, name)(**request)})
        except BaseException as error:
            traceback.print_exc()
            self.send({"id": identifier, "error": f"{type(error).__name__}: {error}"})
