"""The free energy of the logits (Liu et al. 2020)."""

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.activations import LOGITS, Activations
from advdetect.randomness import SampleGenerator


def energy(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    activations: Activations,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Return E(x) = −T logsumexp_c(z_c / T) (Liu et al. 2020, equation 4).

    The energy is low where the model has large logits, as it has for training images. Computed in
    float64 and without overflow.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: The (N, classes) logits.
        temperature: T, greater than 0; the paper recommends 1.

    Returns:
        Column ``energy``: (N,) float64, in units of the logits.

    Raises:
        AdvdetectError: The temperature is not greater than 0.
    """
    if not temperature > 0:
        raise AdvdetectError(
            f"The temperature of the feature energy must be greater than 0, not {temperature}."
        )
    logits = activations[LOGITS].double()
    return {"energy": -temperature * (logits / temperature).logsumexp(dim=1)}
