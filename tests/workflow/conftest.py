import contextlib
import json
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest

import yaml_files
from composition import load_experiment
from experiment import Experiment
from pipeline import Pipeline
from published import Published


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory) -> Path:
    """A working directory without a folder ``config``."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="session")
def composed(repository, empty_folder) -> Callable[..., Experiment]:
    """Compose the project's own YAML, each configuration once: it takes most of the time."""
    known: dict[str, Experiment] = {}
    files = cache(lambda group, name: yaml_files.load([repository / "config"], group, name))

    def load(**config: object) -> Experiment:
        key = json.dumps(config, sort_keys=True)
        if key not in known:
            with contextlib.chdir(empty_folder), pytest.MonkeyPatch.context() as patch:
                patch.setattr("configuration.load", lambda _, *names: deepcopy(files(*names)))
                known[key] = load_experiment(repository / "config", config)
        return known[key]

    return load


@pytest.fixture(scope="session")
def pipeline_of(repository, empty_folder, composed) -> Callable[..., Pipeline]:
    """Make the pipeline of a configuration, which no test changes, once."""
    known: dict[str, Pipeline] = {}

    def pipeline(**config: object) -> Pipeline:
        key = json.dumps(config, sort_keys=True)
        if key not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(empty_folder)
                patch.setattr("pipeline.load_experiment", lambda _, config: composed(**config))
                known[key] = Pipeline(repository, config)
                _ = known[key].published
        return known[key]

    return pipeline


@pytest.fixture
def make(repository, tmp_path, monkeypatch) -> Callable[..., Pipeline]:
    """Make a pipeline anew; the working directory is the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return lambda **config: Pipeline(repository, config)


@pytest.fixture
def own_yaml(tmp_path, monkeypatch) -> Callable[[str, str], None]:
    """Write a YAML file of the user's own, in the folder ``config`` of the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path / "config" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.fixture
def load(repository, tmp_path, monkeypatch) -> Callable[..., Experiment]:
    """Compose anew, with the user's own YAML."""
    monkeypatch.chdir(tmp_path)
    return lambda **config: load_experiment(repository / "config", config)


class Names:
    """Names of files without keys, which differ with every change of the code."""

    @staticmethod
    def plain(paths: Iterable[str]) -> list[str]:
        return [re.sub(r"\.[0-9a-f]{12}(?=[./]|$)", "", path) for path in paths]

    @staticmethod
    def job(pipeline: Pipeline, rule: str) -> Published:
        return next(job for job in pipeline.published if job.rule == rule)

    @classmethod
    def inputs(cls, pipeline: Pipeline, rule: str, *roles: str) -> list[str]:
        """Return what a published file is made from, of all roles but stamps, or of some."""
        found = pipeline.published_inputs(cls.job(pipeline, rule))
        roles = roles or tuple(role for role in found if role != "stamps")
        return cls.plain(path for role in roles for path in found.get(role, []))

    @staticmethod
    def rules(pipeline: Pipeline, kind: str) -> list[str]:
        """Return the names of the figures, tables, … that are published."""
        return [
            job.rule.removeprefix(f"{kind}_")
            for job in pipeline.published
            if job.rule.startswith(f"{kind}_")
        ]


@pytest.fixture(scope="session")
def names() -> type[Names]:
    return Names
