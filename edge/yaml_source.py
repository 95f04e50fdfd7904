"""Read a YAML file into a pydantic model; every error names the file, the line, the field and the mend."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
_MAX_BYTES = 4 * 2**20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_MENDS: dict[str, str] = {
    "missing": "add this field",
    "extra_forbidden": "remove it, or correct its spelling",
    "string_type": "put the value in quotes",
    "bool_parsing": "use true or false",
    "float_parsing": "give a number",
    "int_parsing": "give a whole number",
    "enum": "use one of the names above",
    "literal_error": "use one of the names above",
    "too_short": "give more of them",
    "too_long": "give fewer of them",
    "greater_than": "give a larger number",
    "greater_than_equal": "give a larger number",
    "less_than": "give a smaller number",
    "less_than_equal": "give a smaller number",
    "string_pattern_mismatch": "use letters, digits, dot, dash and underscore",
    "model_type": "indent the fields under it",
    "list_type": "start each entry with a dash",
}


class ConfigError(ValueError):
    """A configuration file that cannot be used; `problems` has one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_env(path: Path) -> dict[str, str]:
    """Return the `NAME=value` lines of a file of secrets; none where the file is not there.

    A running process cannot be given new environment variables; this file it reads anew at each reload.

    Raises:
        ConfigError: others can read the file, or a line is not `NAME=value`.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            [f"{path}: cannot be read ({exc}); check its rights, and save it as UTF-8"]
        ) from None
    if mode & 0o077:
        raise ConfigError([f"{path}: others can read it; chmod 600 {path}"])
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise ConfigError([f"{path}:{number}: not NAME=value; write one a line"])
        value = value.strip()
        # A pair of quotes is no part of a value; a password may begin or end with one.
        values[name.strip()] = (
            value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
        )
    return values


def load_yaml(path: Path, model: type[M], environ: Mapping[str, str] = os.environ) -> M:
    """Read `path` and return it as `model`; `${NAME}` inside a string is taken from `environ`.

    Raises:
        ConfigError: the file is missing, is not YAML, names a field twice, or does not fit the model.
    """
    try:
        root = _compose(path)
        data = _construct(root, path, environ)
    except RecursionError:
        raise ConfigError([f"{path}: nested without end, or too deeply; write it out flat"]) from None
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(
            [_explain(path, root, e) for e in exc.errors(include_url=False, include_input=False)]
        ) from None


def _compose(path: Path) -> yaml.Node:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError([f"{path}: larger than {_MAX_BYTES} bytes; split it"])
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            [f"{path}: cannot be read ({exc.strerror}); check the path and its rights"]
        ) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ConfigError(
            [f"{path}:{line}: not valid YAML: {exc.problem}; check the indentation and quotes here"]
        ) from None
    except yaml.YAMLError as exc:
        why = str(exc).replace("\n", " ")[:200]
        raise ConfigError([f"{path}: not valid YAML: {why}; take that character out"]) from None
    if root is None:
        raise ConfigError([f"{path}: is empty; see docs/edge.md for an example"])
    return root


def _construct(node: yaml.Node, path: Path, environ: Mapping[str, str]) -> Any:
    seen_aliases = 0
    for where, key in _duplicates(node):
        raise ConfigError([f"{path}:{key.start_mark.line + 1}: {where}: named twice; keep one"])
    missing: list[str] = []

    def value_of(n: yaml.Node, where: str = "") -> Any:
        nonlocal seen_aliases
        seen_aliases += 1
        if seen_aliases > 200_000:
            raise ConfigError([f"{path}: too many values (aliases that repeat themselves?); write them out"])
        if isinstance(n, yaml.MappingNode):
            return {str(k.value): value_of(v, f"{where}.{k.value}".lstrip(".")) for k, v in n.value}
        if isinstance(n, yaml.SequenceNode):
            return [value_of(v, f"{where}[{i}]") for i, v in enumerate(n.value)]
        if n.tag == "tag:yaml.org,2002:str":
            unset = [name for name in _ENV.findall(n.value) if name not in environ]
            line = n.start_mark.line + 1
            missing.extend(
                f"{path}:{line}: ${{{name}}} is not set; export {name} before the start" for name in unset
            )
            return _ENV.sub(lambda m: environ.get(m[1], ""), n.value)
        # YAML 1.1 reads 20:00 as a number of base 60.
        if _CLOCK.fullmatch(n.value):
            return n.value
        try:
            return yaml.SafeLoader("").construct_object(n)
        except (yaml.YAMLError, ValueError, ArithmeticError, AttributeError, LookupError, TypeError):
            raise ConfigError(
                [
                    f"{path}:{n.start_mark.line + 1}: {where}: not a value of the kind that it looks like or names; "
                    "correct it, or put it in quotes"
                ]
            ) from None

    data = value_of(node)
    if missing:
        raise ConfigError(missing)
    return data


def _duplicates(
    node: yaml.Node, where: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, yaml.Node]]:
    seen = set() if seen is None else seen
    if (
        id(node) in seen
    ):  # an alias: its one node was looked at already, and aliases of aliases would never end
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            here = f"{where}.{key.value}".lstrip(".")
            if key.value in names:
                yield here, key
            names.add(key.value)
            yield from _duplicates(value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _duplicates(value, f"{where}[{i}]", seen)


def _explain(path: Path, root: yaml.Node, error: Any) -> str:
    node, field = root, ""
    for part in error["loc"]:
        step = _step(node, part)
        if step is None and not isinstance(part, int) and error["type"] not in {"missing"}:
            continue
        field += f"[{part}]" if isinstance(part, int) else f".{part}"
        node = step or node
    message = error["msg"].removeprefix("Value error, ")
    mend = _MENDS.get(error["type"], "")
    return f"{path}:{node.start_mark.line + 1}: {field.lstrip('.') or 'file'}: {message}" + (
        f"; {mend}" if mend else ""
    )


def _step(node: yaml.Node, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value if isinstance(value, yaml.Node) else None
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found = node.value[part]
        return found if isinstance(found, yaml.Node) else None
    return None
