"""How fast do models go to the local platform and back, beside curl with the same bytes, URLs and disk?

    python benchmarks/transfer.py [--rounds 5] [--megabytes 2000] [--files 200] [--only upload-one ...] [--dir DIR]
        [--sync]

Each case alternates curl and firectl on fresh models of one platform and prints the medians and their ratio. firectl's
time is that of sending or fetching, hashes included, from the first request to the last answer in a process of its own;
what it takes to start Python and to validate a model is not in it (curl validates nothing, and hashes nothing). With
--sync, what the system then needs to bring all to the disk is counted for both. Memory is the peak above what the
process held before the first request; processor seconds are those of the sender or receiver and of the platform. Needs
Linux, curl, and disk for three times the bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from firectl.client.client import Client
from firectl.client.http.connections import httpx
from firectl.client.transfer.files import scan
from firectl.schemas.model import BaseModelDetails, Model
from firectl.schemas.words import ModelKind

SEND = """
import json, resource, sys, time
from pathlib import Path
from firectl.client.client import Client
from firectl.client.transfer.files import scan
from firectl.client.transfer.download import Download
from firectl.client.transfer.upload import Upload
url, key, model, folder, way = sys.argv[1:]
def peak():
    # Not ru_maxrss: that begins with what the process was forked from.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
with Client(key, "bench", url) as client:
    held = peak()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    if way == "up":
        Upload(client, model, scan(Path(folder)), None, None).send()
    else:
        Download(client, model, Path(folder), None).fetch()
    seconds = time.monotonic() - started
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"seconds": seconds, "grown": (peak() - held) * 1024, "cpu": cpu}))
"""


class Bench:
    """One platform, and folders with the bytes to move."""

    def __init__(self, folder: Path, megabytes: int, files: int, *, sync: bool = False) -> None:
        self.folder = folder
        self.sync = sync
        self.one, self.many = folder / "one", folder / "many"
        _write_model(self.one, {"big.bin": megabytes})
        _write_model(self.many, {f"file-{number:03}.bin": 5 for number in range(files)})
        command = [sys.executable, "-m", "firectl.server", "--home", str(folder / "home"), "--account", "bench"]
        self.platform = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.platform.stdout is not None
        self.url = json.loads(self.platform.stdout.readline())["url"]
        self.key = json.loads((folder / "home" / "credentials.json").read_bytes())["apiKey"]
        self.client = Client(self.key, "bench", self.url)
        self.grown: list[int] = []
        self.processor: dict[str, list[tuple[float, float]]] = {"curl": [], "firectl": []}
        """Processor seconds of each run of a way: its own, and the platform's."""

    def close(self) -> None:
        self.client.close()
        self.platform.terminate()
        self.platform.wait(60)

    def model(self, model_id: str) -> str:
        details = BaseModelDetails(checkpoint_format="HUGGINGFACE", model_type="llama")
        return self.client.models.create(model_id, Model(kind=ModelKind.BASE, base_model_details=details)).name or ""

    def firectl(self, way: str, model: str, folder: Path) -> float:
        argv = [sys.executable, "-c", SEND, self.url, self.key, model, str(folder), way]
        platform = self._platform_seconds()
        said = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
        self.processor["firectl"].append((said["cpu"], self._platform_seconds() - platform))
        self.grown.append(said["grown"])
        return float(said["seconds"]) + self._settled()

    def curl(self, *arguments: str) -> float:
        platform, mine = self._platform_seconds(), os.times()
        started = time.monotonic()
        subprocess.run(["curl", "-sS", "-f", *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        now = os.times()
        own = now.children_user + now.children_system - mine.children_user - mine.children_system
        self.processor["curl"].append((own, self._platform_seconds() - platform))
        return seconds + self._settled()

    def _settled(self) -> float:
        """Seconds until all is on the disk, where they count."""
        started = time.monotonic()
        if self.sync:
            os.sync()
        return time.monotonic() - started

    def _platform_seconds(self) -> float:
        fields = Path(f"/proc/{self.platform.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def curl_up(self, model: str, folder: Path, *, resumable: bool) -> float:
        sizes = {file.name: file.size for file in scan(folder)}
        urls = self.client.models.get_upload_endpoint(model, sizes, enable_resumable_upload=resumable)
        pairs = urls.filename_to_signed_urls
        if resumable:
            start = {"x-goog-resumable": "start"}
            pairs = {name: httpx.post(url, headers=start).headers["location"] for name, url in pairs.items()}
        config = "next\n".join(
            f'url = "{url}"\nupload-file = "{folder / name}"\nheader = "Expect:"\n' for name, url in pairs.items()
        )
        return self._parallel(config)

    def curl_down(self, model: str, folder: Path) -> float:
        folder.mkdir()
        pairs = self.client.models.get_download_endpoint(model).filename_to_signed_urls
        return self._parallel("".join(f'url = "{url}"\noutput = "{folder / name}"\n' for name, url in pairs.items()))

    def _parallel(self, config: str) -> float:
        path = self.folder / "curl.txt"
        path.write_text(config)
        return self.curl("--no-progress-meter", "-Z", "--parallel-max", "8", "-K", str(path))


def _write_model(folder: Path, extra: dict[str, int]) -> None:
    """The least that validation takes for a base, and files of so many megabytes beside it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    for name, megabytes in extra.items():
        with (folder / name).open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1_000_000))


SCRATCH = 2 * 10**9


def alternate(rounds: int, ways: dict[str, Callable[[], float]], scratch: Path) -> dict[str, list[float]]:
    """Seconds of each way, in turns that change their order, each after the same thing.

    How long the system takes to write depends on how the program before left its free memory: what follows firectl is
    faster than what follows curl, which writes smaller pieces. So a file of SCRATCH bytes is written and deleted first.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            with scratch.open("wb", buffering=0) as file:
                for _ in range(SCRATCH // 2**20):
                    file.write(bytes(2**20))
            scratch.unlink()
            os.sync()
            took[name].append(ways[name]())
    return took


def upload(bench: Bench, rounds: int, folder: Path, *, resumable: bool) -> dict[str, list[float]]:
    def run(send: Callable[[str], float]) -> float:
        model = bench.model("up")
        seconds = send(model)
        bench.client.models.delete(model)
        return seconds

    return alternate(
        rounds,
        {
            "curl": lambda: run(lambda model: bench.curl_up(model, folder, resumable=resumable)),
            "firectl": lambda: run(lambda model: bench.firectl("up", model, folder)),
        },
        bench.folder / "scratch",
    )


def download(bench: Bench, rounds: int, folder: Path) -> dict[str, list[float]]:
    model = bench.model("down")
    bench.client.models.upload(model, folder)
    back = bench.folder / "back"

    def run(fetch: Callable[[], float]) -> float:
        shutil.rmtree(back, ignore_errors=True)
        seconds = fetch()
        assert sum(file.size for file in scan(back)) == sum(file.size for file in scan(folder))
        shutil.rmtree(back)
        return seconds

    took = alternate(
        rounds,
        {
            "curl": lambda: run(lambda: bench.curl_down(model, back)),
            "firectl": lambda: run(lambda: bench.firectl("down", model, back)),
        },
        bench.folder / "scratch",
    )
    bench.client.models.delete(model)
    return took


CASES: dict[str, tuple[float, Callable[[Bench, int], dict[str, list[float]]]]] = {
    "upload-one": (0.5, lambda bench, rounds: upload(bench, rounds, bench.one, resumable=True)),
    "upload-many": (0.5, lambda bench, rounds: upload(bench, rounds, bench.many, resumable=False)),
    "download-one": (0.5, lambda bench, rounds: download(bench, rounds, bench.one)),
    "download-many": (0.5, lambda bench, rounds: download(bench, rounds, bench.many)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Uploads and downloads beside curl's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=2000, help="of the one file")
    parser.add_argument("--files", type=int, default=200, help="of 5 MB each")
    parser.add_argument("--sync", action="store_true", help="count what it takes to bring all to the disk, for both")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--dir", type=Path, help="where to work; default: the folder for temporary files")
    given = parser.parse_args()
    if shutil.which("curl") is None:
        parser.error("curl is not here")
    folder = Path(tempfile.mkdtemp(prefix="bench-transfer-", dir=given.dir))
    os.environ["FIREWORKS_HOME"] = str(folder / "fireworks-home")
    bench = Bench(folder, given.megabytes, given.files, sync=given.sync)
    totals = {"one": given.megabytes, "many": 5 * given.files}
    try:
        for name in given.only or CASES:
            wanted, case = CASES[name]
            bench.grown.clear()
            for runs in bench.processor.values():
                runs.clear()
            took = case(bench, given.rounds)
            curl, firectl = (statistics.median(took[way]) for way in ("curl", "firectl"))
            megabytes = totals[name.split("-")[1]]
            processor = []
            for way, runs in bench.processor.items():
                own, platforms = (statistics.median(run[which] for run in runs) for which in (0, 1))
                processor.append(f"{way} {own:.2f} + {platforms:.2f}")
            print(
                f"{name:14} curl {megabytes / curl:5.0f} MB/s, firectl {megabytes / firectl:5.0f} MB/s: "
                f"{curl / firectl:.2f} (wanted {wanted}); memory +{max(bench.grown) / 1e6:.0f} MB\n"
                f"    processor seconds, own + platform's: {', '.join(processor)}\n"
                + "".join(
                    f"    {way:7} {' '.join(f'{second:.2f}' for second in seconds)} s\n"
                    for way, seconds in took.items()
                ),
                end="",
                flush=True,
            )
    finally:
        bench.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
