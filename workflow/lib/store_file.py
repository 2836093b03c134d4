"""A file of the store, and the registry that makes each known once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from advdetect.identity import canonical_json, make_key
from experiment import Spec

ARRAYS, TABLE = ".safetensors", ".parquet"
Inputs = Mapping[str, Sequence["StoreFile | str"]]


@dataclass(frozen=True, eq=False)
class StoreFile:
    """A file of the store and the command that makes it.

    Attributes:
        step: The step that makes it, as on the command line.
        job: Path below the store without suffix, the wildcard of its rule.
        suffix: Its suffix.
        key: Its key.
        options: The step's options as words, those for files left out.
        inputs: The files that it is made from, by the name of the option.
        names: What it is about, by kind: dataset, model, seed, attack, feature, defense.
    """

    step: str
    job: str
    suffix: str
    key: str
    options: tuple[str, ...]
    inputs: Inputs
    names: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Path below the store."""
        return f"{self.job}{self.suffix}"

    def option(self, name: str) -> str:
        """Return the value of one of the step's options."""
        return self.options[self.options.index(name) + 1]

    @property
    def folder(self) -> str:
        """Folder below the store."""
        return str(Path(self.job).parent)


def once(method: Callable[..., StoreFile]) -> Callable[..., StoreFile]:
    """Remember the files of a store's method by its arguments; a run counts by its identity."""

    @wraps(method)
    def remembered(store: Any, run: Any, *arguments: Any) -> StoreFile:
        key = (method.__name__, id(run), *arguments)
        if key not in store.known:
            store.known[key] = method(store, run, *arguments)
        return store.known[key]

    return remembered


class Registry:
    """The files by job.

    Args:
        code: Returns the fingerprint of a step and of the methods that a specification names.
    """

    def __init__(self, code: Callable[[str, Spec], str]) -> None:
        self._code = code
        self.files: dict[str, StoreFile] = {}

    def add(
        self,
        step: str,
        job: str,
        spec: Spec,
        inputs: Inputs,
        keyed: Mapping[str, Any],
        names: Mapping[str, Any],
        suffix: str = ARRAYS,
    ) -> StoreFile:
        """Return a file.

        Args:
            step: The step that makes it.
            job: Path without suffix, in which ``{key}`` stands for its key.
            spec: Its specification.
            inputs: The files that it is made from, by what they are to the step.
            keyed: What else it depends on; each is an option of the step.
            names: What it is about.
            suffix: Its suffix.
        """
        code = self._code(step, spec)
        keys = {
            role: [file.key for file in files if isinstance(file, StoreFile)]
            for role, files in inputs.items()
        }
        made_from = {
            role: found[0] if len(found) == 1 else found for role, found in keys.items() if found
        }
        key = make_key(step, spec, code, inputs=made_from, **keyed)
        job = job.replace("{key}", key)
        if job not in self.files:
            options = ["--spec", canonical_json(spec), "--code", code]
            for name, value in keyed.items():
                text = value if isinstance(value, str) else canonical_json(value)
                options += [f"--{name.replace('_', '-')}", text]
            self.files[job] = StoreFile(step, job, suffix, key, tuple(options), inputs, names)
        return self.files[job]
