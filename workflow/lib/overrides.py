"""Overrides in Hydra's grammar: those of the command line, and what they set."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiment import ConfigurationError
from methods import hydra_value


def key_of(override: str) -> str:
    """Return what an override in Hydra's grammar sets, such as ``attack.fgsm.epsilon``."""
    return override.lstrip("+~").partition("=")[0]


def root_of(override: str) -> str:
    """Return the setting of the root in which an override sets something."""
    return key_of(override).partition(".")[0]


def apply(overrides: Sequence[str], config: DictConfig) -> None:
    """Apply overrides as `hydra.compose` does; a setting that is not there is refused.

    Raises:
        HydraException: An override is none, or cannot be applied.
    """
    OmegaConf.set_struct(config, True)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    ConfigLoaderImpl.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=False)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)


def overrides_of(workflow_config: Mapping[str, Any]) -> list[str]:
    """Turn Snakemake's configuration into overrides, explicit ones last."""
    explicit = workflow_config.get("overrides") or []
    if isinstance(explicit, str):
        try:
            explicit = shlex.split(explicit)
        except ValueError as error:
            raise ConfigurationError(f"overrides: {error}: {explicit}") from error
    keys = [key_of(text) for text in explicit]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigurationError(f"overrides: {twice[0]} is set twice: set it once.")
    rest = {key: value for key, value in workflow_config.items() if key != "overrides"}
    return [*_flatten("", rest), *explicit]


def _flatten(prefix: str, values: Mapping[str, Any]) -> Iterable[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}={hydra_value(value)}"
