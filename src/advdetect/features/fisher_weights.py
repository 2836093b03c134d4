"""Fisher information of the weights as a feature (Martin & Elster 2019)."""

from torch import Tensor, nn

from advdetect.fisher.weights import (
    Approximation,
    Block,
    Classes,
    Derivative,
    weight_fisher_forms,
)
from advdetect.randomness import SampleGenerator


def fisher_weights(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    classes: Classes = "all",
    derivative: Derivative = "exact",
    block: Block = "none",
    learning_rate: float = 1.0,
    step: float = 1e-4,
    approximation: Approximation = "auto",
    top: int = 10,
    tail_samples: int = 2,
) -> dict[str, Tensor]:
    """Return trace, quadratic form and normalised form, equations (4), (5) and (8), as log10.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: One stream per image; only the approximation draws from it.
        classes: "all", or "two" for the reduction of equation (7), at one backward pass.
        derivative: "exact", or "finite_difference" for equation (9) in both quadratic forms.
        block: "none", or "tensor" for one block of the Fisher matrix per weight tensor, as in the
            authors' published code.
        learning_rate: λ of equation (6), greater than 0.
        step: ε' of equation (9), greater than 0.
        approximation: "none", or "top_k" for many classes: the trace from the most probable ones
            and a sample of the others, the quadratic forms by a double backward pass. "auto" is the
            latter above `advdetect.many_classes.MANY_CLASSES` classes, but for blocks.
        top: Classes beside the predicted one that the trace is exact for, at least 1.
        tail_samples: Classes sampled from the others, at least 1.

    Returns:
        Columns ``log10_trace``, ``log10_quadratic_form`` and ``log10_normalized_form``, each (N,)
        float64 on the CPU, finite. See `advdetect.fisher.weights` for values near zero.

    Raises:
        AdvdetectError: A parameter is out of its range, or the model does not suit.
    """
    forms = weight_fisher_forms(
        model,
        images,
        classes=classes,
        derivative=derivative,
        block=block,
        learning_rate=learning_rate,
        step=step,
        approximation=approximation,
        top=top,
        tail_samples=tail_samples,
        generator=generator,
    )
    return {name: values.cpu() for name, values in vars(forms).items()}
