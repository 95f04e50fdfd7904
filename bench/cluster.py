"""A cluster on one machine: real Ray nodes, real RTSP cameras, a real centre; one node is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from bench.ports import free_port
from curbwatch.cluster.plan import ClusterPlan, GroupPlan
from curbwatch.demo.box import DEMO_PLACE, DEMO_ZONES, TIMEZONE
from curbwatch.demo.children import Children
from curbwatch.demo.run import api_command

CONFIRM_S = 10.0
# Before Ray is imported: the loopback instead of the network card's address, no reports to anybody.
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0")
STARTS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the loss of a node did.

    Attributes:
        moved: groups that ran on the node that was killed.
        live_again_s: seconds from the kill until every camera of every group was live.
        others_kept: True when the groups of the other nodes stayed where they were.
        cases_before, cases_after: the centre's cases before the kill and at the end; each camera shows one van.
        alerts_after: alerts at the end; an alert twice would be one more than cameras.
    """

    cameras: int
    groups: int
    moved: int
    live_again_s: float
    others_kept: bool
    cases_before: int
    cases_after: int
    alerts_after: int


def started(start: Callable[[], Any]) -> Any:
    """Start a node of Ray, anew where a busy machine did not bring it up within the 30 s that Ray 2 allows and has no setting for."""
    import ray

    for _ in range(STARTS - 1):
        try:
            return start()
        except Exception as exc:
            # Ray raises a bare Exception here.
            if "timed out during startup" not in str(exc):
                raise
            ray.shutdown()
    return start()


@contextlib.contextmanager
def nodes(sites: list[str], cpus_each: float) -> Iterator[Any]:
    """Start a head without room for cameras and one node a site, labelled `site`; yield Ray's local cluster."""
    import ray
    from ray import cluster_utils

    cluster: Any = started(
        lambda: cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
    )
    try:
        for site in sites:
            started(partial(cluster.add_node, num_cpus=cpus_each, labels={"site": site}))
        ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_node(cluster: Any, node_id: str) -> None:
    """SIGKILL a node's raylet and every process under it, as a power cut would."""
    node = next(n for n in cluster.list_all_nodes() if n.node_id == node_id)
    raylet = next(p[0].process for name, p in node.all_processes.items() if name == "raylet")
    family = [psutil.Process(raylet.pid), *psutil.Process(raylet.pid).children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGKILL)
    cluster.worker_nodes.discard(node)


def run(
    folder: Path, clip: Path, groups: int, cameras_each: int, settle_s: float, say: Callable[[str], None]
) -> Outcome:
    """Place `groups` groups on as many nodes, let each camera raise its case, kill the first group's node, and look.

    Raises:
        TimeoutError: the cameras or the cases did not come in time.
    """
    from curbwatch.cluster.groups import Keeper

    names = [f"g{g}c{c}" for g in range(groups) for c in range(cameras_each)]
    port, camera_port = free_port(), free_port()
    api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
    data = folder / "api"
    password = api_command(["init", "--data", str(data), "--json"])["password"]
    plans = []
    for g in range(groups):
        token = api_command(["device", "add", f"box{g}", "--data", str(data), "--json"])["token"]
        ours = [n for n in names if n.startswith(f"g{g}c")]
        plans.append(_group(folder, g, ours, camera_port, port, token))
    plan = ClusterPlan(state=folder / "state", groups=tuple(plans))
    with Children(folder / "logs") as children, api:
        children.start("api", ["curbwatch", "api", "run", "--data", str(data), "--port", str(port)])
        children.start(
            "cameras",
            ["camera_adapters.testing.loopcam", str(camera_port), *(f"{n}={clip}" for n in names), "--cache", str(folder / "h264")],
        )  # fmt: skip
        _until(lambda: _ready(api), 120, "the API")
        api.post("/session", json={"username": "admin", "password": password}).raise_for_status()
        say(f"{len(names)} cameras in {groups} groups on {groups} nodes")
        # One core too many a node, so that one node can carry another's group.
        with nodes([f"site{g}" for g in range(groups)], 2.0) as cluster:
            keeper = Keeper(plan)
            keeper.place()
            _until(lambda: all(s.live == cameras_each for s in keeper.states()), 240, "every camera live")
            say("every camera is live")
            _until(lambda: len(_cases(api)) >= len(names), 240, "a case of every camera")
            time.sleep(5)
            before, cases_before = keeper.states(), len(_cases(api))
            victim = before[0].node
            say(f"{cases_before} cases; killing the node of group {before[0].name}")
            killed = time.monotonic()
            kill_node(cluster, str(victim))

            def all_back() -> bool:
                states = keeper.states()
                return all(s.live == cameras_each and s.node != victim for s in states)

            _until(all_back, 180, "every camera live again", every_s=0.2)
            again = time.monotonic() - killed
            say(f"every camera is live again after {again:.1f} s")
            time.sleep(settle_s)
            after, cases = keeper.states(), _cases(api)
            keeper.end_all()
        alerts = sum(len(api.get(f"/cases/{c['id']}").json()["alerts"]) for c in cases)
    moved = [s.name for s in before if s.node == victim]
    stayed = {s.name: s.node for s in before if s.name not in moved}
    kept = all(s.node == stayed[s.name] for s in after if s.name in stayed)
    return Outcome(len(names), groups, len(moved), round(again, 1), kept, cases_before, len(cases), alerts)


def _group(folder: Path, g: int, names: list[str], camera_port: int, port: int, token: str) -> GroupPlan:
    secret = folder / f"token{g}"
    secret.touch(mode=0o600)
    secret.write_text(token, encoding="utf-8")
    cameras = [
        {
            "id": name,
            "url": f"rtsp://127.0.0.1:{camera_port}/{name}",
            # Far apart, so that the centre has no reason to call two of them one place.
            "place": DEMO_PLACE | {"lat": DEMO_PLACE["lat"] + 0.01 * (i + 1) + 0.2 * g},
            "clip": {"pre_s": 5, "post_s": 2},
            "zones": DEMO_ZONES,
            "policy": {"parking.motor": {"candidate_s": 4.0, "confirm_s": CONFIRM_S}},
            "detect_crops": True,
            "view_check": {"looped": False},
        }
        for i, name in enumerate(names)
    ]
    box = folder / f"box{g}.yaml"
    told = {
        "device": f"box{g}",
        "data_dir": str(folder / f"unused{g}"),
        "api": {"url": f"http://127.0.0.1:{port}", "token_file": str(secret), "heartbeat_s": 5},
        "city_timezone": TIMEZONE,
        "cameras": cameras,
    }
    box.write_text(yaml.safe_dump(told), encoding="utf-8")
    return GroupPlan(name=f"group{g}", box=box, cpus=1.0, memory_mib=128, near={"site": f"site{g}"})


def _ready(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def _cases(api: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/cases", params={"limit": 200}).raise_for_status().json()["items"]
    return found


def _until(check: Callable[[], bool], limit_s: float, what: str, every_s: float = 0.5) -> None:
    end = time.monotonic() + limit_s
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(every_s)


def wire(outcome: Outcome) -> dict[str, Any]:
    """Return the figures as JSON."""
    return asdict(outcome)
