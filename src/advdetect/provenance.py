"""Where a file comes from: specification, code, package versions and hardware."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from advdetect import __version__

PACKAGES = ("numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "torch", "torchvision")


def describe(step: str, spec: Mapping[str, Any], code: str, **facts: object) -> dict[str, Any]:
    """Collect the provenance of a file.

    It holds no date and no path, so that equal inputs give equal files.

    Args:
        step: Name of the step that writes the file.
        spec: The resolved specification of the method; its ``_packages_`` names the libraries that
            it needs besides those that every method does.
        code: Fingerprint of the source code, empty when the step is run by hand.
        facts: What else the step wants to record, for example the seed and the device.
    """
    return {
        "step": step,
        "spec": dict(spec),
        "code": code,
        **facts,
        "advdetect": __version__,
        "packages": package_versions([*PACKAGES, *spec.get("_packages_", [])]),
        "hardware": {"machine": platform.machine(), "processor": processor_name()},
        "python": platform.python_version(),
        "system": platform.system(),
    }


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
