"""Composing the configuration with Hydra and refusing what cannot be run, before any job starts."""

import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reproductions import unknown_names, unknown_names_of_figure
from sweeps import SWEEP, is_whole

GROUPS = {
    "attack": "attacks",
    "feature": "features",
    "detector": "detectors",
    "defense": "defenses",
}
SCHEMA = "_schema_"
# What stands where the name of an attack or of a feature would.
RESERVED = {
    "An attack": {
        "clean": "clean images are",
        "train": "training images are",
        "others": "all attacks but one are",
        "held_out": "training images that nothing is fitted on are",
    },
    "A feature": {"paired": "the tests between features are"},
}
Spec = dict[str, Any]


class ConfigurationError(Exception):
    """The configuration cannot be run; the message says what is wrong and what exists."""


@dataclass(frozen=True)
class Experiment:
    """One resolved experiment.

    Attributes:
        settings: Everything that is no method: name, seeds, device, evaluation, …
        dataset_name: Name of the data set.
        dataset: Its specification.
        model_name: Name of the model.
        model: Its specification.
        attacks: Specification by name; a sweep's instances are named as in ``cw_l2,kappa=10``.
        features: Specification by name, unions among them.
        computed_features: Specification by name of the features that are computed: the single
            ones, the parts of the unions, and what the defences look at.
        fitted_features: Specification by name of the features that have an auxiliary model: of
            the computed ones, and of those whose model a computed one uses.
        detectors: Specification by name.
        defenses: Specification by name.
    """

    settings: Spec
    dataset_name: str
    dataset: Spec
    model_name: str
    model: Spec
    attacks: dict[str, Spec]
    features: dict[str, Spec]
    computed_features: dict[str, Spec]
    fitted_features: dict[str, Spec]
    detectors: dict[str, Spec]
    defenses: dict[str, Spec]

    def parts(self, feature: str) -> list[str]:
        """Return the features that a union consists of, or the feature itself."""
        return list(self.features[feature].get("_union_", [feature]))


def load_experiment(config_dir: Path, workflow_config: Mapping[str, Any]) -> Experiment:
    """Compose an experiment from ``config/`` and what the command line or a config file adds.

    Args:
        config_dir: The folder of the Hydra groups.
        workflow_config: Snakemake's own configuration. Its key ``overrides`` holds overrides in
            Hydra's grammar; every other key is an override by itself, ``seeds=[0,1]`` for example.

    Raises:
        ConfigurationError: An unknown name or an impossible value.
    """
    available = {group: _choices(config_dir, group) for group in GROUPS}
    tree, names = _compose(config_dir, available, _overrides(workflow_config))
    schema = tree.pop(SCHEMA)
    specs = {group: tree.pop(group) for group in GROUPS}
    dataset, model = tree.pop("dataset"), tree.pop("model")
    _validate("", tree, schema)
    chosen = {group: _choose(group, tree[key], specs[group]) for group, key in GROUPS.items()}
    features = chosen["feature"]
    parts = [part for name in features for part in features[name].get("_union_", [name])]
    for spec in chosen["defense"].values():
        parts += [detector["feature"] for detector in spec["detectors"]]
    new_parts = [part for part in dict.fromkeys(parts) if part not in features]
    computed = features | (_choose("feature", new_parts, specs["feature"]) if new_parts else {})
    users = [*computed.values(), *chosen["defense"].values()]
    owners = [owner for spec in users if (owner := spec.get("_fitted_by_"))]
    borrowed = _choose("feature", list(dict.fromkeys(owners)), specs["feature"])
    experiment = Experiment(
        settings=tree,
        dataset_name=names["dataset"],
        dataset=_checked("dataset", dataset),
        model_name=names["model"],
        model=_checked("model", model),
        attacks=chosen["attack"],
        features=features,
        computed_features={part: computed[part] for part in dict.fromkeys(parts)},
        fitted_features={
            name: spec for name, spec in (borrowed | computed).items() if "_fit_" in spec
        },
        detectors=chosen["detector"],
        defenses=chosen["defense"],
    )
    _check_references(experiment)
    return experiment


def canonical_json(value: object) -> str:
    """Return JSON text that is the same for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _choices(config_dir: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir / group).glob("*.yaml"))


def _overrides(workflow_config: Mapping[str, Any]) -> list[str]:
    """Turn Snakemake's configuration into Hydra overrides, explicit ones last."""
    explicit = workflow_config.get("overrides") or []
    if isinstance(explicit, str):
        explicit = shlex.split(explicit)
    rest = {key: value for key, value in workflow_config.items() if key != "overrides"}
    return [*_flatten("", rest), *explicit]


def _flatten(prefix: str, values: Mapping[str, Any]) -> Iterable[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}={_hydra_value(value)}"


def _hydra_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_hydra_value(item) for item in value)}]"
    text = str(value)
    if re.fullmatch(r"[\w./:+@%*?-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _compose(
    config_dir: Path, available: Mapping[str, list[str]], overrides: list[str]
) -> tuple[Spec, dict[str, str]]:
    """Return the resolved tree and the names chosen for the data set and the model."""
    # Every method's YAML is in the tree, so `attack.fgsm.epsilon=0.2` and its spelling are checked
    # by Hydra. The defaults list is generated: a new file in config/attack/ needs no registration.
    methods = [{f"{group}@{group}.{name}": name} for group in GROUPS for name in available[group]]
    ConfigStore.instance().store(name="methods", node={"defaults": methods})
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_dir.resolve())):
            config = compose("config", overrides=overrides, return_hydra_config=True)
            choices = {group: config.hydra.runtime.choices[group] for group in ("dataset", "model")}
            OmegaConf.set_struct(config, False)
            config.pop("hydra")
            tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigurationError(_explain(error, config_dir, available, overrides)) from error
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{config_dir / 'config.yaml'} must hold a mapping.")
    return {str(key): value for key, value in tree.items()}, choices


def _explain(
    error: Exception, config_dir: Path, available: Mapping[str, list[str]], overrides: list[str]
) -> str:
    """Say in one line what Hydra refused, with the names that exist."""
    message = " ".join(str(error).split())
    absent = re.search(r"Could not find '(\w+)/([^']*)'", message)
    if absent:
        group, name = absent.groups()
        return _unknown(group, [name], _choices(config_dir, group))
    refused = message.partition("Could not override '")[2].partition("'")[0]
    if refused:
        without = [text for text in overrides if not text.startswith(f"{refused}=")]
        node: Any = _compose(config_dir, available, without)[0]
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


def _unknown(group: str, names: Iterable[str], known: Iterable[str]) -> str:
    return f"Unknown {group}: {', '.join(names)}. config/{group}/ has: {', '.join(known)}."


def _choose(group: str, names: list[str], specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the chosen methods of a group, sweeps expanded, each valid by its own schema."""
    unknown = [str(name) for name in names if name not in specs]
    if unknown:
        raise ConfigurationError(_unknown(group, unknown, specs))
    instances: dict[str, Spec] = {}
    for name in names:
        if not isinstance(specs[name], dict):
            raise ConfigurationError(f"{group}.{name} must be a mapping of names to values.")
        for suffix, spec in _expand(specs[name]):
            instances[f"{name}{suffix}"] = _checked(f"{group}.{name}", spec)
    return instances


def _expand(spec: Spec) -> Iterable[tuple[str, Spec]]:
    """Expand a sweep: a list where the schema wants a single value gives one instance per value."""
    properties = spec.get(SCHEMA, {})
    swept = [
        key
        for key, value in spec.items()
        if isinstance(value, list)
        and key in properties
        and not jsonschema.Draft202012Validator(properties[key]).is_valid(value)
    ]
    for values in itertools.product(*(spec[key] for key in swept)):
        pairs = dict(zip(swept, values, strict=True))
        suffix = "".join(f",{key}={_hydra_value(value)}" for key, value in pairs.items())
        yield suffix, spec | pairs


def _checked(where: str, spec: Spec) -> Spec:
    """Return the specification without its schema, after validating it."""
    _validate(where, {k: v for k, v in spec.items() if not k.startswith("_")}, spec.get(SCHEMA))
    if SWEEP in spec and not is_whole(spec[SWEEP], spec):
        raise ConfigurationError(
            f"{where}._sweep_ must have a _target_ and, as over, a list of parameters of {where}."
        )
    return {key: value for key, value in spec.items() if key != SCHEMA}


def _validate(where: str, values: Spec, properties: Spec | None) -> None:
    if properties is None:  # a user's file without a schema: nothing is known about its values
        return
    missing = [key for key, value in values.items() if value == "???"]
    if missing:
        raise ConfigurationError(f"{_dotted(where, missing[0])} must be set: it has no default.")
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    errors = jsonschema.Draft202012Validator(schema).iter_errors(values)
    error = jsonschema.exceptions.best_match(errors)
    if error is None:
        return
    unknown = sorted(set(values) - set(properties))
    if unknown:
        raise ConfigurationError(
            f"Unknown setting {_dotted(where, unknown[0])}; {where or 'the configuration'} has: "
            f"{', '.join(sorted(properties))}."
        )
    path = _dotted(where, *map(str, error.absolute_path))
    raise ConfigurationError(f"{path}: {error.message}.")


def _dotted(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _check_references(experiment: Experiment) -> None:
    """Check the names that one part of the configuration uses of another."""
    named = {"An attack": experiment.attacks, "A feature": experiment.features}
    for what, reserved in RESERVED.items():
        for name, used in reserved.items():
            if name in named[what]:
                raise ConfigurationError(f"{what} cannot be named {name}: {used}; rename it.")
    for name, spec in experiment.computed_features.items():
        if "_union_" in spec:
            raise ConfigurationError(f"feature.{name} is a union and cannot be a part of another.")
    users = {f"feature.{name}": spec for name, spec in experiment.computed_features.items()}
    users |= {f"defense.{name}": spec for name, spec in experiment.defenses.items()}
    for name, spec in users.items():
        owner = spec.get("_fitted_by_")
        if owner and owner not in experiment.fitted_features:
            swept = [
                fitted for fitted in experiment.fitted_features if fitted.startswith(f"{owner},")
            ]
            reason = (
                f"is a sweep ({'; '.join(swept)})" if swept else "has no auxiliary model (no _fit_)"
            )
            raise ConfigurationError(f"{name}._fitted_by_: {owner} {reason}.")
    for name, spec in experiment.defenses.items():
        for detector in spec["detectors"]:
            feature = detector["feature"]
            own = experiment.computed_features[feature]
            if own.get("_activations_") or (
                spec.get("_fitted_by_") not in (own.get("_fitted_by_"), feature)
            ):
                raise ConfigurationError(
                    f"defense.{name}.detectors: the feature {feature} is not made with the "
                    f"auxiliary model of {spec.get('_fitted_by_')}, which says what is held out."
                )
    own_names = {
        "attack": experiment.attacks,
        "feature": experiment.features,
        "computed": experiment.computed_features,
        "detector": experiment.detectors,
        "defense": experiment.defenses,
    }
    for key, problems_of in (
        ("reproductions", unknown_names),
        ("paper_figures", unknown_names_of_figure),
    ):
        for name, spec in experiment.settings[key].items():
            for problem in problems_of(spec, own_names):
                raise ConfigurationError(f"{key}.{name}: {problem}.")
    evaluation = experiment.settings["evaluation"]
    for key, known in (
        ("primary_detector", experiment.detectors),
        ("main_feature", experiment.features),
    ):
        if evaluation[key] not in known:
            raise ConfigurationError(
                f"evaluation.{key}: {evaluation[key]} is not among those of this experiment "
                f"({', '.join(known)})."
            )
