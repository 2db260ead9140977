"""An engine without a model: vLLM's protocol over the standard library, up in a fraction of a second.

Its model folder's `script.json` says how it starts and which adapters it refuses; a request's last message says how it
answers: words `pause:0.1` (seconds between events), `tokens:5`, `die:2` (killed after that many events, 0 before the
first), `cut:2` (hangs up in the middle), `quiet` (ends without [DONE]), `status:429`, `prompt:7` (reports
that many prompt tokens, and those of the answer). Of merged weights it says the folder's name instead of `base`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BORN = time.monotonic()


class State:
    script: dict[str, Any]
    served: str
    voice: str
    adapters: dict[str, str] = {}
    cancelled = 0
    answered = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            up = time.monotonic() - BORN >= State.script.get("start_seconds", 0)
            self._json(200 if up else 503, {})
        elif self.path == "/counts":
            self._json(200, {"cancelled": State.cancelled, "answered": State.answered})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self._error(401, "wrong key")
        elif self.path == "/v1/load_lora_adapter":
            self._load(body)
        elif self.path == "/v1/unload_lora_adapter":
            known = State.adapters.pop(body["lora_name"], None)
            self._json(200, {}) if known else self._error(404, "no such adapter")
        elif body["model"] != State.served and body["model"] not in State.adapters:
            self._error(404, f"The model `{body['model']}` does not exist")
        else:
            self._answer(body)

    def _load(self, body: dict[str, str]) -> None:
        script = Path(body["lora_path"]) / "script.json"
        what = json.loads(script.read_text()) if script.exists() else {}
        time.sleep(what.get("load_seconds", 0))
        if what.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "refuse" in what:
            self._error(400, what["refuse"])
            return
        State.adapters[body["lora_name"]] = what.get("voice", "")
        self._json(200, {})

    def _answer(self, body: dict[str, Any]) -> None:
        content = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        options = dict(word.partition(":")[::2] for word in content.split())
        tokens = int(options.get("tokens", 3))
        pause = float(options.get("pause", 0))
        end = next((int(options[how]) for how in ("die", "cut") if how in options), None)
        voice = State.adapters.get(body["model"], State.voice)
        if "status" in options:
            self._error(int(options["status"]), f"cannot serve {body['model']}", {"retry-after": "7"})
            return
        if not body.get("stream"):
            if end is not None:
                time.sleep(pause)
                self._end(options)
                return
            time.sleep(pause * tokens)
            answer = {"role": "assistant", "content": " ".join([voice] * tokens)}
            State.answered += 1
            self._json(200, {"id": "x", "model": body["model"], "choices": [{"message": answer}], **_usage(options)})
            return
        self._stream(body["model"], voice, tokens, pause, end, options)

    def _stream(
        self, model: str, voice: str, tokens: int, pause: float, end: int | None, options: dict[str, str]
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for number in range(tokens):
                if end == number:
                    self._end(options)
                    return
                time.sleep(pause)
                chunk = {"model": model, "choices": [{"delta": {"content": f"{voice} "}}]}
                self._event(json.dumps(chunk | (_usage(options) if number == tokens - 1 else {})))
            if "quiet" not in options:
                self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
            State.answered += 1
        except OSError:
            State.cancelled += 1
            self.close_connection = True

    def _event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        # In two pieces, as a network may cut it.
        for piece in (data[:7], data[7:]):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()

    def _end(self, options: dict[str, str]) -> None:
        if "die" in options:
            os.kill(os.getpid(), signal.SIGKILL)
        self.close_connection = True

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._json(status, {"error": {"message": message, "type": "e", "param": None, "code": None}}, headers)

    def _json(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _usage(options: dict[str, str]) -> dict[str, Any]:
    if "prompt" not in options:
        return {}
    return {"usage": {"prompt_tokens": int(options["prompt"]), "completion_tokens": int(options.get("tokens", 3))}}


def end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("served_name")
    arguments = parser.parse_args()
    threading.Thread(target=end_with_stdin, daemon=True).start()
    script = arguments.model / "script.json"
    State.script = json.loads(script.read_text()) if script.exists() else {}
    State.served = arguments.served_name
    merged = (arguments.model / "firectl_merge.json").exists()
    State.voice = arguments.model.name if merged else "base"
    if "unloadable" in State.script:
        sys.stderr.write("reading weights\n" + json.dumps({"error": {"message": State.script["unloadable"]}}) + "\n")
        sys.exit(1)
    if "crash" in State.script:
        raise RuntimeError(State.script["crash"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(json.dumps({"port": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
