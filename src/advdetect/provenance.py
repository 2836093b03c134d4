"""Where a file comes from: specification, code, package versions and hardware."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from advdetect import __version__
from advdetect.errors import AdvdetectError
from advdetect.identity import check_output, make_key
from advdetect.io import read_provenance

Paths = str | Path | Sequence[str | Path]
#: By what they are to a step, its inputs, each with its provenance.
Files = Mapping[str, Sequence[tuple[str | Path, Mapping[str, Any]]]]
#: Kinds of files of which all inputs of a step, and what these were made from, must be the same;
#: what another is made from comes first, since it is why that is another.
COMMON = {
    "train": "training split",
    "test": "test split",
    "model": "model",
    "clean": "file from classify",
}
ATTACKS = ("attack", "transfer", "best-of")
#: The steps that make what a step reads, by what it is to it; other files are refused.
MADE_BY: Mapping[str, tuple[str, ...]] = {
    "train": ("prepare-data",),
    "test": ("prepare-data",),
    "unused": ("prepare-data",),
    "model": ("train",),
    "others": ("train",),
    "clean": ("classify",),
    "attack": ATTACKS,
    "attacks": ATTACKS,
    "crafted": ATTACKS,
    "parts": ATTACKS,
    "fitted": ("fit-feature",),
    "features": ("feature",),
    "detectors": ("fit-detectors",),
    "split": ("fit-detectors",),
    "defenses": ("defend",),
    "scores": ("score",),
    "certificates": ("certify",),
}
#: Images that were crafted on another model, of which only the test split must be the same.
CRAFTED = "crafted"
PACKAGES = ("numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "torch", "torchvision")


def describe(
    step: str,
    spec: Mapping[str, Any],
    code: str,
    inputs: Mapping[str, Paths],
    outputs: Sequence[str | Path],
    keyed: Mapping[str, Any] | None = None,
    **facts: object,
) -> dict[str, Any]:
    """Return the provenance of what a step is about to make, and refuse what does not belong.

    It holds no date and no path, so that equal inputs give equal files.

    Args:
        step: Name of the step.
        spec: The resolved specification of the method; its ``_packages_`` names the libraries that
            it needs besides those that every method does.
        code: Fingerprint of the source code, empty when the step is run by hand.
        inputs: By what they are to the step (``model``, ``test``, …) the files that it reads.
        outputs: The files that it will write.
        keyed: What else the result depends on: the seed, the name.
        facts: What else is recorded, for example the device.

    Raises:
        AdvdetectError: Two inputs were made from different files of one kind, such as an attack on
            another model; an input is no file of the pipeline; or an output is named as another.
    """
    files = {
        role: [(path, read_made_by(path, role)) for path in _listed(paths)]
        for role, paths in inputs.items()
    }
    _check_related(files)
    keyed = dict(keyed or {})
    keys = {
        role: [facts.get("key", "") for _, facts in found] for role, found in files.items() if found
    }
    made_from = {role: found[0] if len(found) == 1 else found for role, found in keys.items()}
    key = make_key(step, spec, code, inputs=made_from, **keyed)
    check_output(outputs, key)
    return {
        "step": step,
        "key": key,
        "inputs": made_from,
        "spec": dict(spec),
        "code": code,
        **_handed_on(files),
        **keyed,
        **facts,
        "advdetect": __version__,
        "packages": package_versions([*PACKAGES, *spec.get("_packages_", [])]),
        "hardware": {"machine": platform.machine(), "processor": processor_name()},
        "python": platform.python_version(),
        "system": platform.system(),
    }


def read_made_by(path: str | Path, role: str) -> dict[str, Any]:
    """Read the provenance of a file, and check that it is of the step that makes what it is to be.

    Args:
        path: The file.
        role: What it is to the step that reads it, one of `MADE_BY`.

    Raises:
        AdvdetectError: It is missing, damaged, without provenance, or of another step or split.
    """
    facts, steps = read_provenance(path), MADE_BY[role]
    if facts.get("step") not in steps:
        raise AdvdetectError(
            f"{path} is no file of {' or '.join(steps)}, which --{role} must be, but of "
            f"{facts.get('step', 'another tool')}."
        )
    if role in ("train", "unused", "test") and facts.get("split", role) != role:
        raise AdvdetectError(f"{path} is the {facts['split']} split, not the {role} split.")
    return facts


def _handed_on(files: Files) -> dict[str, Any]:
    """Return the run and the seed that the inputs are of, where all are of one."""
    own = [facts for role, found in files.items() if role != CRAFTED for _, facts in found]
    values = {name: {facts[name] for facts in own if name in facts} for name in ("run", "seed")}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _check_related(files: Files) -> None:
    """Check that the inputs, and what these were made from, are the same files of each kind."""
    known: dict[str, tuple[str, str | Path]] = {}
    for role, found in files.items():
        for path, facts in found:
            ancestors = dict(facts.get("inputs", {}))
            if role == CRAFTED:
                ancestors = {kind: key for kind, key in ancestors.items() if kind == "test"}
            elif len(found) == 1:
                ancestors[role] = facts.get("key", "")
            for kind in (kind for kind in COMMON if kind in ancestors):
                key = ancestors[kind]
                before, where = known.setdefault(kind, (key, path))
                if before != key:
                    raise AdvdetectError(
                        f"{path} and {where} do not belong together: they were made with a "
                        f"different {COMMON[kind]} ({key} and {before})."
                    )


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the packages that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def processor_name() -> str:
    """Return the processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
