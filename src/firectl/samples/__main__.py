"""`python -m firectl.samples` prints the folder of the sample models, for a shell to use."""

import sys

from firectl.samples import FOLDER

sys.stdout.write(f"{FOLDER}\n")
