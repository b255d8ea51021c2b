"""Access to the hub as this machine's environment sets it: offline, address, proxies, certificates, token.

The HTTP client finds out about most of it when it is made, with errors that name no variable.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from servewatt.checkpoints.files import shown
from servewatt.errors import InputError

DEFAULT_ENDPOINT = "https://huggingface.co"
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_PROXIED = ("http", "https", "all")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


class UnreachableError(Exception):
    """The hub did not answer, or cannot be asked; `hint` says what to do, if that is known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def check_access() -> None:
    """Raise UnreachableError where the hub cannot be asked, InputError where a setting of the user's is wrong."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UnreachableError("HF_HUB_OFFLINE is set")
    address = urlsplit(endpoint())
    if address.scheme not in ("http", "https") or not address.netloc:
        raise InputError(
            f"HF_ENDPOINT is {shown(repr(endpoint()))}, which is no web address", f"write it like {DEFAULT_ENDPOINT}"
        )
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(variable)
        if path and not Path(path).exists():
            raise UnreachableError(f"{variable} is {shown(path)}, which is not there", f"unset {variable} or mend it")
    for name, address_of_proxy in _proxies():
        _check_proxy(name, address_of_proxy)
    _check_token()


def token_source() -> str:
    """Where the token that the hub is shown comes from; empty if it is shown none."""
    named = next((name for name in _TOKENS if os.environ.get(name, "").strip()), "")
    if named:
        return named
    from huggingface_hub import constants

    return constants.HF_TOKEN_PATH if Path(constants.HF_TOKEN_PATH).is_file() else ""


def bad_token(source: str, what: str) -> InputError:
    """The error for a token from `source` that cannot be used; `what` says how it shows."""
    away = f"unset {source}" if source in _TOKENS else f"delete {source}"
    return InputError(
        f"{_token_name(source)} {what}", f"{away}, or log in again (`hf auth login`); public models need no token"
    )


def _check_token() -> None:
    """InputError for a token that no HTTP header can hold, such as one with an ellipsis copied from a page."""
    source = token_source()
    if not source:
        return
    try:
        text = os.environ[source] if source in _TOKENS else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_token(source, f"cannot be read: {error}") from error
    strange = next((c for c in text.strip() if not c.isascii() or not c.isprintable() or c.isspace()), None)
    if strange is not None:
        raise bad_token(source, f"is not valid: it has the character {strange!a}")


def _token_name(source: str) -> str:
    return source if source in _TOKENS else f"the token in {source}"


def _proxies() -> Iterator[tuple[str, str]]:
    """(variable, address) of each proxy that the HTTP client makes a connection pool for."""
    for scheme, address in urllib.request.getproxies_environment().items():
        if scheme in _PROXIED and address:
            name = f"{scheme}_proxy"
            yield (name if os.environ.get(name) else name.upper()), address


def _check_proxy(name: str, address: str) -> None:
    # As httpx reads it.
    parts = urlsplit(address if "://" in address else f"http://{address}")
    hint = f"unset {name}, or write it like http://host:port"
    if parts.scheme not in _PROXY_SCHEMES:
        raise UnreachableError(f"the proxy {name}={shown(address)} cannot be used: its scheme is unknown", hint)
    try:
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UnreachableError(f"the proxy {name}={shown(address)} cannot be used: no host with a port", hint)
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise UnreachableError(
            f"the proxy {name}={shown(address)} cannot be used: the package socksio is missing",
            f"pip install socksio, or unset {name}",
        )
