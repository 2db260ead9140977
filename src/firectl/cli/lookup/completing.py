"""Complete a command line for a shell: find the words, flags, values and resource names that may come next.

Answers within about a second. Prints only candidates, because an error message would appear in the shell's prompt.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click import shell_completion as shells

from firectl.cli.app import App
from firectl.cli.grammar.spelling import spell_out
from firectl.cli.grammar.typed import words_after
from firectl.cli.views.listing import PUBLIC_ACCOUNT
from firectl.names.nouns import BY_COLLECTION, BY_WORD

if TYPE_CHECKING:
    from firectl.client.resource import Resource

SECONDS = 0.8
"""The time limit for fetching names. It does not include the start of Python."""

Names = Iterable[str]


def answer(app: App, root: click.Command, instruction: str) -> int:
    """Print the candidates or the shell's completion code, as `instruction` says. Return the exit code."""
    app.offer = partial(offer, app)
    for kind in (_Bash, _Zsh, _Fish):
        shells.add_completion_class(kind)
    with open(os.devnull, "w") as nowhere:
        said, sys.stderr = sys.stderr, nowhere
        try:
            return shells.shell_complete(root, {"obj": app}, "firectl", "_FIRECTL_COMPLETE", instruction)
        except Exception:
            return 0
        finally:
            sys.stderr = said


def offer(app: App, what: str, incomplete: str) -> list[shells.CompletionItem]:
    """Return the names of a kind that begin with the typed text. Empty if fetching fails or takes too long."""
    look = _LOOK.get(what) or _of(BY_WORD[what].resource)
    if what != "profile":
        # Import before the time limit starts: imports cannot hang.
        from firectl.client import client, resource  # noqa: F401
    found: list[str] = []

    def run() -> None:
        try:
            found.extend(look(app, incomplete))
        except Exception:
            # For example, there is no key, no server or no such account. Then there are no candidates.
            return

    # A daemon thread: a DNS server that does not answer must not block the shell.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return [shells.CompletionItem(name) for name in dict.fromkeys(found) if name.startswith(incomplete)]


def _names(app: App, resource: Resource[Any], incomplete: str, **asked: Any) -> Iterator[str]:
    """Yield IDs for the caller's own resources. Yield full names for others, or if the typed text contains a slash."""
    account = app.account
    begun = incomplete.split("/")
    if len(begun) > 2:
        owners = [begun[1]]
    else:
        # Names from the public account: always on a local platform, which has few; on the service only after a slash.
        public = BY_COLLECTION[resource.collection].is_public and (bool(begun[1:]) or not app.bills)
        owners = [account, *[PUBLIC_ACCOUNT] * public]
    for owner in owners:
        for row in resource.list_page(account=owner, page_size=200, **asked).rows:
            name: str = row.name or ""
            own = f"accounts/{account}/{resource.collection}/"
            yield name if begun[1:] or not name.startswith(own) else name.removeprefix(own)


def _of(resource: str, **asked: Any) -> Callable[[App, str], Names]:
    """Return a function that yields the names of one resource of the client."""
    return lambda app, incomplete: _names(app, getattr(app.client, resource), incomplete, **asked)


def _presets_and_shapes(app: App, incomplete: str) -> Iterator[str]:
    from firectl.cli.views.deployment_flags import PRESETS

    yield from PRESETS
    yield from _names(app, app.client.deployment_shapes, incomplete)


def _shape_versions(app: App, incomplete: str) -> Iterator[str]:
    for row in app.client.deployment_shape_versions.list_page(page_size=200).rows:
        name = row.name or ""
        yield name if incomplete.startswith("acc") else name.removeprefix(f"accounts/{app.account}/deploymentShapes/")


def _routes(app: App, incomplete: str) -> Iterator[str]:
    for row in app.client.deployed_models.list_page(page_size=200).rows:
        full = f"{row.model}#{row.deployment}"
        short = "#".join(name.rpartition("/")[2] for name in full.split("#"))
        own = all(name.startswith(f"accounts/{app.account}/") for name in full.split("#"))
        yield short if own and "/" not in incomplete else full


def _accounts(app: App, incomplete: str) -> Iterator[str]:
    for row in app.client.accounts.list_page().rows:
        yield (row.name or "").removeprefix("accounts/")


def _profiles(app: App, incomplete: str) -> Names:
    from firectl import config

    return config.profiles(app.environ)


_LOOK: dict[str, Callable[[App, str], Names]] = {
    "deleted": _of("deployments", show_deleted=True, filter="state = DELETED"),
    "preset": _presets_and_shapes,
    "deployment-shape-version": _shape_versions,
    "route": _routes,
    "account": _accounts,
    "profile": _profiles,
}
"""Kind → function that finds its candidates, for kinds whose candidates are not just the names of a noun."""


class _Completion(shells.ShellComplete):
    """Extend click's completion: support Go-style booleans, and `--flag=value` in every shell."""

    keeps_flag = True
    """Whether a candidate replaces all of `--flag=value`, or only the text after `=`."""

    def get_completions(self, args: list[str], incomplete: str) -> list[shells.CompletionItem]:
        ctx = shells._resolve_context(self.cli, self.ctx_args, self.prog_name, args)
        params = ctx.command.get_params(ctx)
        name, equals, value = incomplete.partition("=")
        if incomplete.startswith("-") and equals:
            items = [item for param in params if name in param.opts for item in param.shell_complete(ctx, value)]
            for item in items if self.keeps_flag else ():
                item.value = f"{name}={item.value}"
            return items
        if isinstance(ctx.command, click.Group) and words_after(ctx):
            return []  # Nothing can be completed after a word that is not a command.
        spelled = list(spell_out(args, params, True))
        asked, rest = shells._resolve_incomplete(ctx, spelled, incomplete)
        return asked.shell_complete(ctx, rest)


class _Bash(_Completion, shells.BashComplete):
    keeps_flag = False

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words with `--flag=value` joined again, because bash splits it into three words."""
        args, incomplete = super().get_completion_args()
        joined: list[str] = []
        for word in [*args, incomplete]:
            if joined and joined[-1].startswith("-") and (word == "=" or joined[-1].endswith("=")):
                joined[-1] += word
            else:
                joined.append(word)
        return joined[:-1], joined[-1]


class _Zsh(_Completion, shells.ZshComplete):
    pass


class _Fish(_Completion, shells.FishComplete):
    pass
