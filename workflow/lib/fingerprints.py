"""Fingerprints of source code: what a step imports, down to the last module of the project.

Snakemake does not see the modules that a command imports. The key of each file therefore holds the
fingerprint of its step's and its method's import closure, so that changed code runs again, and code
that is not involved does not.
"""

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json, write_json
from advdetect.identity import digest
from methods import TRACKED

#: Ends of the names of lists of classes and labels.
_LISTS = (".txt", ".csv", ".tsv")
_READER = Path(__file__).read_bytes()
#: Beside Snakemake's own records.
_REMEMBERED = Path(".snakemake", "advdetect", "code.json")


def fingerprint(modules: Iterable[str], roots: Sequence[Path]) -> str:
    """Return a hash of the modules' import closures; comments and words do not count.

    Args:
        modules: Dotted names, for example ``advdetect.attacks.fgsm``.
        roots: Folders that hold the project's packages; modules found in none of them, installed
            libraries that is, are left out (their versions are in each file's provenance).

    Returns:
        16 hexadecimal digits.
    """
    hashed = hashlib.sha256()
    for name, path in sorted(import_closure(modules, roots).items()):
        hashed.update(f"{name}\0{_read(path, name, path.stat().st_mtime_ns).code}\0".encode())
    return hashed.hexdigest()[:16]


def source_files(dataset: Mapping[str, Any]) -> str:
    """Return the fingerprint of the files of a data set, if they are tracked: names and sizes.

    Of the lists that lie in its folder itself, of classes and labels, it is the content: two lines
    that change their places change no size.

    Raises:
        WorkflowError: There is no such folder.
    """
    tracked = dataset.get(TRACKED)
    if not tracked:
        return ""
    folder = Path(dataset["root"])
    if not folder.is_dir():
        raise WorkflowError(f"dataset.root: the folder {folder} does not exist.")
    lists = [path for path in folder.iterdir() if path.suffix in _LISTS and path.is_file()]
    lines = [f"{path.name}\0{digest(path.read_bytes())}\0" for path in lists]
    for part in [""] if tracked is True else tracked:
        for parent, _, names in os.walk(folder / part, followlinks=True):
            below = os.path.relpath(parent, folder)
            paths = {name: os.path.join(parent, name) for name in names}
            lines += [
                f"{os.path.join(below, name)}\0{os.path.getsize(path)}\0"
                for name, path in paths.items()
                if os.path.isfile(path)
            ]
    return digest("".join(sorted(lines)).encode())


def targets_of(spec: Any) -> Iterable[str]:
    """Yield every import path in a specification, nested ones too."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in ("_target_", "_fit_"):
                yield value
            else:
                yield from targets_of(value)
    elif isinstance(spec, list | tuple):
        for value in spec:
            yield from targets_of(value)


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
        waiting.extend(_read(path, name, path.stat().st_mtime_ns).imports)
    return found


@cache
def _find(name: str, roots: tuple[Path, ...]) -> Path | None:
    relative = Path(*name.split("."))
    for root in roots:
        for candidate in (root / relative / "__init__.py", root / relative.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


@dataclass(frozen=True)
class _Module:
    imports: tuple[str, ...]
    code: str  # digest of what it does


#: What was read of source files, by the digest of their content, package and reader.
_known: dict[str, _Module] = {}


@contextmanager
def remembered() -> Iterator[None]:
    """Take over what earlier runs in this folder read of source files, and leave it to later ones.

    To read all of them takes a second, a fifth of what Snakemake needs to find nothing to do.
    Where nothing can be taken over or left, nothing is.
    """
    with suppress(AdvdetectError, KeyError, TypeError):
        for key, module in read_json(_REMEMBERED)["modules"].items():
            _known[key] = _Module(tuple(module["imports"]), module["code"])
    before = len(_known)
    yield
    if len(_known) > before:
        with suppress(OSError):
            modules = {key: asdict(module) for key, module in _known.items()}
            write_json(_REMEMBERED, {"modules": modules})


@cache  # by the time of the last change, too: tests edit files within one process
def _read(path: Path, name: str, changed: int) -> _Module:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    content = path.read_bytes()
    key = _sha256(b"\0".join([_READER, package.encode(), content]))
    if key not in _known:
        reader = _WithoutWords()
        reader.read(ast.parse(content, str(path)))
        imports = tuple(_imported_names(reader.imports, package))
        _known[key] = _Module(imports, _sha256("".join(reader.parts).encode()))
    return _known[key]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _imported_names(imports: Iterable[ast.Import | ast.ImportFrom], package: str) -> Iterator[str]:
    for node in imports:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        base = node.module or ""
        if node.level:
            above = package.split(".") if package else []
            if node.level > len(above):
                continue  # nothing is there; Python says so when the step runs
            parent = above[: len(above) - (node.level - 1)]
            base = ".".join([*parent, base] if base else parent)
        yield base
        # `from package import name`: the name may be a module of its own.
        yield from (f"{base}.{alias.name}" for alias in node.names)


#: Arguments and functions whose texts only people read.
_WORDS_ARGUMENTS = {"help", "metavar", "description", "epilog"}
_WORDS_FUNCTIONS = {"report", "track", "Progress", "AdvdetectError"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class _WithoutWords:
    """Writes a syntax tree down without what changes no result.

    That is docstrings, help, messages and the version number.

    Each node is its kind and its fields in parentheses. Fields that are empty are left out, as is
    whether a name is read or set, so that the fields that a new version of Python adds change
    nothing.

    Attributes:
        parts: What was written.
        imports: The imports that were met.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []

    def read(self, node: ast.AST) -> None:
        """Write a node and all that is below it."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports.append(node)
        elif isinstance(node, _DOCUMENTED):
            _leave_out_docstring(node)
        elif isinstance(node, ast.Assign):
            _leave_out_version(node)
        elif isinstance(node, ast.Call):
            _leave_out_words(node)
        write = self.parts.append
        write(type(node).__name__)
        write("(")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field == "ctx":
                continue
            write(field)
            write("=")
            self._write(value)
        write(")")

    def _write(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        elif isinstance(value, list):
            self.parts.append("[")
            for item in value:
                self._write(item)
                self.parts.append(",")
            self.parts.append("]")
        else:
            self.parts.append(repr(value))


def _leave_out_docstring(node: Any) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        del node.body[0]


def _leave_out_version(node: ast.Assign) -> None:
    if any(isinstance(t, ast.Name) and t.id == "__version__" for t in node.targets):
        node.value = ast.Constant("")


def _leave_out_words(node: ast.Call) -> None:
    node.keywords = [word for word in node.keywords if word.arg not in _WORDS_ARGUMENTS]
    if isinstance(node.func, ast.Name) and node.func.id in _WORDS_FUNCTIONS:
        node.args = [_without_text(argument) for argument in node.args]


def _without_text(node: ast.expr) -> ast.expr:
    """Return an argument without its texts; names and calls within it count on."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.Constant("")
    if isinstance(node, ast.JoinedStr):
        shown = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        return ast.Tuple([part.value for part in shown], ast.Load())
    if isinstance(node, ast.BinOp):
        node.left, node.right = _without_text(node.left), _without_text(node.right)
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = _without_text(node.body), _without_text(node.orelse)
    return node
