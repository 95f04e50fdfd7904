"""Runs are noted twice: as plain files in the run's folder, and in MLflow's local store where it is installed."""

from __future__ import annotations

import contextlib
import math
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
                self._client.log_metric(self._run, key.replace("@", "_"), value, step=step)

    def artefact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))


@contextlib.contextmanager
def notebook(store: Path | None, experiment: str, params: Mapping[str, Any]) -> Iterator[Notebook]:
    """An MLflow run on the local file store `store`; a run without it when `store` is None.

    The file store needs neither a server nor SQLAlchemy, which mlflow-skinny doesn't bring.
    """
    if store is None:
        yield NoNotebook()
        return
    from mlflow.tracking import MlflowClient

    store.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=store.resolve().as_uri())
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(number)
    for key, value in params.items():
        client.log_param(run.info.run_id, key, str(value)[:250])
    try:
        yield _MlflowNotebook(client, run.info.run_id)
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")
