"""A camera's entry in a box's file: written so that its comments and order stay, and no password stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from camera_adapters.mends import sub_stream_of

_LOGIN = re.compile(r"^([a-zA-Z0-9+.-]+://[^:/@]+:)([^@]+)(@.*)$")


def sub_entry(url: str, sub: str | None, camera_id: str) -> tuple[str, str, str]:
    """Return the sub stream's address for the file, the variable of its password ("" where none), and as it is."""
    if sub is None:
        return "", "", ""
    found = sub_stream_of(url) if sub == "auto" else sub
    if found is None:
        raise click.UsageError("--sub auto: this maker's sub stream is not known; give its address")
    same = password_of(found) == password_of(url)
    address, variable = hide_password(found, camera_id if same else f"{camera_id}-sub")
    return address, variable, found


def password_of(url: str) -> str:
    """Return an address's password as it is written there; empty where there is none."""
    found = _LOGIN.match(url)
    return found[2] if found else ""


def save_secrets(path: Path, secrets: dict[str, str]) -> None:
    """Add passwords to a file of secrets; a name that is there already is replaced."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in secrets]
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write("".join(f"{line}\n" for line in [*kept, *(f"{n}={v}" for n, v in secrets.items())]))
    part.replace(path)


def hide_password(url: str, camera_id: str) -> tuple[str, str]:
    """Return the address with `${NAME}` in the password's place, and NAME ("" where there is no password)."""
    found = _LOGIN.match(url)
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


def add_to_box(box: Path, entry: str, secrets: Mapping[str, str]) -> None:
    """Write a box's file with one more camera, when the whole is good; `secrets` are the variables that it will have.

    Raises:
        click.ClickException: it is not; the file is left as it is.
    """
    from edge.config import BoxConfig
    from edge.yaml_source import ConfigError, load_yaml, read_env

    part = box.with_name(box.name + ".part")
    try:
        environ = {**os.environ, **read_env(box.with_suffix(".env")), **secrets}
        part.write_text(insert_entry(box.read_text(encoding="utf-8"), entry), encoding="utf-8")
        load_yaml(part, BoxConfig, environ)
        part.chmod(box.stat().st_mode & 0o777)
        part.replace(box)
    except (ConfigError, ValueError) as exc:
        raise click.ClickException(f"{box} was left as it is: {exc}".replace(str(part), str(box))) from None
    finally:
        part.unlink(missing_ok=True)
