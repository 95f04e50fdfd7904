"""A camera's entry in a box's file: written so that its comments and order stay, and no password stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import click
import yaml

from camera_adapters.mends import sub_stream_of
from camera_adapters.redact import SECRET_PARAM

# A user may be missing (gb28181://:PASSWORD@…); an @ in the path ends no login.
_LOGIN = re.compile(r"^([a-zA-Z0-9+.-]+://[^:/?#]*:)([^/?#]+)(?=@)")


def sub_entry(
    url: str, sub: str | None, camera_id: str, known: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Return the sub stream's address for the file ("" where none) and its variables; `known` are the main stream's."""
    if sub is None:
        return "", {}
    found = sub_stream_of(url) if sub == "auto" else sub
    if found is None:
        raise click.UsageError("--sub auto: this maker's sub stream is not known; give its address")
    return hide_secrets(found, f"{camera_id}-sub", known)


def save_secrets(path: Path, secrets: dict[str, str]) -> None:
    """Add passwords to a file of secrets; a name that is there already is replaced."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in secrets]
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write("".join(f"{line}\n" for line in [*kept, *(f"{n}={v}" for n, v in secrets.items())]))
    part.replace(path)


def hide_secrets(
    url: str, camera_id: str, known: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """Return the address with `${NAME}` in place of its password and secret parameters, and what each NAME stands for.

    Secrets are kept as they are written in the address. One of `known` (name and secret) keeps its name.
    """
    base = "CAMERA_" + re.sub(r"[^A-Za-z0-9]", "_", camera_id).upper() + "_PASSWORD"
    names, secrets = {secret: name for name, secret in (known or {}).items()}, dict[str, str]()
    taken = {*(known or {}), *re.findall(r"\$\{(\w+)\}", url)}
    free = (name for n in count(1) if (name := base if n == 1 else f"{base}_{n}") not in taken)

    def hide(found: re.Match[str], between: str) -> str:
        secret = found[2]
        if secret.startswith("${"):
            return found[0]
        if secret not in names:
            names[secret] = next(free)
        name = names[secret]
        secrets[name] = secret
        return f"{found[1]}{between}${{{name}}}"

    hidden = _LOGIN.sub(lambda m: hide(m, ""), url)
    return SECRET_PARAM.sub(lambda m: hide(m, "="), hidden), secrets


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
