"""No secret lies in the tree, and everything that is installed is pinned by hash. `make audit` asks for vulnerabilities too."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from api.settings import Settings
from curbwatch.__main__ import cli as main
from edge.config import BoxConfig

ROOT = Path(__file__).parents[2]
BINARY = {".onnx", ".png", ".jpg", ".jpeg", ".mp4", ".avi", ".npz", ".npy", ".woff2", ".ico", ".zip"}
# Hashes and schemas by the thousand, written by commands of ours.
GENERATED = {ROOT / "requirements", ROOT / "docs" / "schema"}
# Detectors of formats that are secrets wherever they stand. Entropy is left out: hashes are this project's daily bread.
FORMATS = (
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "CloudantDetector", "DiscordBotTokenDetector",
    "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector", "JwtTokenDetector", "MailchimpDetector",
    "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector",
    "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip
# In code that runs, also passwords in addresses and in assignments; tests make such up all the time.
WORDS = ("BasicAuthDetector", "KeywordDetector")
OURS = re.compile(rb"cw_(dev|key)_[A-Za-z0-9_-]{30,}|AGE-SECRET-KEY-1[A-Z0-9]{50,}|whsec_[A-Za-z0-9+/]{32,}")
EXAMPLES = re.compile(r":(password|pw|secret)@|\"password\": \"as printed|password: \"Password")


def tree() -> list[Path]:
    """The files of the project: what git knows, or all where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode == 0:
        found = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    else:
        skip = {".venv", "var", "build", ".git"}
        found = [p for p in ROOT.rglob("*") if not skip & set(p.relative_to(ROOT).parts)]
    return [p for p in found if p.is_file() and p.suffix.lower() not in BINARY and p.parent not in GENERATED]


def secrets_in(paths: list[Path], plugins: tuple[str, ...]) -> list[str]:
    found = []
    with transient_settings({"plugins_used": [{"name": name} for name in plugins]}):
        for path in paths:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [
                f"{path}:{secret.line_number} {secret.type}"
                for secret in scan_file(str(path))
                if not EXAMPLES.search(lines[secret.line_number - 1])
            ]
    return found


def test_no_secret_lies_in_the_tree() -> None:
    files = tree()
    assert len(files) > 200
    assert secrets_in(files, FORMATS) == []
    assert [str(p) for p in files if OURS.search(p.read_bytes())] == []
    code = [p for p in files if p.relative_to(ROOT).parts[0] not in {"tests", "requirements"}]
    assert (
        secrets_in([p for p in code if p.suffix in {".py", ".yaml", ".yml", ".toml", ".md", ".sh"}], WORDS)
        == []
    )


@pytest.mark.parametrize(
    ("parts", "plugins"),
    [
        (("-----BEGIN RSA PRIVATE", " KEY-----"), FORMATS),
        (("aws = 'AKIA", "IOSFODNN7EXAMPLE'"), FORMATS),
        (("https://root:hunter2", "@10.0.0.1/x"), WORDS),
        (("api_password = '", "Tr0ub4dor3xyz'"), WORDS),
    ],
)
def test_a_planted_secret_is_found(tmp_path: Path, parts: tuple[str, str], plugins: tuple[str, ...]) -> None:
    path = tmp_path / "planted.py"
    path.write_text("".join(parts) + "\n")
    assert len(secrets_in([path], plugins)) == 1


def test_our_own_tokens_have_a_form_that_is_found() -> None:
    assert OURS.search(b"cw_dev_" + b"a" * 43)
    assert OURS.search(b"AGE-SECRET-KEY-1" + b"Q" * 58)


@pytest.mark.parametrize("name", ["base", "dev", "training"])
def test_every_package_is_pinned_to_a_version_and_a_hash(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
    assert len(blocks) > 20
    for block in blocks:
        first = block.splitlines()[0]
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^ ]+", first), first
        assert "--hash=sha256:" in block, first
        assert "://" not in block, first


def _threats() -> list[tuple[str, str]]:
    """Each line of the threat model's table: the threat, and what proves the answer."""
    told = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [r.strip("|").split(" | ") for r in told.splitlines() if r.startswith("|") and "---" not in r]
    assert {len(r) for r in rows} == {4}, [r for r in rows if len(r) != 4]
    return [(threat.strip(), proof.strip()) for _, threat, _, proof in rows[1:]]


def _setting(name: str) -> bool:
    """True when a dotted name is a field of the box's file or of the centre's settings."""
    model: Any = BoxConfig
    for part in name.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return name in Settings.model_fields
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if hasattr(t, "model_fields")]
        model = inner[0] if inner else None
    return True


def _known(proof: str, tests: str) -> bool:
    if proof.startswith("test_"):
        return (
            re.search(
                rf"def {re.escape(proof.removesuffix('…'))}{'' if proof.endswith('…') else r'[(]'}", tests
            )
            is not None
        )
    if proof.startswith(("curbwatch ", "bench ")):
        words = proof.removeprefix("curbwatch ").split()
        done = CliRunner().invoke(main, [*(w for w in words if not w.startswith("-")), "--help"])
        return done.exit_code == 0
    return (ROOT / proof).exists() if "/" in proof else _setting(proof)


@pytest.mark.parametrize(("threat", "proof"), _threats(), ids=[t[:40] for t, _ in _threats()])
def test_each_threat_names_what_answers_it_and_it_is_there(threat: str, proof: str) -> None:
    tests = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`([^`]+)`", proof)
    assert named, f"{threat}: names nothing that could be looked up"
    unknown = [n for n in named if not _known(n, tests)]
    assert not unknown, f"docs/security.md names {unknown}, which is not there"


def test_what_is_not_there_is_not_known() -> None:
    for name in (
        "test_nobody_wrote_this",
        "test_nobody…",
        "cameras.nothing",
        "bench nothing",
        "docs/nothing.md",
        "nothing",
    ):
        assert not _known(name, "def test_other(): ...")


def test_ci_audits_what_is_pinned() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    recipe = (ROOT / "Makefile").read_text().split("\ntest:")[1].split("\n\n")[0]
    assert 0 < recipe.index("scripts/audit known") < recipe.index("/pytest")


def test_an_audit_without_the_internet_says_so() -> None:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        ["scripts/audit", "known"], cwd=ROOT, env={**os.environ, **nowhere, "NO_PROXY": "", "no_proxy": ""},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert "cannot be reached" in done.stderr
