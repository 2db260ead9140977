"""The inference API's wire (OpenAI's shapes): what a request may say, and how answers are spelled.

Used by the front and by the engine, so that both accept and refuse the same. Must not know models or servers.
"""

from firectl.schemas.openai.chat import ChatRequest, Message, chat_answer, chat_chunk, parse_chat
from firectl.schemas.openai.completion import CompletionRequest, completion_answer, completion_chunk, parse_completion
from firectl.schemas.openai.params import Choice, ParamError, Sampling, TokenLogprob, Usage, parse_json

__all__ = [
    "ChatRequest",
    "Choice",
    "CompletionRequest",
    "Message",
    "ParamError",
    "Sampling",
    "TokenLogprob",
    "Usage",
    "chat_answer",
    "chat_chunk",
    "completion_answer",
    "completion_chunk",
    "parse_chat",
    "parse_completion",
    "parse_json",
]
