"""A camera's entry in a box's file: written so that comments stay and no password is in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click
import yaml


def hide_password(url: str, camera_id: str) -> tuple[str, str]:
    """Return the address with `${NAME}` in the password's place, and NAME ("" where there is no password)."""
    found = re.match(r"^([a-zA-Z0-9+.-]+://[^:/@]+:)([^@]+)(@.*)$", url)
    if not found or found[2].startswith("${"):
        return url, ""
    variable = "CAMERA_" + re.sub(r"[^A-Za-z0-9]", "_", camera_id).upper() + "_PASSWORD"
    return f"{found[1]}${{{variable}}}{found[3]}", variable


def entry_text(entry: dict[str, Any]) -> str:
    """Return a camera as one item of a YAML list, indented by two."""
    return "".join(
        f"  {line}\n" for line in yaml.safe_dump([entry], sort_keys=False, allow_unicode=True).splitlines()
    )


def insert_entry(text: str, entry: str) -> str:
    """Return a box's file with the entry at the end of its `cameras:` list; comments and order stay.

    Raises:
        ValueError: the file has no such list, or not one item a line.
    """
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if re.match(r"^cameras:\s*(#.*)?$", line)), None)
    if start is None:
        raise ValueError("no line `cameras:` with a list below it; add one")
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " -#"):
        end += 1
    first = next((line for line in lines[start + 1 : end] if line.lstrip().startswith("- ")), "  - ")
    indent = len(first) - len(first.lstrip())
    item = "".join(" " * indent + line[2:] for line in entry.splitlines(keepends=True))
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join(lines[:end]) + item + "".join(lines[end:])


def add_to_box(box: Path, entry: str, variable: str) -> None:
    """Add an entry to a box's file, once the whole of it has been checked; `variable` may not be set yet.

    Raises:
        click.ClickException: the file would not do; it is left as it was.
    """
    from edge.config import BoxConfig
    from edge.yaml_source import ConfigError, load_yaml

    part = box.with_name(box.name + ".part")
    environ = {**os.environ, **({variable: "placeholder"} if variable else {})}
    try:
        part.write_text(insert_entry(box.read_text(encoding="utf-8"), entry), encoding="utf-8")
        load_yaml(part, BoxConfig, environ)
        part.chmod(box.stat().st_mode & 0o777)
        part.replace(box)
    except (ConfigError, ValueError) as exc:
        raise click.ClickException(f"{box} was left as it is: {exc}".replace(str(part), str(box))) from None
    finally:
        part.unlink(missing_ok=True)
