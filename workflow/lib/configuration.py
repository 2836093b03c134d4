"""The YAML files of the configuration, composed by Hydra."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advdetect.identity import canonical_json, normalized
from advdetect.requirements.training import OPTIONS
from experiment import ConfigurationError, Spec
from methods import FIGURE, GROUPS, SCHEMA, TRAINING
from overrides import apply, key_of
from yaml_files import (
    DEFAULTS,
    EXPERIMENT,
    OVERRIDES,
    check_names,
    chosen_in,
    load,
    names_in,
    read_mapping,
)


class Configuration:
    """The project's YAML files and the user's own.

    Args:
        config_dir: The folder of the Hydra groups. A folder ``config`` in the working directory may
            hold YAML files of the user's own.

    Attributes:
        folders: Both folders, or the one that there is.
        methods: What the files of each group of methods hold, by name, without their schemas.
        unreadable: By group and name, why a file of a method cannot be read.
        schema: JSON Schema of each setting.
        model_schema: The same of what a model may hold.

    Raises:
        ConfigurationError: A file of the user's own is hidden by another one.
    """

    def __init__(self, config_dir: Path) -> None:
        self.folders = [config_dir.resolve()]
        own = Path.cwd() / "config"
        if own.is_dir() and own.resolve() != self.folders[0]:
            self.folders.append(own.resolve())
            check_names(self.folders)
        self.methods: dict[str, dict[str, Spec]] = {}
        self.unreadable: dict[tuple[str, str], str] = {}
        for group in (*GROUPS, FIGURE):
            self.methods[group] = {}
            for name in names_in(self.folders, group):
                try:
                    self.methods[group][name] = load(self.folders, group, name)
                except ConfigurationError as error:  # it stops those who choose it
                    self.unreadable[group, name] = str(error)
        # They change no value, and OmegaConf takes a second to take them in.
        self._schemas = {
            group: {name: spec.pop(SCHEMA, None) for name, spec in specs.items()}
            for group, specs in self.methods.items()
        }
        self.schema = load(self.folders, "schema", "config")
        self.model_schema = load(self.folders, "schema", "model")
        self._root = read_mapping(self.folders[0] / "config.yaml")
        self._defaults: list[Any] = self._root.pop(DEFAULTS, None) or []
        # Hydra resolves what refers to something else.
        self._referring = {
            (group, name)
            for group, specs in self.methods.items()
            for name, spec in specs.items()
            if "${" in canonical_json(spec)
        }
        self._loaded: dict[tuple[str, str], Spec] = {}
        self._chosen: dict[str, dict[str, str]] = {}  # names, by the experiment that chooses them

    def with_schemas(self, group: str, specs: Mapping[str, Any]) -> dict[str, Any]:
        """Return methods of a group, each with its schema again."""
        schemas = self._schemas[group]
        return {
            name: spec | {SCHEMA: schemas[name]}
            if isinstance(spec, dict) and schemas.get(name) is not None
            else spec
            for name, spec in specs.items()
        }

    def names(self, choices: Iterable[str] = ()) -> dict[str, str]:
        """Return the names of the data set, the model, the training and the experiment.

        Args:
            choices: Overrides that choose them. What none does is chosen by the experiment, or else
                by the root; without an experiment, as in ``~experiment``, its name is empty.
        """
        explicit = {key_of(text): text.partition("=")[2].strip().strip("'\"") for text in choices}
        names = {
            key: str(name)
            for entry in self._defaults
            if isinstance(entry, dict)
            for key, name in entry.items()
        }
        if experiment := explicit.get(EXPERIMENT, names[EXPERIMENT]):
            if experiment not in self._chosen:
                self.load(EXPERIMENT, experiment)  # which checks it
                self._chosen[experiment] = chosen_in(self.folders, experiment)
            names |= self._chosen[experiment]
        return names | explicit

    def load(self, group: str, name: str) -> Spec:
        """Return what a file holds, remembered from before.

        Raises:
            ConfigurationError: There is no such file, or it is not what such a file must be.
        """
        if (group, name) not in self._loaded:
            self._loaded[group, name] = load(self.folders, group, name)
        return self._loaded[group, name]

    def experiment(self, names: Mapping[str, str]) -> Spec:
        """Return what the chosen experiment sets."""
        return self.load(EXPERIMENT, names[EXPERIMENT]) if names[EXPERIMENT] else {}

    def compose(self, names: Mapping[str, str], own: Spec, overrides: Sequence[str]) -> Spec:
        """Return the resolved tree.

        Args:
            names: Of the data set, the model and the training.
            own: What the experiment sets.
            overrides: In Hydra's grammar, of settings.

        Raises:
            ConfigurationError: A file cannot be read, or an override cannot be applied.
        """
        try:
            return self._composed(names, own, overrides)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigurationError(self._explain(error, names, overrides)) from error

    def _composed(self, names: Mapping[str, str], own: Spec, overrides: Sequence[str]) -> Spec:
        # What `hydra.compose` does, but for two things. Files that Hydra is to find by itself it
        # reads anew for each run, and merges them with the settings of its own loggers and
        # launchers: 0.4 s in place of 0.05. Every method's YAML is in the tree, so
        # `attack.fgsm.epsilon=0.2` and its spelling are checked, and a new file needs no
        # registration.
        touched = self._touched(overrides, own)
        parts = {key: self.load(key, names[key]) for key in OVERRIDES}
        parts["model"] = _with_options(parts["model"])
        config = OmegaConf.merge(touched, parts, self._root, own)
        assert isinstance(config, DictConfig)
        apply(overrides, config)
        tree: Any = OmegaConf.to_container(config, resolve=True)
        for group, known in touched.items():
            specs = self.methods[group]
            if isinstance(tree.get(group), dict):
                rest = {name: spec for name, spec in specs.items() if name not in known}
                found = rest | tree[group]
                order = dict.fromkeys([*specs, *found])
                tree[group] = {name: found[name] for name in order if name in found}
        return normalized({str(key): value for key, value in tree.items()})

    def _touched(self, overrides: Sequence[str], own: Spec) -> dict[str, dict[str, Spec]]:
        """Return the methods that something is set of, or that refer to something, by group.

        To take in all of them takes Hydra as long as everything else.
        """
        set_of = {tuple(key_of(text).split(".")[:2]) for text in overrides}
        for group in self.methods.keys() & own.keys():
            own_names = own[group]  # where it is no mapping, that is Hydra's affair
            named = isinstance(own_names, dict)
            set_of |= {(group, name) for name in own_names} if named else {(group,)}
        every = "${" in "".join([*overrides, canonical_json(own)])
        return {
            group: {
                name: spec
                for name, spec in specs.items()
                if every or {(group,), (group, name)} & set_of or (group, name) in self._referring
            }
            for group, specs in self.methods.items()
        }

    def _explain(self, error: Exception, names: Mapping[str, str], overrides: Sequence[str]) -> str:
        """Say in one line what Hydra refused, with the names that exist."""
        message = " ".join(str(error).split())
        refused = message.partition("Could not override '")[2].partition("'")[0]
        without = [text for text in overrides if key_of(text) != refused]
        if refused and without != list(overrides):
            try:
                return _not_there(refused, self._composed(names, {}, without))
            except Exception:  # another override is wrong, too: then Hydra's own words must do
                pass
        return f"The configuration cannot be composed: {message}."


def _with_options(model: Spec) -> Spec:
    """Return what a model's file holds, with all that its training may be set to."""
    training = model.get(TRAINING)
    return model | {TRAINING: OPTIONS | training} if isinstance(training, dict) else model


def _not_there(refused: str, node: Any) -> str:
    """Say that a setting is not there, and what is where it would be."""
    known: list[str] = []
    path: list[str] = []
    for key in refused.split("."):
        known = [name for name in node if not name.startswith("_")]
        if key not in node or not isinstance(node[key], dict):
            break
        path.append(key)
        node = node[key]
    where = ".".join(path) or "the configuration"
    return f"Unknown setting {refused}; {where} has: {', '.join(sorted(known))}."
