"""Take credentials out of anything that a person or a log may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

# To the last @ before a blank: a password may hold quotes. What follows too closely is hidden with it.
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)\S*@")
# Makers write loginpas, userpwd and api_key too; the short and common words count alone, or behind one of theirs. Some write
# parameters into the path, between underscores.
SECRET_PARAM = re.compile(
    r"(?i)(pass(?:w(?:or[dt]|d)|code|phrase)|pwd|psw|token|secret"
    r"|(?<![a-z])(?:(?:login|user|usr|admin|web|http|rtsp|cam)?(?:pass?|pw)|auth|sig(?:nature)?)"
    r"|(?<![a-z_-])(?:(?:api|access|session|stream|private)[_-]?)?key)="
    r"((?:(?!_(?:channel|stream)=)[^&\s\"])+)"
)
# What stands where a port should, in the words of several libraries, is part of a password with an unescaped "/".
_PORT = re.compile(r"(?i)(\bport\b[^'\"]{0,60}(['\"])).*\2")
_BEARER = re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}")


def redact(text: object, secrets: Iterable[str] = ()) -> str:
    """Return `text` without the user part of URLs, secret parameters, authorisation values and the given secrets."""
    clean = _USERINFO.sub(r"\1***@", str(text))
    clean = SECRET_PARAM.sub(lambda m: f"{m[1]}=***", clean)
    clean = _BEARER.sub(lambda m: f"{m[1]} ***", clean)
    clean = _PORT.sub(r"\1***\2", clean)
    for secret in secrets:
        clean = clean.replace(secret, "***")
    return clean


def check_login(url: str) -> None:
    """Look whether an address can be taken apart as it was meant. A path of this machine is none.

    Raises:
        ValueError: it cannot; the text repeats nothing of it.
    """
    if "://" not in url or url.startswith("file:"):
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    # Where a user stands before an unescaped "/", what reads as the host is no name of one. Elsewhere an @ may be.
    nobody = parts is not None and not re.search(r"[.:]|^localhost$", parts.hostname or "")
    if parts is None or (nobody and "@" not in parts.netloc and "@" in url):
        raise ValueError(
            "cannot be taken apart; in a user or password write / as %2F, ? as %3F, # as %23, @ as %40, "
            "in a path @ as %40, and the port as a number up to 65535"
        )


def secrets_of(url: str) -> tuple[str, ...]:
    """Return a URL's password and secret parameters as an error text may repeat them, the longest first."""
    # A password of one or two letters would black out half of every message, and tells nothing; a parameter may be a word.
    found = [m[2] for m in SECRET_PARAM.finditer(url) if len(m[2]) >= 6 and not m[2].isalpha()]
    with suppress(ValueError):
        found.append(urlsplit(url).password or "")
    forms = {form for secret in found for form in (secret, unquote(secret))}
    return tuple(sorted((f for f in forms if len(f) > 2), key=len, reverse=True))
