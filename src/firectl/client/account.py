"""Accounts, their users and the users' API keys."""

from __future__ import annotations

from firectl import names
from firectl.client.resource import ListArgs, Resource, read, unreadable
from firectl.errors import InputError, NetworkError
from firectl.schemas.account import Account, ApiKey, CreateApiKey, DeleteApiKey, User


class Accounts(Resource[Account]):
    collection = "accounts"
    schema = Account

    def full_name(self, name: str) -> str:
        """`a` or `accounts/a` → `accounts/a`."""
        account = name.removeprefix("accounts/")
        names.check_id(account, "account")
        return f"accounts/{account}"

    def _parent(self, args: ListArgs) -> str:
        return "/v1/accounts"


class Users(Resource[User]):
    collection = "users"
    schema = User

    def only(self) -> str:
        """Return the full name of the account's only user. InputError if the account has none or several."""
        ids = [(user.name or "").rpartition("/")[2] for user in self.list()]
        if len(ids) == 1:
            return self.full_name(ids[0])
        if not ids:
            raise InputError(f"accounts/{self._client.account} shows no user", hint="name the user: --user USER_ID")
        raise InputError(
            f"accounts/{self._client.account} has {len(ids)} users: {', '.join(ids)}",
            hint=f"choose one: --user {ids[0]}",
        )


class ApiKeys(Resource[ApiKey]):
    """API keys of a user. Each call takes that user's ID or full name. A key has an ID but no full name."""

    collection = "apiKeys"
    schema = ApiKey

    def create(self, user: str, api_key: ApiKey) -> ApiKey:
        """Create a key.

        Only this answer contains the secret, `key`, so the request is not repeated if its answer is lost.
        """
        path = self._parent({"user": user})
        body = CreateApiKey(api_key=api_key).to_wire()
        try:
            made = read(ApiKey, self._client.request("POST", path, body=body, repeatable=False), path)
            if not made.key:
                raise unreadable(path, "expected a key, got none")
            return made
        except NetworkError as error:
            error.hint = error.hint or f"it may have been created: firectl api-key list --user {user}"
            raise

    def revoke(self, user: str, key_id: str) -> None:
        """Make the key invalid at once."""
        path = f"{self._parent({'user': user})}:delete"
        self._client.request("POST", path, body=DeleteApiKey(key_id=key_id).to_wire(), repeatable=True)

    def _parent(self, args: ListArgs) -> str:
        return f"/v1/{self._client.full_name(args['user'], 'users')}/{self.collection}"
