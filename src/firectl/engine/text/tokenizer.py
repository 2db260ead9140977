"""Convert chats to tokens, and tokens to text and bytes, with the model's tokenizer.

Runs the model's chat template (jinja, sandboxed). Must not run code of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firectl.engine.text.tokenizer_files import TokenizerFiles, read_tokenizer
from firectl.errors import AdapterError
from firectl.schemas.openai import Message, ParamError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer:
    """A model's tokenizer. Safe to use from several threads at once."""

    def __init__(self, folder: Path) -> None:
        files = read_tokenizer(folder) or _read_with_transformers(folder)
        backend = files.backend
        # The file may enable truncation or padding. Changing them later would not be safe between threads.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._files = files
        self._added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
        decoder = json.loads(backend.to_str()).get("decoder")
        self._byte_of_symbol = _byte_symbols() if "ByteLevel" in json.dumps(decoder) else None

    @property
    def eos(self) -> frozenset[int]:
        name = self._files.special_tokens.get("eos_token")
        token = self._backend.token_to_id(name) if name else None
        return frozenset() if token is None else frozenset({token})

    def chat(self, messages: Sequence[Message], template: str | None = None) -> list[int]:
        """Return the tokens of the prompt that the chat template (the model's, or `template`) makes of the messages."""
        import jinja2

        from firectl.engine.text.chat_template import render

        template = template or self._files.chat_template
        if not template:
            raise ParamError("this model has no chat template: use /v1/completions", "messages")
        try:
            text = render(template, [message.to_template() for message in messages], self._files.special_tokens)
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise ParamError(f"the chat template refuses these messages: {error}", "messages") from error
        return self.encode(text, special=False)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Return the token ids of a text. `special` adds the tokenizer's special tokens, such as BOS."""
        return list(self._backend.encode(text, add_special_tokens=special).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens, without the special ones. Invalid bytes become U+FFFD."""
        return str(self._backend.decode(list(tokens), skip_special_tokens=True))

    def spell(self, token: int) -> tuple[str, bytes]:
        """Return one token's text and its exact bytes. Incomplete characters are U+FFFD in the text."""
        data = self._bytes(token)
        return data.decode("utf-8", errors="replace"), data

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return str(self._added[token]).encode()
        piece: Any = self._backend.id_to_token(token)
        if not isinstance(piece, str):  # the model may have more outputs than the tokenizer has tokens
            return b""
        if self._byte_of_symbol is not None:
            if all(symbol in self._byte_of_symbol for symbol in piece):
                return bytes(self._byte_of_symbol[symbol] for symbol in piece)
            return str(piece).encode()
        match = _BYTE_TOKEN.fullmatch(piece)
        return bytes([int(match[1], 16)]) if match else str(piece).replace("▁", " ").encode()


def _read_with_transformers(folder: Path) -> TokenizerFiles:
    """Read a tokenizer with transformers. AdapterError if it cannot be loaded, or has no fast form."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise AdapterError(f"{folder}: the tokenizer cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise AdapterError(f"{folder}: there is no tokenizer.json; convert the tokenizer to the fast format")
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return TokenizerFiles(tokenizer.backend_tokenizer, dict(tokenizer.special_tokens_map), template)


def _byte_symbols() -> dict[str, int]:
    """Return symbol → byte for a byte-level tokenizer (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return {chr(byte if byte in plain else next(others)): byte for byte in range(256)}
