"""Run a module in this process, and end the process when its parent ends.

`python -m firectl.server.replicas.parent_watch MODULE [ARGS…]`. Only the parent has the other end of our
stdin, so stdin closes when the parent ends. Must work on every system with pipes.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

PARENT_GONE = 143


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os._exit(PARENT_GONE)


def main() -> None:
    """Run the module given in the first argument as `__main__`, with the other arguments, and watch the parent."""
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
