"""Runs are noted twice: as plain files in the run's folder, and in MLflow's local store where it is installed."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol


class Notebook(Protocol):
    """Takes figures while a run goes on."""

    def figures(self, step: int, values: Mapping[str, float]) -> None: ...
    def artefact(self, path: Path) -> None: ...


class NoNotebook:
    """Nothing beyond the run's own files."""

    def figures(self, step: int, values: Mapping[str, float]) -> None: ...
    def artefact(self, path: Path) -> None: ...


class _MlflowNotebook:
    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run = client, run_id

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            if math.isfinite(value):
                # MLflow refuses brackets and the like, which ultralytics' names have.
                name = re.sub(r"[^\w/. :-]", "_", key)
                self._client.log_metric(self._run, name, value, step=step)

    def artefact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))


@contextlib.contextmanager
def notebook(
    store: Path | None, experiment: str, params: Mapping[str, Any], folder: Path
) -> Iterator[Notebook]:
    """An MLflow run in the local store `store` (`mlflow.db`, SQLite, and `artifacts/`); none when `store` is None.

    A run that is started again in its `folder` goes on as the same MLflow run. SQLite and not plain files: MLflow 3
    refuses its own file store. `mlflow ui --backend-store-uri sqlite:///…/mlflow.db` shows it.
    """
    if store is None:
        yield NoNotebook()
        return
    from mlflow.tracking import MlflowClient

    store.mkdir(parents=True, exist_ok=True)
    here = store.resolve()
    client = MlflowClient(tracking_uri=f"sqlite:///{here}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    number = (
        found.experiment_id
        if found
        else client.create_experiment(experiment, artifact_location=(here / "artifacts").as_uri())
    )
    noted = folder / "mlflow_run_id"
    if noted.exists():
        name = noted.read_text("utf-8").strip()
        client.update_run(name, status="RUNNING")
    else:
        name = client.create_run(number, run_name=folder.name).info.run_id
        for key, value in params.items():
            client.log_param(name, key, str(value)[:250])
        folder.mkdir(parents=True, exist_ok=True)
        noted.write_text(name + "\n", "utf-8")
    try:
        yield _MlflowNotebook(client, name)
    except BaseException:
        client.set_terminated(name, "FAILED")
        raise
    client.set_terminated(name, "FINISHED")
