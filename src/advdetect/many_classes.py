"""What ``auto`` means where there are too many classes for a backward pass each.

A method asks here with the number of classes, which only the model's logits tell, and so does what
says how much memory it takes. A step that runs it says once what was chosen, and keeps it in its
file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from advdetect.progress import report

Auto = Literal["auto"]
Value = TypeVar("Value")

#: Up to so many classes all are treated, and exactly. There the exact forms are as cheap as their
#: approximations: 19 backward passes, where `top_k` takes twelve and a double one, and the Lanczos
#: iteration some 26 passes (docs/decisions.md).
MANY_CLASSES = 20
#: The same for the eigenvalues of the input: their Lanczos iteration takes up to 120 passes.
EIGENVALUE_CLASSES = 120
#: In the provenance of a file: what was chosen for its many classes, by the names of the settings.
CHOSEN = "chosen_for_many_classes"
_COUNT = "number_of_classes"

_running: ContextVar[tuple[str, dict[str, Any]] | None] = ContextVar("running", default=None)


def by_classes(
    setting: str,
    value: Value | Auto,
    classes: int,
    *,
    few: Value,
    many: Value,
    limit: int | None = None,
) -> Value:
    """Return what a setting says, or the affordable value where it says ``auto``.

    Args:
        setting: Its name, for those who are told.
        value: What it says.
        classes: Number of classes.
        few: What ``auto`` means up to ``limit``.
        many: What it means above.
        limit: So many classes; None means `MANY_CLASSES`.
    """
    if value != "auto":
        return value
    if classes <= (limit or MANY_CLASSES):
        return few
    if running := _running.get():
        who, chosen = running
        if setting not in chosen:
            report(f"{who}: {setting} auto is {many}, since the model has {classes:,} classes")
        chosen |= {_COUNT: classes, setting: many}
    return many


def eigenvector_method(method: str, classes: int) -> str:
    """Return how the top eigenvector of the input Fisher information is found."""
    return by_classes("method", method, classes, few="exact", many="class_lanczos")


def eigenvalue_method(method: str, classes: int) -> str:
    """Return how the largest eigenvalues of the input Fisher information are found."""
    return by_classes(
        "method", method, classes, few="exact", many="lanczos", limit=EIGENVALUE_CLASSES
    )


def weight_fisher_form(approximation: str, block: str, classes: int) -> str:
    """Return how the weight Fisher information is approximated, of whose blocks there is no way."""
    if block != "none" and approximation == "auto":
        return "none"
    return by_classes("approximation", approximation, classes, few="none", many="top_k")


def described(chosen: Mapping[str, Any]) -> str:
    """Say what was chosen: ``candidates 10, of 1,000 classes``."""
    settings = ", ".join(f"{name} {value}" for name, value in chosen.items() if name != _COUNT)
    return f"{settings}, of {chosen[_COUNT]:,} classes"


@contextmanager
def choices(who: str) -> Iterator[dict[str, Any]]:
    """Collect and say once what is chosen for many classes while the block runs.

    Args:
        who: What runs, for example ``attack deepfool``.

    Yields:
        The number of classes as ``number_of_classes``, and what was chosen by setting; empty where
        nothing was.
    """
    chosen: dict[str, Any] = {}
    token = _running.set((who, chosen))
    try:
        yield chosen
    finally:
        _running.reset(token)
