"""Which requests does a round send? A pure function of the seed, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, cycle
from random import Random

from firectl.bench.load import Arrival, BenchTarget, Load, Mix

WORDS = (
    "apple", "autumn", "bridge", "candle", "castle", "cloud", "copper", "desert", "dinner", "engine", "evening",
    "farmer", "feather", "forest", "garden", "glass", "harbor", "harvest", "hollow", "island", "jacket",
    "kettle", "kitchen", "ladder", "lantern", "letter", "market", "meadow", "metal", "mirror", "morning",
    "mountain", "needle", "number", "ocean", "orange", "paper", "pencil", "pepper", "planet", "pocket",
    "rabbit", "rain", "river", "road", "rocket", "rope", "saddle", "salt", "school", "season", "shadow",
    "silver", "simple", "sister", "snow", "stone", "story", "street", "summer", "table", "thread", "tiger",
    "timber", "tower", "train", "valley", "velvet", "village", "violin", "walnut", "water", "weather", "wheel",
    "whisper", "window", "winter", "yellow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request to send.

    `due`: seconds after the start of the round; 0 for streams, which do not send at fixed times.
    """

    number: int
    due: float
    route: str
    prompt: str
    max_tokens: int


def plan_requests(load: Load, target: BenchTarget, at: tuple[int, int, int]) -> Iterator[PlannedRequest]:
    """Yield the requests of one round, without end. `at`: the numbers of target, level and round.

    Arrivals, routes and lengths are the same for all targets. Random texts differ between targets, so that no target
    profits from prompts that a server cached for another. Arrivals, routes, lengths and texts each have their own
    random numbers: a change of one does not change the others.
    """
    number, level, round_ = at

    def random(what: str) -> Random:
        return Random(f"{load.seed}/{what}/{level}/{round_}")

    rate = load.levels[level].rate if level >= 0 else None
    due = arrivals(rate, load.arrival, random("arrivals"))
    routes = pick_routes(target.routes, target.mix, random("routes"))
    texts = _texts(load, target, random("prompts"), random(f"text/{number}"))
    answers = random("answers")
    for index, when, route, text in zip(count(), due, routes, texts, strict=False):
        yield PlannedRequest(index, when, route, text, load.max_tokens.draw(answers))


def arrivals(rate: float | None, arrival: Arrival, random: Random) -> Iterator[float]:
    """Yield when each request is due, in seconds after the start; always 0 without a rate."""
    if rate is None:
        yield from cycle((0.0,))
    elif arrival == "constant":
        yield from (number / rate for number in count())
    else:
        yield from accumulate(random.expovariate(rate) for _ in count())


def pick_routes(routes: Sequence[str], mix: Mix, random: Random) -> Iterator[str]:
    """Yield the route of each request, without end."""
    if mix.kind == "round-robin" or len(routes) == 1:
        yield from cycle(routes)
    exponent = mix.exponent if mix.kind == "zipf" else 0.0
    chances = list(accumulate(1 / rank**exponent for rank in range(1, len(routes) + 1)))
    while True:
        yield random.choices(routes, cum_weights=chances)[0]


def _texts(load: Load, target: BenchTarget, lengths: Random, words: Random) -> Iterator[str]:
    while load.prompts:
        yield from lengths.sample(load.prompts, len(load.prompts))
    while True:
        length = load.prompt.draw(lengths)
        yield some_text(target.tokenizing.characters(length) if load.prompt_in_tokens else length, words)


def some_text(characters: int, random: Random) -> str:
    """Return random words of exactly `characters` characters in total."""
    pieces: list[str] = []
    length = -1
    while length < characters:
        more = random.choices(WORDS, k=1 + (characters - length) // 7)
        pieces += more
        length += sum(map(len, more)) + len(more)
    return " ".join(pieces)[:characters]
