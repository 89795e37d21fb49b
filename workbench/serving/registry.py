"""Who is champion where, and who was before: MLflow's registry over the bundles on disk. Imports MLflow when it is asked.

A version is named by MLflow and its bundle stands at reports/bundles/<data set>/<surface>/<version>. It is registered first, then written,
then called ready, and at last champion: whenever a promotion is stopped, one version is champion, and the next start says what became of
the others.
"""

import contextlib
import datetime
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.errors import RequestError, WorkError
from workbench.files import publish_folder, sha256_of
from workbench.paths import checked_name, home
from workbench.serving import Bundle
from workbench.serving.manifest import MANIFEST

CHAMPION, PREVIOUS = "champion", "previous"
WRITING, READY, INTERRUPTED, WITHDRAWN = "writing", "ready", "interrupted", "withdrawn"
MOST = 250
"""Characters of a tag or parameter that MLflow is given."""


@dataclass(frozen=True, kw_only=True)
class Version:
    dataset: str
    surface: str
    number: int
    tags: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return bundles_of(self.dataset, self.surface) / str(self.number)

    @property
    def state(self) -> str:
        return self.tags.get("state", "")

    @property
    def text(self) -> str:
        """A line for a terminal."""
        marks = f" [{', '.join(self.aliases)}]" if self.aliases else ""
        told = [self.state, self.tags.get("system", ""), f"run {self.tags.get('run', '')}", self.tags.get("snapshot", "")]
        return f"version {self.number}{marks}  {'  '.join(told)}"

    @property
    def whole(self) -> bool:
        """Whether its bundle's manifest is there, and the one that was registered."""
        try:
            self._check_manifest()
        except WorkError:
            return False
        return True

    def open(self) -> Bundle:
        """Its bundle. Raises WorkError, with both hashes, where the manifest is not the one that was registered, and as `Bundle.open`
        does."""
        self._check_manifest()
        return Bundle.open(self.folder)

    def _check_manifest(self) -> None:
        try:
            actual = sha256_of(self.folder / MANIFEST)
        except OSError:
            raise WorkError(f"{self.dataset}/{self.surface}, version {self.number}: its bundle is not at {self.folder}.") from None
        if actual != (expected := self.tags.get("manifest_sha256", "")):
            raise WorkError(
                f"{self.dataset}/{self.surface}, version {self.number}, is damaged: {MANIFEST} hashes to {actual[:12]}…, the registry says "
                f"{expected[:12]}…."
            )


def bundles_of(dataset: str, surface: str) -> Path:
    return home() / "reports" / "bundles" / checked_name("data set", dataset) / checked_name("surface", surface)


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'reports' / 'mlflow.db'}"


def there_is_one() -> bool:
    """Whether anything was ever promoted here; a store elsewhere is asked itself."""
    uri = tracking_uri()
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists()


class Registry:
    """Of all data sets and surfaces. What changes it holds a lock on this machine."""

    def __init__(self) -> None:
        """Raises WorkError when the store cannot be reached. The first start makes it, under the lock."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else it prints each table that it makes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of a server that is not there: else it asks for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient  # takes seconds

        self.uri = tracking_uri()
        (home() / "reports").mkdir(exist_ok=True)
        try:
            with self.locked():
                self.client = MlflowClient(self.uri, self.uri)
                self.client.search_registered_models(max_results=1)
        except Exception as error:  # of MLflow, of SQLAlchemy, of what lies beneath
            raise WorkError(f"the registry at {self.uri} cannot be reached: {' '.join(str(error).split())[:300]}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with FileLock(home() / "reports" / ".registry.lock"):
            yield

    def versions(self, dataset: str, surface: str) -> list[Version]:
        """Oldest first; none where nothing was ever promoted."""
        name = _name(dataset, surface)
        found = self.client.search_model_versions(f"name='{name}'", max_results=1000)
        aliases = self._aliases(name) if found else {}
        return sorted(
            (
                Version(
                    dataset=dataset,
                    surface=surface,
                    number=int(each.version),
                    tags=dict(each.tags),
                    aliases=tuple(alias for alias, number in aliases.items() if number == int(each.version)),
                )
                for each in found
            ),
            key=lambda each: each.number,
        )

    def surfaces(self) -> list[tuple[str, str]]:
        """Data set and surface of everything that was ever promoted."""
        models = self.client.search_registered_models(max_results=1000)
        return sorted((each.tags["dataset"], each.tags["surface"]) for each in models if {"dataset", "surface"} <= set(each.tags))

    def champion(self, dataset: str, surface: str) -> Version | None:
        return next((each for each in self.versions(dataset, surface) if CHAMPION in each.aliases), None)

    def promote(
        self, bundle: Path, dataset: str, surface: str, tags: Mapping[str, str], *, replaces: int | str | None = "any", lookup: str = ""
    ) -> Version:
        """The bundle, copied, as the new champion; the old one is `previous`.

        replaces: the version that the challenger was held against, None for no champion; "any" asks nothing. lookup: what to say to run
        again where it is no longer so. Raises RequestError where another was promoted in the meantime, WorkError where a bundle of another
        registry stands in the new one's place.
        """
        name, folder = _name(dataset, surface), bundles_of(dataset, surface)
        with self.locked():
            self._settle(dataset, surface)
            before = self.champion(dataset, surface)
            number = before.number if before else None
            self.check_rival(dataset, surface, replaces, lookup)
            self._make(name, dataset, surface)
            told = {**tags, "state": WRITING, "manifest_sha256": sha256_of(bundle / MANIFEST), "replaces": str(number or "")}
            made = self.client.create_model_version(name, source=str(folder), tags={key: _short(text) for key, text in told.items()})
            version = int(made.version)
            if (folder / str(version)).exists():
                self.client.set_model_version_tag(name, str(version), "state", INTERRUPTED)
                raise WorkError(f"{folder / str(version)} is there, and not of {self.uri}: move it away, or name its own registry.")
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*.partial"):  # of promotions that were killed
                shutil.rmtree(left, ignore_errors=True)
            partial = folder / f".{version}.partial"
            try:
                shutil.copytree(bundle, partial)
                publish_folder(partial, folder / str(version))
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            self.client.set_model_version_tag(name, str(version), "state", READY)
            self._crown(name, version, number)
        return next(each for each in self.versions(dataset, surface) if each.number == version)

    def check_rival(self, dataset: str, surface: str, replaces: int | str | None, lookup: str) -> None:
        """Raises RequestError where the champion is not who the challenger was held against; see `promote`."""
        now = self.champion(dataset, surface)
        number = now.number if now else None
        if replaces not in ("any", number):
            champion = f"version {number}" if number else "nobody"
            rival = f"version {replaces}" if replaces else "a baseline"
            raise RequestError(f"{dataset}/{surface}: the champion is {champion}, and the challenger was held against {rival}. {lookup}")

    def rollback(self, dataset: str, surface: str) -> Version:
        """The version that the champion replaced is champion again. Raises RequestError where there is none, WorkError where its bundle is
        damaged: then nothing is changed.
        """
        with self.locked():
            self._settle(dataset, surface)
            versions = {each.number: each for each in self.versions(dataset, surface)}
            now = next((each for each in versions.values() if CHAMPION in each.aliases), None)
            if now is None:
                raise RequestError(f"{dataset}/{surface} has no champion: nothing was promoted yet.")
            back = versions.get(int(now.tags.get("replaces") or 0))
            if back is None:
                raise RequestError(f"{dataset}/{surface}: version {now.number} replaced nobody, so there is nothing to go back to.")
            back.open()
            name = _name(dataset, surface)
            self.client.set_model_version_tag(name, str(now.number), "withdrawn", _now())
            self.client.set_model_version_tag(name, str(now.number), "state", WITHDRAWN)
            self._crown(name, back.number, int(back.tags.get("replaces") or 0) or None)
        return next(each for each in self.versions(dataset, surface) if each.number == back.number)

    def log_run(self, run: Mapping[str, Any], dataset: str, surface: str) -> str:
        """A run's parameters and metrics, into the experiment of the surface; returns MLflow's id of it. A run that is there already is not
        logged twice. What is no finite number is left out and named in a tag.
        """
        with self.locked():
            experiment = self._experiment(_name(dataset, surface))
            found = self.client.search_runs([experiment], f"tags.workbench_run = '{run['run_id']}'", max_results=10)
            for each in found:
                if each.info.status == "FINISHED":
                    return str(each.info.run_id)
                self.client.delete_run(each.info.run_id)  # whoever began it was stopped
            return self._logged(run, experiment)

    def _experiment(self, name: str) -> str:
        known = self.client.get_experiment_by_name(name)
        place = (home() / "reports" / "mlflow").as_uri()
        return str(known.experiment_id if known else self.client.create_experiment(name, artifact_location=place))

    def _logged(self, run: Mapping[str, Any], experiment: str) -> str:
        from mlflow.entities import Metric, Param

        tags = {"workbench_run": run["run_id"], "notebook": run["notebook"], "snapshot": run["dataset"]["snapshot"]}
        made = str(self.client.create_run(experiment, run_name=run["run_id"], tags=tags).info.run_id)
        rows = [row for row in run["metrics"] if row["slice"] == "everyone"]
        finite = [row for row in rows if row["value"] is not None and math.isfinite(row["value"])]
        lost = sorted({_metric_name(row) for row in rows} - {_metric_name(row) for row in finite})
        metrics = [Metric(_metric_name(row), float(row["value"]), 0, 0) for row in finite]
        parameters = [Param(key, _short(str(value))) for key, value in run["parameters"].items()]
        for start in range(0, max(1, len(metrics)), 900):
            self.client.log_batch(made, metrics=metrics[start : start + 900], params=parameters if not start else [])
        if lost:
            self.client.set_tag(made, "not_a_number", _short(", ".join(lost)))
        self.client.set_terminated(made)
        return made

    def _aliases(self, name: str) -> dict[str, int]:
        return {alias: int(number) for alias, number in self.client.get_registered_model(name).aliases.items()}

    def _make(self, name: str, dataset: str, surface: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name, tags={"dataset": dataset, "surface": surface})
        except MlflowException:
            self.client.get_registered_model(name)  # it is there; anything else is raised here

    def _crown(self, name: str, version: int, before: int | None) -> None:
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
        self._set_previous(name, before)

    def _set_previous(self, name: str, before: int | None) -> None:
        if before:
            self.client.set_registered_model_alias(name, PREVIOUS, str(before))
        elif PREVIOUS in self._aliases(name):
            self.client.delete_registered_model_alias(name, PREVIOUS)

    def _settle(self, dataset: str, surface: str) -> None:
        """What promotions that were stopped left: a version that was written whole is ready, one that was not is interrupted, and
        `previous` is whom the champion replaced."""
        name = _name(dataset, surface)
        versions = self.versions(dataset, surface)
        for each in versions:
            if each.state == WRITING:
                self.client.set_model_version_tag(name, str(each.number), "state", READY if each.whole else INTERRUPTED)
        for each in versions:
            if CHAMPION in each.aliases:
                if each.state == WITHDRAWN:  # stopped before another was crowned
                    self.client.set_model_version_tag(name, str(each.number), "state", READY)
                before = int(each.tags.get("replaces") or 0) or None
                if self._aliases(name).get(PREVIOUS) != before:
                    self._set_previous(name, before)


def _name(dataset: str, surface: str) -> str:
    return f"{checked_name('data set', dataset)}.{checked_name('surface', surface)}"


def _metric_name(row: Mapping[str, Any]) -> str:
    """MLflow knows no "@"."""
    return f"{row['name']}_{row['k']}/{row['model']}".replace("@", "_").replace(",", " ")


def _short(text: str) -> str:
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
