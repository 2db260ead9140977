"""Accounts, their users, and the API keys of a user."""

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
        """The full name of the account's one user; InputError, with their IDs, where there is not exactly one."""
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
    """The keys of one user, which every call takes by ID or full name. They have IDs, and no names."""

    collection = "apiKeys"
    schema = ApiKey

    def create(self, user: str, api_key: ApiKey) -> ApiKey:
        """A new key. Its secret, `key`, is in this answer alone, so a lost answer is not asked for again."""
        path = f"/v1/{self._client.full_name(user, 'users')}/{self.collection}"
        body = CreateApiKey(api_key=api_key).to_wire()
        try:
            made = read(ApiKey, self._client.request("POST", path, body=body, repeatable=False), path)
            if not made.key:
                raise unreadable(path, "it holds no key")
            return made
        except NetworkError as error:
            error.hint = error.hint or f"it may have been made all the same: firectl api-key list --user {user}"
            raise

    def revoke(self, user: str, key_id: str) -> None:
        """The key is not valid from now on."""
        path = f"/v1/{self._client.full_name(user, 'users')}/{self.collection}:delete"
        self._client.request("POST", path, body=DeleteApiKey(key_id=key_id).to_wire(), repeatable=True)

    def _parent(self, args: ListArgs) -> str:
        return f"/v1/{self._client.full_name(args['user'], 'users')}/{self.collection}"
