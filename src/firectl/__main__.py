"""Where does the process begin? Here, as `firectl` and as `python -m firectl`, ready for Ctrl-C before large imports.

Must import only what ends a process.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process, and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # An exception would appear inside an import, or be lost in a callback of the import system.
        signal.signal(signal.SIGINT, _end)
    from firectl.cli.main import main as command

    command()


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"Error: interrupted (code = Cancelled)\n")
    finally:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
