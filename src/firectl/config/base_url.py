"""Which base URL does a server setting mean?

The setting may be `HOST[:PORT]` or a URL, with or without the path of the API.
"""

from __future__ import annotations

import re

from firectl.errors import InputError

DEFAULT_BASE_URL = "https://api.fireworks.ai"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AUTHORITY = re.compile(r"([A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\])(?::(.*))?")
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_LOOPBACK = re.compile(r"localhost|.+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[?::1\]?")
_API_PATH = re.compile(r"(?:/+(?:inference|v1))*/*\Z")


def is_loopback(host: str) -> bool:
    """Whether a host name (without a port; IPv6 with or without brackets) means this machine. Uses no DNS."""
    return _LOOPBACK.fullmatch(host.lower().removesuffix(".")) is not None


def normalise_base_url(text: str, source: str) -> str:
    """Return `scheme://host[:port][/prefix]`, without a final slash and without the API's own `/v1` or `/inference/v1`.

    The default scheme is http on loopback and https elsewhere. `source` names the setting in errors. InputError for
    another scheme, a user name or password, a query, a fragment, or a malformed host, port or path.
    """
    text = text.strip()
    scheme_given = _SCHEME.match(text)
    rest = text[scheme_given.end() :] if scheme_given else text
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if "@" in rest:
        # The text before the @ may hold a password: the message must not repeat it.
        raise InputError(
            f"{source}: a base URL with a user name or password is not accepted",
            hint="write the URL without them, and give the key with FIREWORKS_API_KEY",
        )
    if "?" in path or "#" in path:
        raise InputError(f"{source}: a base URL cannot have a '?' or a '#'", hint="remove it and what follows it")
    host, port = _host_and_port(authority, source)
    scheme = scheme_given[1].lower() if scheme_given else "http" if is_loopback(host) else "https"
    if scheme not in ("http", "https"):
        raise InputError(f"{source}: expected http:// or https://, got {scheme}://")
    if not _PATH.fullmatch(path):
        raise InputError(f"{source}: {path!a} is not a valid path of a URL")
    return f"{scheme}://{host}{port}{_API_PATH.sub('', path)}"


def _host_and_port(authority: str, source: str) -> tuple[str, str]:
    """Return (host in lower case, `:port` or an empty string)."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or (authority.count(":") > 1 and not authority.startswith("[")):
        bare_ipv6 = re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", authority)
        hint = f"write an IPv6 address as [{authority}]" if bare_ipv6 else "write HOST, HOST:PORT or a URL"
        raise InputError(f"{source}: {authority!a} is not a host", hint=hint)
    host, port = found.groups()
    if port is None:
        return host.lower(), ""
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(f"{source}: expected a port from 1 to 65535, got {port!a}")
    return host.lower(), f":{int(port)}"
