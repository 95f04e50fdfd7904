"""Small state on disk: JSON that is replaced in one step, so that a cut leaves the old or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from contract.durable import sync
from contract.fleet import Phase


def read_state(path: Path) -> dict[str, Any]:
    """Return the state; an empty one where there is none, or where it cannot be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def write_state(path: Path, state: dict[str, Any], mode: int = 0o600) -> None:
    """Replace the state, on the disk when this returns.

    Raises:
        OSError: the disk is full or not writable.
    """
    write_bytes(path, json.dumps(state, sort_keys=True).encode(), mode)


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step; see `write_state`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def phase_of(state: dict[str, Any], held: str) -> Phase:
    """Say where something that is taken on trial stands; `held` names the part of its state that is kept when it was good."""
    if state.get("trial"):
        return "trial"
    if state.get("refused"):
        return "rolled_back" if state.get("taken_back") else "refused"
    return "held" if state.get(held) else "none"
