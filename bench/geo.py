"""How long a point takes to resolve among many unit grid cells, through the same code and database as the centre."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from api.areas import Areas, import_areas
from api.db import Database
from api.migrate import migrate
from api.settings import Settings

STEP = 0.001


def cells(side: int) -> dict[str, Any]:
    """Return a GeoJSON FeatureCollection of `side` x `side` cells of 0.001 degrees."""
    features = []
    for i in range(side):
        for j in range(side):
            x, y = 112 + i * STEP, 37 + j * STEP
            ring = [[x, y], [x + STEP, y], [x + STEP, y + STEP], [x, y + STEP], [x, y]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            features.append({"type": "Feature", "geometry": geometry, "properties": {"code": f"{i}-{j}"}})
    return {"type": "FeatureCollection", "features": features}


def run(side: int = 100, points: int = 2000, seed: int = 1) -> dict[str, float]:
    """Import side x side cells, resolve `points` random points, check each answer; milliseconds by quantile."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        db = Database(Settings(data=Path(folder)))
        migrate(db.engine)
        began = time.perf_counter()
        with db.write() as session:
            import_areas(session, "/", "grid", cells(side))
        imported = time.perf_counter() - began
        areas, took, worked, cpu = Areas(), [], [], time.process_time()
        with db.read() as session:
            began = time.perf_counter()
            areas.locate(session, "/", 112.0005, 37.0005)
            indexed = time.perf_counter() - began
            for _ in range(points):
                x, y = rng.uniform(0.01, side - 0.01), rng.uniform(0.01, side - 0.01)
                start, busy = time.perf_counter(), time.thread_time()
                found = areas.locate(session, "/", 112 + x * STEP, 37 + y * STEP)
                took.append(time.perf_counter() - start)
                worked.append(time.thread_time() - busy)
                if found.codes != {"grid": f"{int(x)}-{int(y)}"}:
                    raise AssertionError(f"{x}, {y}: {found.codes}")
        cpu = time.process_time() - cpu
        db.close()
    took.sort()
    worked.sort()
    return {
        "cells": side * side, "points": points, "import_s": round(imported, 2), "index_s": round(indexed, 2),
        "p50_ms": round(1000 * took[points // 2], 3), "p95_ms": round(1000 * took[points * 95 // 100], 3),
        "p99_ms": round(1000 * took[points * 99 // 100], 3), "cpu_s": round(cpu, 2),
        "cpu_p99_ms": round(1000 * worked[points * 99 // 100], 3), "cpu_max_ms": round(1000 * worked[-1], 3),
    }  # fmt: skip
