"""What is said of an ID or a name that is wrong: `names/mistakes.py`, through the functions that raise."""

from __future__ import annotations

import pytest

from firectl.errors import InputError
from firectl.names import (
    ResourceName,
    check_id,
    resolve,
)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "'' is not a valid model ID: empty: expected a model ID (character 0)", None),
        (
            "My-Model",
            "'My-Model' is not a valid model ID: a capital letter: IDs are lower case (character 0)",
            "write my-model",
        ),
        (
            "a_b",
            "'a_b' is not a valid model ID: '_': IDs are made of a-z, 0-9 and '-' (character 1)",
            "write a-b",
        ),
        (
            "-a-",
            "'-a-' is not a valid model ID: a hyphen: IDs begin with a letter or digit (character 0); "
            "a hyphen: IDs end with a letter or digit (character 2)",
            "write a",
        ),
        ("-", "'-' is not a valid model ID: a hyphen: IDs begin with a letter or digit (character 0)", None),
        (
            "a" * 64,
            f"'{'a' * 64}' is not a valid model ID: "
            "the model ID has 64 characters: at most 63 are allowed (character 63)",
            None,
        ),
        ("a\n", "'a\\n' is not a valid model ID: a line break: not allowed in a name (character 1)", "write a"),
        ("a/b", "'a/b' is not a valid model ID: '/': IDs are made of a-z, 0-9 and '-' (character 1)", None),
        ("a#b", "'a#b' is not a valid model ID: '#': IDs are made of a-z, 0-9 and '-' (character 1)", None),
        (
            "accounts/a/models/b",
            "expected a model ID, got the full name 'accounts/a/models/b'",
            "write b",
        ),
    ],
)
def test_an_invalid_id_is_refused_saying_where_and_what_to_write(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        check_id(text)
    assert raised.value.message == message
    assert raised.value.hint == hint


def test_the_noun_of_an_id_is_in_the_message() -> None:
    with pytest.raises(InputError, match="'A' is not a valid deployment ID"):
        check_id("A", "deployment")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "tuned",
            "'tuned' is not the name of a resource: "
            "expected a full name: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            None,
        ),
        (
            "accounts/acme/model/tuned",
            "'accounts/acme/model/tuned' is not the name of a resource: 'model': write 'models' (character 14)",
            "write accounts/acme/models/tuned",
        ),
        (
            "accounts/acme/models/tuned/versions/v1",
            "'accounts/acme/models/tuned/versions/v1' is not the name of a resource: "
            "nothing may follow the ID (character 27)",
            "write accounts/acme/models/tuned",
        ),
        (
            "accounts/acme/datasets/d",
            "'accounts/acme/datasets/d' is not the name of a resource: "
            "expected a full name: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            None,
        ),
    ],
)
def test_what_is_no_full_name_is_refused(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        ResourceName.parse(text)
    assert raised.value.message == message
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("text", "collection", "account", "message", "hint"),
    [
        (
            "tuned",
            "models",
            None,
            "no account is known to complete the model ID 'tuned'",
            "write accounts/<ACCOUNT_ID>/models/tuned, or give the account: -a ACCOUNT_ID",
        ),
        (
            "tuned",
            "models",
            "Acme",
            "'Acme' is not a valid account ID: a capital letter: IDs are lower case (character 0)",
            "write acme",
        ),
        (
            "accounts/a/models/m",
            "deployments",
            "acme",
            "expected a deployment, got the model 'accounts/a/models/m'",
            "firectl deployment list",
        ),
        (
            "accounts/a/model/m",
            "deployments",
            "acme",
            "'accounts/a/model/m' is not the name of a deployment: 'model': write 'models' (character 11)",
            None,
        ),
        (
            "accounts/a/datasets/m",
            "models",
            "acme",
            "'accounts/a/datasets/m' is not the name of a model: "
            "expected the collection 'models', got 'datasets' (character 11)",
            None,
        ),
        (
            "My Model",
            "models",
            "acme",
            "'My Model' is not the name of a model: a capital letter: IDs are lower case (character 0); "
            "a space: not allowed in a name (character 2)",
            "write accounts/acme/models/my-model",
        ),
        (
            "a/tuned",
            "models",
            "acme",
            "'a/tuned' is not the name of a model: "
            "expected a full name: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            "write accounts/a/models/tuned",
        ),
        (
            "accounts/a/deployments/prod/",
            "deployments",
            "acme",
            "'accounts/a/deployments/prod/' is not the name of a deployment: a trailing slash (character 27)",
            "write accounts/a/deployments/prod",
        ),
        (
            "accounts/a/models/m#accounts/a/deployments/d",
            "deployments",
            "acme",
            "expected the name of a deployment, got the route 'accounts/a/models/m#accounts/a/deployments/d'",
            "write accounts/a/deployments/d",
        ),
        (
            "accounts/a/deploymentShapes/Fast/versions/V1",
            "deploymentShapes",
            "acme",
            "'accounts/a/deploymentShapes/Fast/versions/V1' is not the name of a deployment shape: "
            "a capital letter: IDs are lower case (characters 28, 42)",
            "write accounts/a/deploymentShapes/fast/versions/v1",
        ),
        ("", "models", "acme", "'' is not the name of a model: a name is missing (character 0)", None),
    ],
)
def test_an_argument_that_cannot_be_completed_is_refused(
    text: str, collection: str, account: str | None, message: str, hint: str | None
) -> None:
    with pytest.raises(InputError) as raised:
        resolve(text, collection, account)
    assert raised.value.message == message
    assert raised.value.hint == hint
