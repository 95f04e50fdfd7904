"""The images' steps in a clean root, their Dockerfiles, and what a person deploys with: compose, chart."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "curbwatch"
BIN = Path(sys.executable).parent
DOCKERFILES = sorted((DEPLOY / "images").glob("*.Dockerfile"))
# The packed image, Debian and Python included; those were 58 MB packed where `deploy/images/try-root` measured them.
BUDGET_MB, DEBIAN_MB = 450, 58


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def steps(*words: str | Path) -> str:
    tools = {"UV": str(BIN / "uv"), "CYCLONEDX": str(BIN / "cyclonedx-py"), "PYTHON": sys.executable}
    env = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/root")} | tools
    env |= {
        k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_", "SSL_")) or k.endswith("_proxy")
    }
    command = [DEPLOY / "images" / "steps", *words]
    first = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=env)
    if first.returncode and words[0] == "install":  # without the network, from what was fetched before
        shutil.rmtree(words[2], ignore_errors=True)
        return run(*command, env=env | {"UV_OFFLINE": "1"}).stdout
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    return first.stdout


@pytest.fixture(scope="module")
def edge_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("image") / "curbwatch"
    steps("install", "edge-cpu", root)
    steps("slim", root)
    steps("sbom", "edge-cpu", root)
    return root


def test_the_edge_image_starts_and_holds_nothing_of_the_centre(edge_root: Path) -> None:
    assert "good: box box-1, 1 cameras, 1 zones" in steps("check", "edge-cpu", edge_root)


def test_the_edge_image_detects_with_both_runtimes_and_writes_nothing_beside_itself(edge_root: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in edge_root.rglob("*") if p.is_file()}
    program = (
        "import numpy as np\nfrom models.bundle import load_bundle\nfrom models.detector import Detector\n"
        "for runtime in ('cpu', 'openvino'):\n"
        "    d = Detector(load_bundle('default'), runtime, 1, 1)\n"
        "    print(d.provider, len(d.detect([np.zeros((360, 640, 3), np.uint8)])))\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    told = run(edge_root / "bin" / "python", "-c", program, env=env, cwd="/").stdout
    assert [line.split()[1] for line in told.splitlines()[-2:]] == ["1", "1"]
    assert "openvino" in told.lower()
    assert before == {p: p.stat().st_mtime_ns for p in edge_root.rglob("*") if p.is_file()}


def test_every_user_can_read_the_image_and_its_packages_are_all_in_the_sbom(edge_root: Path) -> None:
    closed = [p for p in edge_root.rglob("*") if p.is_file() and not p.stat().st_mode & stat.S_IROTH]
    assert closed == []
    bom = json.loads((edge_root / "sbom.cdx.json").read_text())
    told = {re.sub(r"[-_.]+", "-", c["name"]).lower(): c["version"] for c in bom["components"]}
    site = next((edge_root / "lib").glob("python3*")) / "site-packages"
    there = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in distributions(path=[str(site)])}
    assert len(there) > 20
    assert there == told
    assert not {"fastapi", "sqlalchemy", "torch", "ultralytics", "pip"} & set(there)


def test_the_edge_image_is_within_its_budget(edge_root: Path) -> None:
    class Count(io.RawIOBase):
        size = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.size += len(data)
            return len(data)

    count = Count()
    with gzip.open(count, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        tar.add(edge_root, "curbwatch")
    assert count.size / 1e6 + DEBIAN_MB < BUDGET_MB


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_dockerfiles_are_clean_and_do_nothing_but_the_steps(path: Path) -> None:
    run(BIN / "hadolint", path)
    text = path.read_text()
    kind = path.stem
    assert text.count(f"steps system {kind} build") == 1
    assert text.count(f"steps system {kind} run") == 1
    for word in ("install", "sbom", "check"):
        assert f"steps {word} {kind} /opt/curbwatch" in text
    assert "\nUSER 10001:10001\n" in text
    assert ("\nEXPOSE" in text) == (kind == "api")
    assert (ROOT / "requirements" / f"image-{kind}.txt").exists()
    assert not re.search(r"^FROM (?!\$\{BASE\})", text, re.M)


def test_the_image_pins_are_hashed_and_name_no_registry() -> None:
    for path in (ROOT / "requirements").glob("image-*.txt"):
        text = path.read_text()
        assert "://" not in text, path.name
        for block in re.split(r"\n(?=[a-z0-9])", text):
            if re.match(r"[a-z0-9]", block):
                assert "--hash=sha256:" in block, block[:60]
    assert "onnxruntime==" not in (ROOT / "requirements" / "image-edge-cuda.txt").read_text()
    assert "onnxruntime-gpu==" in (ROOT / "requirements" / "image-edge-cuda.txt").read_text()


@pytest.mark.parametrize("words", [["zoo"], ["install", "zoo", "/nonexistent"], ["system", "zoo", "run"]])
def test_unknown_steps_and_kinds_are_refused_with_the_mend(words: list[str]) -> None:
    done = subprocess.run(
        [str(DEPLOY / "images" / "steps"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "zoo" in done.stderr
    assert "edge-cpu" in done.stderr or "install" in done.stderr


def compose(folder: Path) -> dict[str, Any]:
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy)
    run(copy / "compose" / "secrets")
    told = run(
        "docker-compose", "-f", copy / "compose" / "compose.yaml", "config", cwd=copy / "compose"
    ).stdout
    return yaml.safe_load(told)


def test_compose_renders_hardened_services_with_secrets_in_files_alone(tmp_path: Path) -> None:
    told = compose(tmp_path)
    services = told["services"]
    assert {"api", "migrate", "postgres", "s3", "edge", "prometheus", "grafana"} <= set(services)
    words = {p.name: p.read_text() for p in (tmp_path / "deploy" / "compose" / "secrets.d").iterdir()}
    flat = json.dumps(told)
    for name in ("postgres_password", "s3_access_key", "s3_secret_key", "grafana_password"):
        assert len(words[name]) >= 32
        assert words[name] not in flat
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("read_only") or name == "postgres", name
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), name
    assert "ports" not in services["edge"]
    assert told["networks"]["inside"]["internal"] is True
    for source in re.findall(r"file: (\S+)", yaml.safe_dump(told["secrets"])):
        assert Path(source).is_file()
    mounted = {
        v.split(":")[0]
        for s in services.values()
        for v in s.get("volumes", [])
        if v.startswith(str(tmp_path))
    }
    assert all(Path(m).exists() for m in mounted)
    for name, kind in (("api", "api"), ("edge", "edge-cpu")):
        build = services[name]["build"]
        assert Path(build["context"]) == tmp_path
        assert (tmp_path / build["dockerfile"]).name == f"{kind}.Dockerfile"
        assert (tmp_path / build["dockerfile"]).is_file()


def test_no_two_services_of_the_compose_file_build_the_same_image(tmp_path: Path) -> None:
    services = compose(tmp_path)["services"]
    built = [s["image"] for s in services.values() if "build" in s]
    assert len(built) == len(set(built))
    # Without a build of its own a service starts only from an image that another builds, or that a registry has.
    assert services["migrate"]["image"] == services["api"]["image"]
    assert services["api"]["image"] in built


def test_what_the_compose_file_keeps_secret_is_in_no_image_and_in_no_commit() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    for name in ("secrets.d", "box.d"):
        assert f"deploy/compose/{name}" in left_out
        assert f"{name}/" in (DEPLOY / "compose" / ".gitignore").read_text().splitlines()


def test_the_box_of_the_compose_file_reads_its_file_and_its_passwords_where_they_are_mounted(
    tmp_path: Path,
) -> None:
    from edge.config import load_box

    edge = compose(tmp_path)["services"]["edge"]
    folder = tmp_path / "deploy" / "compose" / "box.d"
    assert f"{folder}:/etc/curbwatch:ro" in edge["volumes"]
    example = (DEPLOY / "compose" / "box.example.yaml").read_text()
    (folder / "box.yaml").write_text(example.replace("viewer@", "viewer:${GATE}@"))
    (folder / "box.env").write_text("GATE=hidden\n")
    (folder / "box.env").chmod(0o600)
    box = load_box(folder / "box.yaml")
    assert "hidden" in box.cameras[0].url.get_secret_value()
    assert box.api.url == "http://api:8080"
    assert str(box.api.token_file) == f"/run/secrets/{edge['secrets'][0]['source']}"
    assert f"edge:{box.data_dir}:rw" in edge["volumes"]


def test_compose_secrets_stay_when_they_are_made_again(tmp_path: Path) -> None:
    compose(tmp_path)
    folder = tmp_path / "deploy" / "compose"
    before = {p.name: p.read_text() for p in (folder / "secrets.d").iterdir()}
    run(folder / "secrets")
    assert before == {p.name: p.read_text() for p in (folder / "secrets.d").iterdir()}


def test_compose_gives_the_api_only_settings_it_knows(tmp_path: Path) -> None:
    from api.settings import PREFIX, Settings

    for name in compose(tmp_path)["services"]["api"]["environment"]:
        field = name.removeprefix(PREFIX).removesuffix("_FILE").lower()
        assert field in Settings.model_fields, name


def test_settings_come_from_mounted_secrets_and_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.settings import Settings

    secret = tmp_path / "url"
    secret.write_text("postgresql+psycopg://u:hidden@db/x\n")
    monkeypatch.setenv("CURBWATCH_API_DATABASE_URL_FILE", str(secret))
    read = Settings.from_env(data=tmp_path)
    assert read.db_url == "postgresql+psycopg://u:hidden@db/x"
    assert "hidden" not in repr(read)
    monkeypatch.setenv("CURBWATCH_API_DATABASE_URL", "sqlite://")
    with pytest.raises(ValueError, match="not both"):
        Settings.from_env(data=tmp_path)
    monkeypatch.delenv("CURBWATCH_API_DATABASE_URL")
    monkeypatch.setenv("CURBWATCH_API_DATABASE_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="cannot be read"):
        Settings.from_env(data=tmp_path)


VARIANTS = {
    "default": [],
    "statefulset_gpu": [
        "edge.kind=statefulset",
        "edge.replicas=3",
        "edge.gpu.count=1",
        "edge.runtimeClassName=nvidia",
    ],
    "api_alone": ["edge.kind=none", "networkPolicy.enabled=false", "api.ingress.enabled=false"],
    "own_files": [
        "api.pack=/etc/curbwatch/pack/city.yaml",
        "api.packConfigMap=city-pack",
        "api.releasesClaim=city-releases",
        "api.secrets.unsealKey.name=city-unseal",
    ],
}


def render(*settings: str) -> list[dict[str, Any]]:
    more = [word for s in settings for word in ("--set", s)]
    return [d for d in yaml.safe_load_all(run(BIN / "helm", "template", "city", CHART, *more).stdout) if d]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_chart_renders_objects_that_kubernetes_knows(name: str, tmp_path: Path) -> None:
    run(BIN / "helm", "lint", "--strict", CHART)
    objects = render(*VARIANTS[name])
    for version in ("1.28", "1.31"):
        rendered = tmp_path / "all.yaml"
        rendered.write_text(yaml.safe_dump_all(objects))
        run(BIN / "kubernetes-validate", "--strict", "--quiet", "-k", version, rendered)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pod_of_the_chart_is_locked_down_and_takes_secrets_by_reference(name: str) -> None:
    pods = [o["spec"]["template"]["spec"] for o in render(*VARIANTS[name]) if "template" in o.get("spec", {})]
    assert len(pods) == (2 if name == "api_alone" else 3)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            for variable in container["env"]:
                mounted = str(variable.get("value")).startswith("/run/secrets/curbwatch/")
                if re.search("KEY|SECRET|PASSWORD|TOKEN|DATABASE_URL", variable["name"]) and not mounted:
                    assert "secretKeyRef" in variable["valueFrom"]


def test_the_chart_places_boxes_by_label_and_lets_nobody_in() -> None:
    by_kind = {o["kind"]: o for o in render(*VARIANTS["statefulset_gpu"])}
    pod = by_kind["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"curbwatch.io/edge": "true"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "ports" not in pod["containers"][0]
    edge = next(o for o in render() if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "city-edge")
    assert "Ingress" in edge["spec"]["policyTypes"]
    assert "ingress" not in edge["spec"]
    job = next(o for o in render() if o["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    ingress = next(o for o in render() if o["kind"] == "Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/affinity"] == "cookie"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("edge.kind=zoo", "edge.kind: daemonset, statefulset or none"),
        ("api.secrets.fleetKey.name=", "the fleet key needs a name (api.secrets.fleetKey.name)"),
    ],
)
def test_the_chart_refuses_what_would_not_work(setting: str, words: str) -> None:
    done = subprocess.run(
        [str(BIN / "helm"), "template", "city", str(CHART), "--set", setting],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize("name", ["default", "own_files"])
def test_every_file_that_a_replica_needs_is_mounted_where_its_settings_say(name: str) -> None:
    from api.settings import PREFIX, Settings

    pod = next(o for o in render(*VARIANTS[name]) if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    api = pod["containers"][0]
    told = {v["name"].removeprefix(PREFIX).lower(): v.get("value") for v in api["env"]}
    assert set(told) <= set(Settings.model_fields)
    mounts = {m["mountPath"]: m["name"] for m in api["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert set(mounts.values()) == set(volumes)
    keys = [s["secret"] for s in volumes["keys"]["projected"]["sources"]]
    files = {f"/run/secrets/curbwatch/{i['path']}": s["name"] for s in keys for i in s["items"]}
    assert files.pop(told["fleet_key"]) == "curbwatch-fleet"
    if name == "default":
        assert not files
        assert {"unseal_key", "releases"}.isdisjoint(told)
        return
    assert files == {told["unseal_key"]: "city-unseal"}
    assert volumes[mounts[told["releases"]]]["persistentVolumeClaim"]["claimName"] == "city-releases"
    pack = mounts[str(Path(told["pack"]).parent)]
    assert volumes[pack]["configMap"]["name"] == "city-pack"
