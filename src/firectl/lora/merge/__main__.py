"""`python -m firectl.lora.merge`: the merge as a process."""

from __future__ import annotations

import sys

from firectl.lora.merge.merge import main

if __name__ == "__main__":
    sys.exit(main())
