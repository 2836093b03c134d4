"""Fingerprints of source code: what a step imports, down to the last module of the project.

Snakemake does not see the modules that a command imports. Each rule therefore carries the
fingerprint of its step's and its method's import closure as a parameter, so that changed code runs
again, and code that is not involved does not.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path


def fingerprint(modules: Iterable[str], roots: Sequence[Path]) -> str:
    """Return a hash of the modules' import closures; comments and docstrings do not count.

    Args:
        modules: Dotted names, for example ``advdetect.attacks.fgsm``.
        roots: Folders that hold the project's packages; modules found in none of them, installed
            libraries that is, are left out (their versions are in each file's provenance).

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, path in sorted(import_closure(modules, roots).items()):
        digest.update(f"{name}\0{_code_of(path, path.stat().st_mtime_ns)}\0".encode())
    return digest.hexdigest()[:16]


def import_closure(modules: Iterable[str], roots: Sequence[Path]) -> dict[str, Path]:
    """Return the files of the modules and of all that they import, by dotted name.

    Imports inside functions count, too, and so do the packages that a module is in, since Python
    runs them. Modules that are imported by a computed name have to be given.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _find(name, tuple(roots))
        if path is None or name in found:
            continue
        found[name] = path
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting.extend(_imports(path, name, path.stat().st_mtime_ns))
    return found


@cache
def _find(name: str, roots: tuple[Path, ...]) -> Path | None:
    relative = Path(*name.split("."))
    for root in roots:
        for candidate in (root / relative / "__init__.py", root / relative.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


# The time of the last change is a key of both caches: tests edit files within one process.
@cache
def _imports(path: Path, name: str, changed: int) -> tuple[str, ...]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(_imported_names(ast.parse(path.read_text(encoding="utf-8"), str(path)), package))


def _imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join([*parent, base] if base else parent)
            yield base
            # `from package import name`: the name may be a module of its own.
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _code_of(path: Path, changed: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
