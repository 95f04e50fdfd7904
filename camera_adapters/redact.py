"""Take credentials out of anything that a person or a log may see."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s'\"]*@")
_SECRET_PARAM = re.compile(
    r"(?i)\b(pass(?:word|wd)?|pwd|token|secret|access[_-]token|auth|key|signature)=[^&\s'\"]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}")


def redact(text: object) -> str:
    """Return `text` with the user part of URLs, secret parameters and authorisation values replaced by `***`."""
    clean = _USERINFO.sub(r"\1***@", str(text))
    clean = _SECRET_PARAM.sub(lambda m: f"{m[1]}=***", clean)
    return _BEARER.sub(lambda m: f"{m[1]} ***", clean)
