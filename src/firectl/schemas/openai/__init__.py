"""What may an inference request contain, and what shape does its response have? Both follow OpenAI.

The platform's front and its engine use this code, so both accept and refuse the same requests. Must not depend on
models or servers.
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
