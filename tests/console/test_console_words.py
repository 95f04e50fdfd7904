"""Every word of the console in both languages, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from contract import CaseState, IssueClass, ZoneKind

STATIC = Path(__file__).parents[2] / "api" / "console" / "static"
WORDS = sorted(STATIC.glob("words*.js"))


def words() -> dict[str, list[str]]:
    """Read every word of the pages: key -> [English, Chinese]."""
    found: dict[str, list[str]] = {}
    for path in WORDS:
        for key, en, zh in re.findall(
            r'(\w+): \[("(?:[^"\\]|\\.)*"), ("(?:[^"\\]|\\.)*")\]', path.read_text("utf-8")
        ):
            assert key not in found, f"{key} is there twice"
            found[key] = [json.loads(en), json.loads(zh)]
    return found


def test_both_languages_are_complete() -> None:
    told = words()
    raw = sum(len(re.findall(r"\w+: \[", path.read_text("utf-8"))) for path in WORDS)
    assert len(told) == raw, "each key has its two texts"
    for key, (en, zh) in told.items():
        assert en, key
        assert zh, key
        assert key in {"lang", "kappa"} or re.search(r"[\u4e00-\u9fff]", zh), f"{key}: not translated"
        assert set(re.findall(r"{\w+}", en)) == set(re.findall(r"{\w+}", zh)), f"{key}: other gaps"
    used = set(re.findall(r"data-t=\"(\w+)\"", (STATIC / "index.html").read_text("utf-8")))
    for path in STATIC.glob("*.js"):
        used |= set(re.findall(r"\bt\(\"(\w+)\"\)", path.read_text("utf-8")))
        # One word of two: t(x ? "a" : "b"); and families of words, of which at least one must be there.
        for pair in re.findall(r"\bt\([^()\"`]*\? \"(\w+)\" : \"(\w+)\"\)", path.read_text("utf-8")):
            used |= set(pair)
        for family in re.findall(r"\bt\(`(\w+)\$\{", path.read_text("utf-8")):
            assert any(key.startswith(family) for key in told), f"{path.name}: no word begins with {family}"
    names = re.findall(
        r'"([a-z_]+\.[a-z_]+)": \["([^"]+)", "([^"]+)"\]', (STATIC / "strings.js").read_text("utf-8")
    )
    assert {n[0] for n in names} == {i.value for i in IssueClass}, "each class has its two names"
    assert all(re.search(r"[\u4e00-\u9fff]", n[2]) and not re.search(r"[\u4e00-\u9fff]", n[1]) for n in names)
    used |= {f"s_{s.value}" for s in CaseState} | {f"z_{k.value}" for k in ZoneKind}
    assert used <= set(told), f"without words: {used - set(told)}"
    plain = {k for k in told if not re.match(r"[a-z]+\d|[a-zA-Z0-9]+_|arrival$", k)}
    text = "".join(
        p.read_text("utf-8")
        for p in [*STATIC.glob("*.js"), STATIC / "index.html"]
        if not p.name.startswith("words")
    )
    unused = {k for k in plain if not re.search(rf"\b{k}\b", text)}
    assert not unused, f"words that no page says: {unused}"


def test_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = (
            path.read_text(encoding="utf-8").replace("http://www.w3.org/", "").replace("https://CENTRE/", "")
        )
        assert not re.search(r"https?://[\w$\[]", text), path.name
