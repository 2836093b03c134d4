"""Composing an experiment with Hydra from YAML files and what the command line changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from best_of import with_parts
from checks import check_used, preferences, settle
from columns import columns_of
from configuration import Configuration
from experiment import ConfigurationError, Experiment, Run, Spec
from links import Links
from methods import (
    FIGURE,
    GROUPS,
    REPORTED_AS,
    SCHEMA,
    TITLE,
    TRAINING,
    checked,
    choose,
    validate,
    without_words,
)
from needs import check_model, images_of
from overrides import key_of, overrides_of, root_of
from titles import titles_of, titles_of_runs
from trainings import STANDARD, MadeFrom, with_training
from yaml_files import EXPERIMENT, OVERRIDES

#: What an experiment sets for its own data set, model and training, and not for another.
_BOUND = {
    "dataset": ("dataset", "attack", "feature", "defense", "defenses", *OVERRIDES, "title", "runs"),
    "model": ("model", "training", "title", "runs"),
    "training": ("training", "title", "runs"),
}
_METHODS = (*GROUPS, *OVERRIDES, FIGURE, SCHEMA)  # what is no setting
#: What no run has of its own. It is most of a large experiment, so that Hydra composes it once.
_OF_ALL = ("runs", "reproductions", "paper_figures")
#: What an experiment that starts from another leaves out by null.
_OF_PAPERS = ("reproductions", "paper_figures")


def load_experiment(config_dir: Path, workflow_config: Mapping[str, Any]) -> Experiment:
    """Compose an experiment from ``config/`` and what the command line or a config file adds.

    Args:
        config_dir: The folder of the Hydra groups. A folder ``config`` where Snakemake is called
            may hold YAML files of the user's own.
        workflow_config: Snakemake's own configuration. Its key ``overrides`` holds overrides in
            Hydra's grammar; every other key is an override by itself, ``seeds=[0,1]`` for example.

    Raises:
        ConfigurationError: An unknown name or an impossible value.
    """
    return _Composer(config_dir, overrides_of(workflow_config)).experiment()


class _Composer:
    """Composes the runs of one experiment.

    Where the command line chooses another data set, model or training than the experiment is for,
    what the experiment sets for its own is left out.
    """

    def __init__(self, config_dir: Path, overrides: list[str]) -> None:
        self._yaml = Configuration(config_dir)
        self._overrides = overrides
        self._explicit = {key_of(text) for text in overrides}

    def experiment(self) -> Experiment:
        tree, names, titles = self._tree({})
        entries = self._entries(tree)
        runs = [self._entry(entry, tree) for entry in entries]
        runs = runs or [(self._run(tree, names, ""), titles)]
        named = list(_named([run for run, _ in runs]))
        links = Links(named, self._alone, self._like)
        sources = links.sources()
        if preferred := preferences(tree["evaluation"], named, self._explicit, self._yaml.methods):
            tree = self._tree({}, preferred)[0]
        experiment = settle(
            Experiment(
                settings=_settings(tree) | {"title": self._title(tree)},
                runs=links.runs,
                sources=sources,
                titles=titles
                | {k: v for _, more in runs for k, v in more.items()}
                | titles_of_runs(
                    named,
                    entries,
                    tree["reproductions"].values(),
                    [name for _, name in sources],
                    self._model_title,
                ),
                figures={name: without_words(kind) for name, kind in tree[FIGURE].items()},
            ),
            self._explicit,
            self._yaml.with_schemas(FIGURE, tree[FIGURE]),
            self._yaml.folders[0] / "reference",
        )
        of_runs = [key_of(text) for entry in entries for text in entry.get("overrides", [])]
        check_used(experiment, [*sorted(self._explicit), *of_runs])
        unreadable = (reason.removesuffix(".") for reason in self._yaml.unreadable.values())
        return replace(experiment, left_out=(*experiment.left_out, *unreadable))

    def _entries(self, tree: Spec) -> list[Spec]:
        """Return the runs that are listed: those of YAML give way to a choice of a part."""
        if "runs" not in self._explicit and self._explicit & set(OVERRIDES):
            return []
        return tree["runs"] or []

    def _title(self, tree: Spec) -> str:
        """Return the title; that of YAML does not fit to runs that the command line lists."""
        own = "title" in self._explicit or "runs" not in self._explicit
        return str((own and tree["title"]) or tree["name"])

    def _bound(self, choices: Mapping[str, str], names: Mapping[str, str]) -> Sequence[str]:
        """Return what the experiment sets for another data set, model or training than the chosen.

        Args:
            choices: Overrides that choose the experiment, the data set, the model and its training.
            names: The names that they choose.
        """
        if not self._explicit & {"runs", *OVERRIDES}:
            return ()
        tuned_for = self._yaml.names(text for key, text in choices.items() if key == EXPERIMENT)
        chosen, tuned_for = (
            own | {"dataset": self._reported_as(own["dataset"])} for own in (dict(names), tuned_for)
        )
        return next((_BOUND[key] for key in _BOUND if chosen[key] != tuned_for[key]), ())

    def _reported_as(self, dataset: str) -> str:
        """Return what papers' values, and experiments that are tuned for it, call a data set."""
        return str(self._yaml.load("dataset", dataset).get(REPORTED_AS, dataset))

    def _entry(self, entry: Spec, shared: Spec) -> tuple[Run, Mapping[str, str]]:
        """Compose a run; its entry names its parts (data set, …) and what it overrides."""
        overrides = entry.get("overrides", [])
        tree, names, titles = self._tree(entry, shared={key: shared[key] for key in _OF_ALL})
        run = self._run(tree, names, entry.get("name", ""))
        settings = _settings(tree)
        own = {*GROUPS.values(), "title"}
        alone = [key for key in map(root_of, overrides) if key in _OF_ALL]
        alone += [key for key in settings.keys() - own if settings[key] != shared[key]]
        if alone:
            raise ConfigurationError(
                f"runs: overrides of a run cannot set {min(alone)}, which all runs share: set it "
                "for the experiment."
            )
        return run, titles

    def _alone(self, run: Run, model: str) -> Run:
        """Return a run of the same data with a model of ``config/model/``, by itself."""
        names = self._yaml.names(["~experiment", f"model={model}"])
        tree = self._yaml.compose(names, {}, ())
        spec, made_from = self._model(tree, names)
        return replace(run, model_name=model, model=spec, made_from=made_from, name="")

    def _model_title(self, model: str) -> str:
        return str(self._yaml.load("model", model).get(TITLE, model))

    def _like(self, run: Run, shared: Sequence[str]) -> Run:
        """Return a run of the same model in standard training, with some settings of its own."""
        loop = self._yaml.model_schema[TRAINING]["properties"]
        own = run.model[TRAINING]
        kind = self._training(STANDARD) | {key: own[key] for key in shared}
        base = run.model | {TRAINING: {key: own[key] for key in loop if key in own}}
        spec, made_from = with_training(base, STANDARD, kind, {}, self._training)
        return replace(run, model=spec, training_name=STANDARD, made_from=made_from, name="")

    def _run(self, tree: Spec, names: Mapping[str, str], name: str) -> Run:
        specs = {group: self._yaml.with_schemas(group, tree[group]) for group in GROUPS}
        chosen = {g: self._choose(g, tree[key], specs[g]) for g, key in GROUPS.items()}
        features = chosen["feature"]
        parts = [part for name in features for part in features[name].get("_union_", [name])]
        for spec in chosen["defense"].values():
            parts += [detector["feature"] for detector in spec["detectors"]]
        new_parts = [part for part in dict.fromkeys(parts) if part not in features]
        computed = features | self._choose("feature", new_parts, specs["feature"])
        if swept := [part for part in parts if part not in computed]:
            raise ConfigurationError(
                f"feature.{swept[0]} is a sweep, and a union or a defence looks at one of its "
                "values: set one, or choose neither."
            )
        users = [*computed.values(), *chosen["defense"].values()]
        owners = [owner for spec in users if (owner := spec.get("_fitted_by_"))]
        borrowed = self._choose("feature", list(dict.fromkeys(owners)), specs["feature"])
        model, made_from = self._model(tree, names)
        dataset = checked("dataset", tree["dataset"])
        images = images_of(tree["dataset"])
        of_parts = {part: computed[part] for part in dict.fromkeys(parts)}
        return Run(
            dataset_name=names["dataset"],
            dataset=dataset,
            model_name=names["model"],
            model=model,
            made_from=made_from,
            training_name=names["training"],
            attacks=with_parts(chosen["attack"]),
            features=features,
            computed_features=of_parts,
            fitted_features={
                name: spec for name, spec in (borrowed | computed).items() if "_fit_" in spec
            },
            detectors=chosen["detector"],
            defenses=chosen["defense"],
            name=name,
            images=images,
            columns=columns_of(of_parts, borrowed | computed, specs["feature"], images),
            reported_as=self._reported_as(names["dataset"]),
        )

    def _model(self, tree: Spec, names: Mapping[str, str]) -> tuple[Spec, MadeFrom]:
        """Return the specification of a model with that of its training, and what it needs."""
        spec = tree["model"]
        model = checked("model", spec | {SCHEMA: self._yaml.model_schema | spec.get(SCHEMA, {})})
        check_model(model)
        attacks = self._yaml.with_schemas("attack", tree["attack"])
        return with_training(model, names[TRAINING], tree[TRAINING], attacks, self._training)

    def _training(self, name: str) -> Spec:
        return self._yaml.load(TRAINING, name)

    def _choose(self, group: str, names: list[Any], specs: Mapping[str, Spec]) -> dict[str, Spec]:
        """Choose methods of a group; one whose file cannot be read is refused with the reason."""
        for name in names:
            if reason := self._yaml.unreadable.get((group, str(name).partition("@")[0])):
                raise ConfigurationError(reason)
        return choose(group, names, specs)

    def _tree(
        self, entry: Spec, preferred: Sequence[str] = (), shared: Spec | None = None
    ) -> tuple[Spec, dict[str, str], dict[str, str]]:
        """Compose everything; the command line comes after what a run overrides.

        Args:
            entry: The run, empty for what all share.
            preferred: Overrides that come last.
            shared: What no run has of its own, where it is known.

        Returns:
            The tree, the names of the data set and the model, and the titles of all methods.
        """
        own = [f"{key}={entry[key]}" for key in OVERRIDES if key in entry]
        own += entry.get("overrides", [])
        # Of each group one choice, the last, a run's own first of all; Hydra takes no second.
        choices = {
            key: text
            for text in [*self._overrides, *own]
            if (key := key_of(text)) in (EXPERIMENT, *OVERRIDES)
        }
        known = shared or {}
        names = self._yaml.names(choices.values())
        without = {*self._bound(choices, names), *known}
        kept = {k: v for k, v in self._yaml.experiment(names).items() if k not in without}
        rest = [
            text
            for text in [*own, *self._overrides, *preferred]
            if key_of(text) not in choices and root_of(text) not in known
        ]
        tree = self._yaml.compose(names, kept, rest) | known
        for key in _OF_PAPERS:
            if isinstance(tree[key], dict):
                tree[key] = {name: spec for name, spec in tree[key].items() if spec is not None}
        validate("", _settings(tree), self._yaml.schema)
        names = {key: names[key] for key in OVERRIDES}
        return tree, names, titles_of(tree, names)


def _named(runs: Sequence[Run]) -> Iterable[Run]:
    """Return the runs, each called by what tells it from the others; a single one is not called."""
    if len(runs) == 1:
        return runs
    parts = []
    for attribute in ("training_name", "model_name", "dataset_name"):
        if len({getattr(run, attribute) for run in runs}) > 1:
            parts.append(attribute)
    named = [
        run
        if run.name
        else replace(run, name="/".join(getattr(run, part) for part in reversed(parts)))
        for run in runs
    ]
    names = [run.name for run in named]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1 or not name]:
        raise ConfigurationError(
            f"runs: two runs are called {twice[0]!r}: give each a name, as in "
            "{name: wide, model: lenet5}."
        )
    return named


def _settings(tree: Spec) -> Spec:
    return {key: value for key, value in tree.items() if key not in _METHODS}
