"""What the server behind a route answers in tests of `bench`, and tables without their measured numbers."""

from __future__ import annotations

import re
import time

from tests.bench.model_server import REPLIES, USAGE, piece, stream
from tests.client.script_server import Reply

PATH = "/inference/v1/chat/completions"
ROUTE = "accounts/acme/models/m#accounts/acme/deployments/d"
OTHER = "accounts/acme/models/n#accounts/acme/deployments/d"
GOOD = REPLIES["good"]
FIRST = REPLIES["whole"]
"""What answers the one request before the load."""


def as_golden(text: str) -> list[list[str]]:
    """Lines as words, measured numbers as #: their values and so their columns are another each time."""
    # The first target is the measure of the others, always 1.00x; another can come to that by chance.
    lines = [re.sub(r"\b(?!1\.00x)\d+\.\d+", "#", line) for line in text.splitlines()]
    lines = [line.replace("1.00x", "#x") if "n#d " in line else line for line in lines]
    return [re.split(r" {2,}", line) for line in lines]


def paced() -> Reply:
    """An answer of two pieces, the second a moment after the first."""
    whole = stream(piece("x") + piece("x", USAGE) + "data: [DONE]\n\n").raw
    cut = whole.index(b"data: ", whole.index(b"data: ") + 1)

    def rest() -> bytes:
        time.sleep(0.005)
        return whole[cut:]

    return Reply(whole[:cut], then=rest)
