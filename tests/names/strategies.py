"""Strings for hypothesis: names and routes that are right, and the same with a few mistakes in them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


ids = st.from_regex(ID, fullmatch=True)


accounts = st.none() | ids


sides = st.sampled_from(["models", "deployments"])


full_names = st.builds(lambda a, c, i: f"accounts/{a}/{c}/{i}", ids, sides, ids)


names = full_names | st.builds(lambda a, i: f"{a}/{i}", ids, ids) | ids


routes = names | st.builds(lambda m, d: f"{m}#{d}", names, names)


slips = st.sampled_from(
    [*" #/-_.%<>\"'`\\${}@:?&,;A", "\n", "\t", "\0", "%23", "%2F", "%00", "%20", "##", "//", "accounts/", "models/",
     "deployments/", "deployedModels/", "https://", "<ACCOUNT_ID>", "$X", "…", "...", "\u200b", "\ufeff", "\u00a0",
     "\u00ad", "\u2028", "\u202e", "\u0301", "é", "ß", "ﬁ", "İ", "ǅ", "日", "＃", "–", "а", "\ud800", "\U000e0001",
     "x" * 64]
)  # fmt: skip


@st.composite
def slipped(draw: st.DrawFn) -> str:
    """A route with a few mistakes put anywhere into it."""
    text = draw(routes)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(slips) + text[at + draw(st.integers(0, 2)) :]
    return text


strings = st.text() | slipped() | st.lists(slips, max_size=12).map("".join)
