"""The YAML files of the configuration, composed by Hydra."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advdetect.identity import normalized
from experiment import ConfigurationError, Spec
from methods import FIGURE, GROUPS, SCHEMA, unknown
from yaml_files import check_names, load, names_in


class Configuration:
    """The project's YAML files and the user's own.

    Args:
        config_dir: The folder of the Hydra groups. A folder ``config`` in the working directory may
            hold YAML files of the user's own.

    Attributes:
        folders: Both folders, or the one that there is.
        methods: What the files of each group of methods hold, by name, without their schemas.
        schema: JSON Schema of each setting.

    Raises:
        ConfigurationError: A file cannot be read.
    """

    def __init__(self, config_dir: Path) -> None:
        self.folders = [config_dir.resolve()]
        own = Path.cwd() / "config"
        if own.is_dir() and own.resolve() != self.folders[0]:
            self.folders.append(own.resolve())
            check_names(self.folders)
        self.methods = {
            group: {name: load(self.folders, group, name) for name in names_in(self.folders, group)}
            for group in (*GROUPS, FIGURE)
        }
        # They change no value, and OmegaConf takes a second to take them in.
        self._schemas = {
            group: {name: spec.pop(SCHEMA, None) for name, spec in specs.items()}
            for group, specs in self.methods.items()
        }
        self.schema = load(self.folders, "schema", "config")
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
        """
        # Every method's YAML is in the tree, so `attack.fgsm.epsilon=0.2` and its spelling are
        # checked by Hydra, and a new file needs no registration.
        store = ConfigStore.instance()
        store.store(name="methods", node=self.methods if whole else {})
        store.store(name="own", node=own or {})
        search = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in self.folders[1:])}]"]
        try:
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
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigurationError(self._explain(error, overrides)) from error
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{self.folders[0] / 'config.yaml'} must hold a mapping.")
        return normalized({str(key): value for key, value in tree.items()}), names

    def names(self, *overrides: str) -> dict[str, str]:
        """Return the names of what is chosen of each of Hydra's groups, remembered from before."""
        if overrides not in self._chosen:
            self._chosen[overrides] = self.compose(list(overrides), whole=False)[1]
        return self._chosen[overrides]

    def _explain(self, error: Exception, overrides: list[str]) -> str:
        """Say in one line what Hydra refused, with the names that exist."""
        message = " ".join(str(error).split())
        absent = re.search(r"Could not find '(\w+)/([^']*)'", message)
        if absent:
            group, name = absent.groups()
            return unknown(group, [name], names_in(self.folders, group))
        refused = message.partition("Could not override '")[2].partition("'")[0]
        without = [text for text in overrides if not text.startswith(f"{refused}=")]
        if refused and without != overrides:
            node: Any = self.compose(without)[0]
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
        return f"The configuration cannot be composed: {message}."
