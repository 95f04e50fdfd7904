"""Whether an answer is the centre's own. A proxy's or a portal's page comes with 200 as well, and says nothing."""

from __future__ import annotations

from typing import Any

import httpx


def told(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one where there is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def refuses(answer: httpx.Response) -> bool:
    """Whether the centre itself says no: each of its refusals has a `detail`."""
    return "detail" in told(answer)


def holds(answer: httpx.Response, sha256: str) -> bool:
    """Whether the centre says that it has the whole of a file."""
    if answer.request.method == "HEAD":
        return answer.is_success and answer.headers.get("Upload-Complete") == "?1"
    found = told(answer)
    return answer.is_success and found.get("sha256") == sha256 and found.get("complete") is True
