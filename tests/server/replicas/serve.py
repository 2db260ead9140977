"""A platform in a process of its own, to be killed: `python -m tests.server.replicas.serve HOME` prints its URL."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.server.replicas.platform import prepared


def main() -> None:
    platform = prepared(Path(sys.argv[1]))
    platform.up()
    sys.stdout.write(platform.url + "\n")
    sys.stdout.flush()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
