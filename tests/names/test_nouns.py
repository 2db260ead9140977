"""A noun's line is what the rest of the project has: its verbs, its place in the client, its columns."""

from __future__ import annotations

import pytest

from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.tree import NOT_HERE, VERBS, entry_of, load
from firectl.client.client import Client
from firectl.names.ids import COLLECTIONS
from firectl.names.nouns import BY_COLLECTION, BY_WORD, HOSTED, NOUNS, Noun
from firectl.server.lists import fields

COMMANDS = [noun for noun in NOUNS if noun.group]


@pytest.mark.parametrize(
    ("singular", "spellings"),
    [
        ("model", ("model", "models", "model", "models", "models")),
        (
            "deployed model",
            ("deployed-model", "deployed-models", "deployed_model", "deployed_models", "deployedModels"),
        ),
        ("API key", ("api-key", "api-keys", "api_key", "api_keys", "apiKeys")),
    ],
)
def test_every_spelling_follows_from_the_words_for_one(singular: str, spellings: tuple[str, ...]) -> None:
    noun = Noun(singular)
    assert (noun.word, noun.plural, noun.page, noun.resource, noun.collection) == spellings


def test_no_two_nouns_share_a_word() -> None:
    words = [word for noun in (*NOUNS, *HOSTED) for word in (noun.word, noun.plural, *noun.aliases)]
    assert len(words) == len(set(words))
    assert len(BY_WORD) == len(BY_COLLECTION) == len(NOUNS)


def test_a_full_name_lies_in_the_collection_of_a_noun_that_has_names() -> None:
    assert COLLECTIONS["deployedModels"] == "deployed model"
    assert not {"accounts", "apiKeys", "deploymentShapeVersions", "datasets"} & COLLECTIONS.keys()


@pytest.mark.parametrize("noun", COMMANDS, ids=lambda noun: noun.word)
def test_the_command_of_a_noun_has_exactly_its_verbs(noun: Noun) -> None:
    entry = entry_of(noun.plural)
    assert entry is not None
    assert entry is entry_of(noun.word)
    group = load(entry)
    assert isinstance(group, NounGroup)
    assert sorted(group.commands) == sorted(noun.verbs)


@pytest.mark.parametrize("noun", [noun for noun in NOUNS if noun.verbs], ids=lambda noun: noun.word)
def test_the_client_has_the_resource_of_a_noun_and_its_schema_the_columns(noun: Noun) -> None:
    resource = getattr(Client("key", "acme", "http://127.0.0.1:1"), noun.resource)
    assert (resource.rows or resource.collection) == noun.collection
    for column in noun.columns:
        path = column.lower().replace(" ", "_") if isinstance(column, str) else column[1]
        assert fields.find(resource.schema, path).attributes == tuple(path.split("."))


def test_a_kind_without_a_command_is_refused_with_the_place_that_has_it() -> None:
    assert {"dataset", "datasets", "user", "deployment-template"} <= NOT_HERE.keys()
    assert not {word for noun in COMMANDS for word in (noun.word, noun.plural)} & NOT_HERE.keys()
    assert "list" in VERBS
