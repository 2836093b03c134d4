"""The YAML files of methods, read without Hydra, for which the many small files take seconds."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.yaml_text import read_yaml, read_yaml_file
from experiment import ConfigurationError, Spec

DEFAULTS = "defaults"
_SELF = "_self_"
_CHOICE = "override /"  # before the group, of which an experiment chooses one
EXPERIMENT = "experiment"
#: What an experiment may choose in its ``defaults``.
OVERRIDES = ("dataset", "model", "training")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
# Without this line, which nothing may precede, Hydra puts what a file holds below its group's name.
_PACKAGE = re.compile(r"\A\s*#\s*@package +_global_\s*$", re.MULTILINE)


def names_in(folders: Iterable[Path], group: str) -> list[str]:
    """Return the names of the files of a group, those of all folders together.

    Hidden files, and files whose name cannot be written in an experiment, are none of it.
    """
    paths = (path for folder in folders for path in (folder / group).glob("*.yaml"))
    return sorted({path.stem for path in paths if is_name(path.stem)})


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a method, a data set or a model."""
    return bool(_NAME.match(text)) and isinstance(read_yaml(text, text), str)


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
        name: The file's name without suffix. Its ``defaults`` may name others of its group, and
            those of an experiment a data set, a model and a training.

    Raises:
        ConfigurationError: There is no such file, or it is not what such a file must be.
    """
    return _load(folders, group, name, ())


def chosen_in(folders: Sequence[Path], experiment: str) -> dict[str, str]:
    """Return the names of `OVERRIDES` that an experiment chooses, or one that it starts from.

    Args:
        folders: As of `load`, which checks the experiment.
        experiment: Its name.
    """
    inherited: dict[str, str] = {}
    own: dict[str, str] = {}
    for entry in _read(_path(folders, EXPERIMENT, experiment), EXPERIMENT)[1]:
        if isinstance(entry, dict):
            own |= {key.removeprefix(_CHOICE): str(name) for key, name in entry.items()}
        elif entry != _SELF:
            inherited |= chosen_in(folders, entry)
    return inherited | own


def _load(folders: Sequence[Path], group: str, name: str, children: tuple[str, ...]) -> Spec:
    path = _path(folders, group, name)
    if name in children:
        raise ConfigurationError(f"{path} starts from itself, by its defaults.")
    own, defaults = _read(path, group)
    for entry in defaults:
        if isinstance(entry, dict):
            ((key, chosen),) = entry.items()
            _load(folders, key.removeprefix(_CHOICE), str(chosen), ())
    parents = [entry for entry in defaults if isinstance(entry, str)]
    if not parents:
        return own
    if _SELF not in parents:
        parents.append(_SELF)
    values: Spec = {}
    for parent in parents:
        more = own if parent == _SELF else _load(folders, group, parent, (*children, name))
        values = _merged(values, more)
    return values


def _path(folders: Sequence[Path], group: str, name: str) -> Path:
    paths = [folder / group / f"{name}.yaml" for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        known = ", ".join(names_in(folders, group))
        raise ConfigurationError(f"Unknown {group}: {name}. config/{group}/ has: {known}.")
    if not is_name(name):
        raise ConfigurationError(
            f"{path}: rename it: a name holds letters, digits, _ and -, and YAML must not read it "
            f"as a number or as on, off or null."
        )
    return path


def _read(path: Path, group: str) -> tuple[Spec, list[Any]]:
    """Return what a file of a group holds itself, and what it starts from and chooses."""
    own = read_mapping(path)
    defaults = own.pop(DEFAULTS, None) or []
    _check_head(path, group, defaults)
    return own, defaults


def read_mapping(path: Path) -> Spec:
    """Return what a file holds.

    Raises:
        ConfigurationError: It cannot be read, or holds no mapping of names to values.
    """
    try:
        own = read_yaml_file(path)
    except AdvdetectError as error:
        raise ConfigurationError(str(error)) from error
    own = {} if own is None else own
    if not isinstance(own, dict) or not all(isinstance(key, str) for key in own):
        raise ConfigurationError(f"{path} must hold a mapping of names to values.")
    return own


def _check_head(path: Path, group: str, defaults: Any) -> None:
    """Check the first line of an experiment, and what a file starts from and chooses."""
    if group == EXPERIMENT and not _PACKAGE.match(path.read_text(encoding="utf-8")):
        raise ConfigurationError(f"{path} must begin with the line '# @package _global_'.")
    overrides = [f"{_CHOICE}{key}" for key in OVERRIDES] if group == EXPERIMENT else []
    known = f"names of config/{group}/, {_SELF}" + "".join(f", '{key}: …'" for key in overrides)
    for entry in defaults if isinstance(defaults, list) else [defaults]:
        keys = list(entry) if isinstance(entry, dict) else []
        if not (isinstance(entry, str) or (len(keys) == 1 and keys[0] in overrides)):
            raise ConfigurationError(
                f"{path}: defaults: {entry!r} is none of what may stand there: {known}."
            )


def _merged(first: Spec, second: Spec) -> Spec:
    """Return both as Hydra merges them: mappings by their keys, everything else is replaced."""
    nested = {
        key: _merged(first[key], value)
        for key, value in second.items()
        if isinstance(value, dict) and isinstance(first.get(key), dict)
    }
    return first | second | nested
