"""What methods hold of an image at a time, in multiples of what the model and the image take.

A method's YAML names its function as ``_memory_``; without one it holds what a plain gradient does
(`Need()`). It is called as ``need(count, **params)``: the number of classes, and the values of the
YAML file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from advdetect.many_classes import eigenvalue_method, eigenvector_method, weight_fisher_form

#: Tensors of the size of an image that an attack keeps for each row: the image, steps, the best.
_COPIES = 8
#: Gradients that the weight Fisher information holds at once.
_SEEDS = 16


class Need(NamedTuple):
    """What one image takes.

    Attributes:
        rows: Images, or images' worth of gradients, that the layers of the model hold.
        copies: Tensors of the size of the image, as float32.
    """

    rows: float = 1
    copies: float = _COPIES


#: A forward pass and its gradient, both recorded, for products with the Jacobian. Measured on
#: EfficientNet-Lite0 and ResNet-18 at 224: 0.4 and 1.1 of a row with the working memory.
_RECORDED = 1.5
#: Without a gradient a layer is forgotten after the next one.
FORWARD = Need(rows=0.5)


def _lanes(count: int) -> Need:
    return Need(rows=count, copies=_COPIES * count)


def target_classes(count: int, *, target_classes: int, **_: Any) -> Need:
    """Return that of attacks that go towards several classes at once."""
    return _lanes(min(target_classes, count - 1))


def nearest_classes(
    count: int, *, candidates: int, ranked: int | None, starts: int, **_: Any
) -> Need:
    """Return that of `advdetect.attacks.nearest_classes`: a search for each class and start."""
    wrong = count - 1
    lanes = _lanes(min(candidates, wrong) * starts)
    return lanes._replace(copies=lanes.copies + min(ranked or wrong, wrong))


def near_success(count: int, **_: Any) -> Need:
    """Return that of the attacks by penalty, which begin with that search."""
    return nearest_classes(count, candidates=3, ranked=10, starts=1)


def hopskipjump(count: int, **_: Any) -> Need:
    """Return that of `advdetect.attacks.hopskipjump`, which asks in 16 directions at once."""
    return Need(rows=16 * FORWARD.rows, copies=3 * 16)


def smoothed(count: int, *, draws: int, **_: Any) -> Need:
    """Return that of an attack on a smoothed classifier, which keeps its noise."""
    return Need(copies=_COPIES + draws)


def ossa(
    count: int, *, method: str, iterations: int = 100, draws: int | None = None, **_: Any
) -> Need:
    """Return that of `advdetect.fisher.top_eigenpair`, whose vectors are of float64."""
    method = eigenvector_method(method, count)
    vectors = {
        "exact": 2 * (count - 1),
        "lanczos": min(iterations, count - 1) + 1,
        "alias_lanczos": 2 * (draws or -(-count // 5)),
        "alias_power": draws or -(-count // 5),
    }.get(method, 2)
    return Need(rows=1 if method == "exact" else _RECORDED, copies=_COPIES + 2 * vectors)


def ossa_least(count: int, *, direction: Mapping[str, Any], **_: Any) -> Need:
    """Return that of the least perturbation along that direction."""
    return ossa(count, **direction)


def fisher_input(count: int, *, method: str, top_k: int, **_: Any) -> Need:
    """Return that of the input Fisher information: its Jacobian twice, or some of its rows."""
    if eigenvalue_method(method, count) == "exact":
        return Need(copies=_COPIES + 4 * (count - 1))
    return Need(rows=_RECORDED, copies=_COPIES + 4 * top_k)


def fisher_weights(
    count: int,
    *,
    classes: str,
    block: str,
    approximation: str,
    top: int,
    tail_samples: int,
    **_: Any,
) -> Need:
    """Return that of `advdetect.fisher.weights`: activations and the gradients of some classes."""
    approximation = weight_fisher_form(approximation, block, count)
    seeds = top + tail_samples if approximation == "top_k" else count - 1
    return Need(rows=1 + (1 if classes == "two" else min(seeds, _SEEDS + 1)))


def fisher_weights_spectrum(count: int, *, method: str, top_k: int, **_: Any) -> Need:
    """Return that of the weight Fisher information's eigenvalues: the gradients of all forms."""
    exact = eigenvalue_method(method, count) == "exact"
    return Need(rows=count if exact else 1 + min(top_k, count - 1))
