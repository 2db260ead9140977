"""Where are the sample models? `python -m firectl.samples` prints their folder for a shell."""

import sys

from firectl.samples import FOLDER

sys.stdout.write(f"{FOLDER}\n")
