"""The YAML files of the configuration, composed by Hydra."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from advdetect.identity import canonical_json, normalized
from experiment import ConfigurationError, Spec
from methods import FIGURE, GROUPS, SCHEMA
from yaml_files import EXPERIMENT, OVERRIDES, check_names, load, names_in, read_mapping


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
        defaults = read_mapping(self.folders[0] / "config.yaml").get("defaults") or []
        chosen = (entry.get(EXPERIMENT) for entry in defaults if isinstance(entry, dict))
        self._default_experiment = next(filter(None, chosen), None)
        # Hydra resolves what refers to something else.
        self._referring = {
            (group, name)
            for group, specs in self.methods.items()
            for name, spec in specs.items()
            if "${" in canonical_json(spec)
        }
        self._chosen: dict[tuple[str, ...], dict[str, str]] = {}

    def with_schemas(self, group: str, specs: Mapping[str, Any]) -> dict[str, Any]:
        """Return methods of a group, each with its schema again."""
        schemas = self._schemas[group]
        return {
            name: spec | {SCHEMA: schemas[name]}
            if isinstance(spec, dict) and schemas.get(name) is not None
            else spec
            for name, spec in specs.items()
        }

    def compose(
        self, overrides: list[str], own: Spec | None = None, whole: bool = True
    ) -> tuple[Spec, dict[str, str]]:
        """Return the resolved tree, and the names of what is chosen of each of Hydra's groups.

        Args:
            overrides: In Hydra's grammar.
            own: What takes the place of the experiment's YAML.
            whole: Whether the methods are part of it.

        Raises:
            ConfigurationError: A file cannot be read, or an override cannot be applied.
        """
        for group, _, name in (text.partition("=") for text in overrides):
            if group in (EXPERIMENT, *OVERRIDES):  # Hydra's own words would be no sentence
                load(self.folders, group, name.strip("'\""))
        try:
            return self._composed(overrides, own, whole)
        except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
            raise ConfigurationError(self._explain(error, overrides)) from error

    def _composed(
        self, overrides: list[str], own: Spec | None, whole: bool
    ) -> tuple[Spec, dict[str, str]]:
        # Every method's YAML is in the tree, so `attack.fgsm.epsilon=0.2` and its spelling are
        # checked by Hydra, and a new file needs no registration.
        touched = self._touched(overrides, own) if whole else {}
        store = ConfigStore.instance()
        store.store(name="methods", node=touched)
        store.store(name="own", node=own or {})
        search = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in self.folders[1:])}]"]
        with initialize_config_dir(version_base="1.3", config_dir=str(self.folders[0])):
            config = compose(
                "config",
                overrides=[*(search if len(self.folders) > 1 else []), *overrides],
                return_hydra_config=True,
            )
            names = dict(config.hydra.runtime.choices)
            OmegaConf.set_struct(config, False)
            config.pop("hydra")
            tree = OmegaConf.to_container(config, resolve=whole, throw_on_missing=False)
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{self.folders[0] / 'config.yaml'} must hold a mapping.")
        for group, known in touched.items():
            specs = self.methods[group]
            if isinstance(tree.get(group), dict):
                rest = {name: spec for name, spec in specs.items() if name not in known}
                found = rest | tree[group]
                order = dict.fromkeys([*specs, *found])
                tree[group] = {name: found[name] for name in order if name in found}
        return normalized({str(key): value for key, value in tree.items()}), names

    def _touched(self, overrides: list[str], own: Spec | None) -> dict[str, dict[str, Spec]]:
        """Return the methods that something is set of, or that refer to something, by group.

        To take in all of them takes Hydra as long as everything else.
        """
        experiment = own or {}
        chosen = [text for text in overrides if key_of(text) == EXPERIMENT]
        last = chosen[-1] if chosen else f"={self._default_experiment or ''}"
        if name := last.partition("=")[2].strip("'\""):  # none where it is left out: ~experiment
            experiment = load(self.folders, EXPERIMENT, name) | experiment
        set_of = {tuple(key_of(text).split(".")[:2]) for text in overrides}
        for group in self.methods.keys() & experiment.keys():
            own_names = experiment[group]  # where it is no mapping, that is Hydra's affair
            named = isinstance(own_names, dict)
            set_of |= {(group, name) for name in own_names} if named else {(group,)}
        every = "${" in "".join([*overrides, canonical_json(experiment)])
        return {
            group: {
                name: spec
                for name, spec in specs.items()
                if every or {(group,), (group, name)} & set_of or (group, name) in self._referring
            }
            for group, specs in self.methods.items()
        }

    def names(self, *overrides: str) -> dict[str, str]:
        """Return the names of what is chosen of each of Hydra's groups, remembered from before."""
        if overrides not in self._chosen:
            self._chosen[overrides] = self.compose(list(overrides), whole=False)[1]
        return self._chosen[overrides]

    def _explain(self, error: Exception, overrides: list[str]) -> str:
        """Say in one line what Hydra refused, with the names that exist."""
        message = " ".join(str(error).split())
        refused = message.partition("Could not override '")[2].partition("'")[0]
        without = [text for text in overrides if key_of(text) != refused]
        if refused and without != overrides:
            try:
                return _not_there(refused, self._composed(without, None, whole=True)[0])
            except Exception:  # another override is wrong, too: then Hydra's own words must do
                pass
        return f"The configuration cannot be composed: {message}."


def key_of(override: str) -> str:
    """Return what an override in Hydra's grammar sets, such as ``attack.fgsm.epsilon``."""
    return override.lstrip("+~").partition("=")[0]


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
