"""Parts of the rollouts' tests: boxes that obey, a plan with low limits, an admin who begins."""

from __future__ import annotations

from typing import Any

from api_parts import Centre, event
from fastapi.testclient import TestClient

from api.fleet import box_row
from contract import new_id

NEW, OLD = "north/m@2", "north/m@1"
LIMITS = {
    "min_hours": 1, "min_frames": 100, "min_objects": 50, "min_camera_days": 1, "min_verdicts": 4,
    "alerts_most": 100, "alerts_least": 0.01, "precision_margin": 0.5,
}  # fmt: skip
PLAN = {"rings": [{"name": "early", "labels": {"ring": "early"}}, {"name": "rest"}], "limits": LIMITS}
SHADOW = {
    "model": NEW, "frames": 500, "both": 460, "champion_only": 20, "candidate_only": 20, "champion_ms": 20.0,
    "candidate_ms": 21.0,
}  # fmt: skip


class Boxes:
    """Boxes that do what they are wished, and say so in real heartbeats."""

    def __init__(self, house: Centre, names: tuple[str, ...] = ("b0", "b1", "b2")) -> None:
        self.house, self.names = house, names
        self.clients: dict[str, TestClient] = {name: house.box(name) for name in names}
        self.has = dict.fromkeys(names, OLD)
        self.wished: dict[str, dict[str, Any]] = {}
        with house.core.db.write() as session:
            for name in names:
                row = box_row(session, name)
                row.labels, row.model = ({"ring": "early"} if name == "b0" else {}), OLD

    def beat(self, name: str, **told: Any) -> dict[str, Any]:
        now = self.house.clock().isoformat()
        fleet = {"model": self.has[name], "model_phase": "held", **told.pop("fleet", {})}
        body: dict[str, Any] = {
            "id": new_id(), "device_id": name, "at": now, "uptime_s": told.pop("uptime_s", 1e6), "fleet": fleet,
            "software_version": "1", "model_name": "m", "model_version": "1", "model_sha256": "0" * 64,
            "config_sha256": "0" * 64, "load": {"age_p95_s": 0.5},
            "cameras": [{"camera_id": f"{name}-{i}", "state": "live"} for i in range(4)],
        }  # fmt: skip
        answer = self.clients[name].post("/heartbeats", json=body | told)
        assert answer.status_code == 200, answer.text
        wanted: dict[str, Any] = answer.json()
        self.wished[name] = wanted
        return wanted

    def hours(self, hours: float, obey: bool = True) -> None:
        """Let time pass with heartbeats at its start and end; a wish is obeyed before the last one."""
        for name in self.names:
            self.beat(name)
        for _ in range(4):
            self.house.clock.pass_s(hours * 900)
            for name in self.names:
                shadow = {"shadow": SHADOW} if self.wished[name]["shadow"] else {}
                self.beat(name, fleet=shadow)
                if obey:
                    self.has[name] = self.wished[name]["model"]
        for house in self.house.cores:
            assert house.now() == self.house.clock()

    def lon(self, name: str) -> float:
        """Boxes stand a kilometre apart."""
        return 112.5 + 0.01 * self.names.index(name)

    def case(self, name: str, verdict: str) -> None:
        """An alert of the box's model, and a person's decision."""
        version = self.has[name].rpartition("@")[2]
        ref = {"name": "m", "version": version, "sha256": "0" * 64, "class_name": "car", "score": 0.9}
        told = event(
            self.house.clock(), device_id=name, camera_id=f"{name}-0", model=ref, place__lon=self.lon(name)
        )
        case = self.clients[name].post("/alerts", json=told).json()["case_id"]
        said = {"kind": "confirm"} if verdict == "confirm" else {"kind": "reject", "reason": 1}
        answer = root_of(self.house, "rita", "reviewer").post(f"/cases/{case}/verdicts", json=said)
        assert answer.is_success, answer.text


def root_of(house: Centre, name: str = "root", role: str = "admin") -> TestClient:
    """Signed in once: a password costs a tenth of a second."""
    kept: dict[str, TestClient] = house.__dict__.setdefault("kept", {})
    if name not in kept:
        kept[name] = house.person(name, role)
    return kept[name]


def begin(house: Centre, **told: Any) -> dict[str, Any]:
    answer = root_of(house).post("/fleet/rollouts", json={"candidate": NEW, "plan": PLAN} | told)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def read(house: Centre, rollout: dict[str, Any]) -> dict[str, Any]:
    return dict(root_of(house).get(f"/fleet/rollouts/{rollout['id']}").raise_for_status().json())


def verdict_of(told: dict[str, Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in told["gates"]}


def desired(house: Centre) -> dict[str, str]:
    boxes = root_of(house).get("/fleet/boxes").json()
    return {b["device_id"]: b["desired"]["model"] for b in boxes}
