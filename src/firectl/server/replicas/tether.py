"""How does a child end with its parent, however that ends: run a module here until our stdin does.

`python -m firectl.server.replicas.tether MODULE [ARGS…]`. The parent holds the other end of stdin and never
writes to it, so its end is the parent's. Must work on any system with pipes.
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
    """Run the module named by the first argument as `__main__` with the rest as its arguments."""
    threading.Thread(target=_watch, daemon=True).start()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
