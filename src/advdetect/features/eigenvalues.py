"""What the features of largest Fisher eigenvalues have in common."""

from collections.abc import Callable
from typing import Literal, Protocol, get_args

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.inference import class_count
from advdetect.many_classes import eigenvalue_method
from advdetect.randomness import SampleGenerator

Method = Literal["auto", "exact", "lanczos"]


class Leading(Protocol):
    """A function of `advdetect.fisher.leading_spectrum`."""

    def __call__(
        self, model: nn.Module, images: Tensor, count: int, *, generator: SampleGenerator
    ) -> Tensor:
        """Return (N, k) float64 log10 eigenvalues, descending, k at most the count."""


def eigenvalue_columns(
    feature: str,
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    top_k: int,
    method: Method,
    exact: Callable[[nn.Module, Tensor], Tensor],
    leading: Leading,
) -> dict[str, Tensor]:
    """Return the largest eigenvalues as columns, by the method for the number of classes.

    Args:
        feature: Its name, for errors.
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: One stream per image, for the first vector of "lanczos".
        top_k: How many eigenvalues, at least 1.
        method: "exact", "lanczos" or "auto", as of `advdetect.many_classes.eigenvalue_method`.
        exact: Returns all (N, C − 1) log10 eigenvalues, descending.
        leading: Returns the largest.

    Returns:
        Columns ``log10_eigenvalue_01``, ``log10_eigenvalue_02``, …, each (N,) on the CPU.

    Raises:
        AdvdetectError: ``top_k`` is below 1, the method is unknown, or the model does not suit.
    """
    if top_k < 1:
        raise AdvdetectError(f"The top_k of {feature} must be at least 1, not {top_k}.")
    if method not in get_args(Method):
        raise AdvdetectError(
            f"The method of {feature} is {method!r}; choose one of: {', '.join(get_args(Method))}."
        )
    chosen: str = method
    if method == "auto":
        chosen = eigenvalue_method(method, class_count(model, images))
    if chosen == "exact":
        spectrum = exact(model, images)[:, :top_k]
    else:
        spectrum = leading(model, images, top_k, generator=generator)
    return {
        f"log10_eigenvalue_{rank:02d}": values
        for rank, values in enumerate(spectrum.cpu().unbind(1), 1)
    }
