"""The YAML files of methods, read without Hydra, for which the many small files take seconds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from experiment import ConfigurationError, Spec

_DEFAULTS = "defaults"
_SELF = "_self_"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def names_in(folders: Iterable[Path], group: str) -> list[str]:
    """Return the names of the files of a group, those of all folders together."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def check_names(folders: Sequence[Path]) -> None:
    """Check that no file of the user's own is hidden by another one of the project.

    Raises:
        ConfigurationError: Two different files of a group have one name.
    """
    first, *others = folders
    for own in (path for folder in others for path in sorted(folder.glob("*/*.yaml"))):
        there = first / own.parent.name / own.name
        if there.is_file() and there.read_bytes() != own.read_bytes():
            raise ConfigurationError(
                f"{own}: the project has another {own.parent.name} named {own.stem}; rename yours."
            )


def load(folders: Sequence[Path], group: str, name: str) -> Spec:
    """Return what a file holds, those of its group that it starts from included.

    Args:
        folders: Where groups are looked for; the first that has the file counts.
        group: Such as ``attack``.
        name: The file's name without suffix. Its ``defaults`` may name others of its group.

    Raises:
        ConfigurationError: There is no such file, or it is no mapping.
    """
    paths = [folder / group / f"{name}.yaml" for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        known = ", ".join(names_in(folders, group))
        raise ConfigurationError(f"Unknown {group}: {name}. config/{group}/ has: {known}.")
    try:
        own = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}.") from error
    if not isinstance(own, dict):
        raise ConfigurationError(f"{path} must hold a mapping of names to values.")
    # What is overridden in other groups is Hydra's to do.
    parents = [entry for entry in own.pop(_DEFAULTS, []) if isinstance(entry, str)]
    if not parents:
        return own
    if _SELF not in parents:
        parents.append(_SELF)
    values: Spec = {}
    for parent in parents:
        values = _merged(values, own if parent == _SELF else load(folders, group, parent))
    return values


def _merged(first: Spec, second: Spec) -> Spec:
    """Return both as Hydra merges them: mappings by their keys, everything else is replaced."""
    nested = {
        key: _merged(first[key], value)
        for key, value in second.items()
        if isinstance(value, dict) and isinstance(first.get(key), dict)
    }
    return first | second | nested
