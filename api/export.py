"""Cases as a folder for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from api.access import Principal
from api.areas import Areas
from api.core import Core
from api.db import Database
from api.evidence import EvidenceStore
from api.metrics import Metrics
from api.pack import load_pack
from api.playable import Playable
from api.routes.exports import label_lines
from api.settings import Settings
from contract import EvidenceKind, utc_now
from contract.durable import whole_file

EVERYTHING = Principal("system", "system", "system", "system", "/", frozenset({"export.read"}))


async def write_labels(
    settings: Settings, db: Database, out: Path, files: bool, which: Literal["judged", "waiting"] = "judged"
) -> tuple[int, int]:
    """Write `cases.jsonl` and, with `files`, `evidence/<sha256>`; return how many of each. Sealed files stay."""
    store = EvidenceStore(settings)
    copies = Playable(settings, store)
    core = Core(settings, db, store, copies, utc_now, Metrics(), load_pack(settings.pack), Areas())
    folder = out / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    cases = copied = 0
    with whole_file(out / "cases.jsonl") as lines:
        for line in label_lines(core, EVERYTHING, None, which):
            lines.write(line.encode())
            cases += 1
            if files:
                copied += await _copy(core, folder, line)
    return cases, copied


async def _copy(core: Core, folder: Path, line: str) -> int:
    copied = 0
    for alert in json.loads(line)["alerts"]:
        for item in alert.get("evidence", []):
            target = folder / item["sha256"]
            size = await core.store.size(item["sha256"])
            if size is None or item["kind"] == EvidenceKind.SEALED:
                continue
            # By its size too: what an earlier release was stopped in is there cut short.
            if target.exists() and target.stat().st_size == size:
                continue
            with whole_file(target) as file:
                async for chunk in core.store.stream(item["sha256"], 0, size):
                    file.write(chunk)
            copied += 1
    return copied
