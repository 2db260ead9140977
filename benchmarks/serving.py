"""How fast is the embedded engine, and the platform around it? Every figure with what was wanted. docs/benchmarks.md.

    python benchmarks/serving.py [--vllm-python PATH] [--only ratios,front] [--json FILE]

One run measures everything, in rounds that take turns, so that a busy minute of the machine falls on all; a server
whose turn it is not is stopped. The model is a random Llama of 8 layers (hidden 512, bfloat16); prompts have
200 characters, answers 64 tokens, whatever they are. Without --vllm-python vLLM is left out. Needs `.[dev]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
# Engines and platforms that are started find the same code.
os.environ["PYTHONPATH"] = str(ROOT / "src")

from serving_parts import identity, memory, platform, profile, ratios  # noqa: E402
from serving_parts.goals import Figure, table  # noqa: E402
from serving_parts.world import make_world  # noqa: E402

PARTS = {
    "ratios": ratios.run,
    "vllm": ratios.run_vllm,
    "memory": memory.run,
    "front": platform.front,
    "load": platform.load,
    "create": platform.create,
    "identity": identity.run,
    "profile": profile.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-python", help="python of an environment with vLLM for CPUs")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run: {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    parts = given.only.split(",")
    if strange := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(strange)}; there are {', '.join(PARTS)}")
    # So that the servers end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report.read(given.json)
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        world = make_world(Path(folder), given.threads, given.rounds, given.vllm_python)
        for part in parts:
            started = time.monotonic()
            try:
                found, measured = PARTS[part](world)
            except Exception:
                # The others are measured all the same.
                traceback.print_exc()
                failed.append(part)
                continue
            report.add(part, found, measured, time.monotonic() - started)
            print(f"\n{part}, {time.monotonic() - started:.0f} s\n{table(found)}\n", flush=True)
            if given.json:
                report.write(given.json)
    figures = [figure for found in report.figures.values() for figure in found]
    missed = sum(figure.met is False for figure in figures)
    print(f"{table(figures)}\n\n{missed} missed of {sum(figure.met is not None for figure in figures)}")
    if failed:
        print(f"not measured, for they failed: {', '.join(failed)}")
    sys.exit(1 if missed or failed else 0)


@dataclass
class Report:
    """What each part gave. A file of an earlier run keeps the parts that this one does not measure."""

    document: dict[str, Any]
    figures: dict[str, list[Figure]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Report:
        if path is not None and path.exists():
            return cls(json.loads(path.read_text()))
        return cls({"figures": [], "parts": {}})

    def add(self, part: str, figures: list[Figure], measured: dict[str, Any], seconds: float) -> None:
        self.figures[part] = figures
        about = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "seconds": round(seconds, 1)}
        self.document["parts"][part] = about | {"measured": measured}
        others = [known for known in self.document["figures"] if known["part"] != part]
        self.document["figures"] = others + [{"part": part} | figure.to_document() for figure in figures]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.document, indent=2) + "\n")


if __name__ == "__main__":
    main()
