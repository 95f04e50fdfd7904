"""No secret lies in the tree, and everything that is installed is pinned by hash. `make audit` asks for vulnerabilities too."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

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


def test_the_threat_model_names_tests_and_files_that_are_there() -> None:
    told = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    code = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py")}
    names = re.findall(r"`(test_[a-z0-9_]+)(\.py|…)?`", told)
    assert len(names) > 15
    for name, tail in names:
        known = (
            f"{name}.py" in code if tail == ".py" else any(f"def {name}" in text for text in code.values())
        )
        assert known, f"docs/security.md names {name}{tail}, which is not there"
    for path in re.findall(r"`([a-z_]+/[a-z_/]+(?:\.(?:py|md))?)`", told):
        assert (ROOT / path).exists(), f"docs/security.md names {path}, which is not there"
    settings = "".join((ROOT / p).read_text() for p in ("api/settings.py", "edge/config.py"))
    for name in ("max_evidence_bytes", "max_body_bytes", "min_free_bytes", "seal_to"):
        assert f"`{name}`" in told or f".{name}`" in told
        assert f"{name}:" in settings
