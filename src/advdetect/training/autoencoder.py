"""A first layer that is trained as a sparse auto-encoder and then frozen, a classifier on top."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.progress import report
from advdetect.requirements.training import OPTIONS
from advdetect.training.loop import train
from advdetect.training.standard import Standard

_BATCH = 128


class SparseAutoencoder(Standard):
    """Standard training above a frozen first layer: AE400-10 of Szegedy et al. 2014.

    Their paper says of the layer that it was "trained as a sparse autoencoder" and then fixed. The
    loss is the usual one of a sparse auto-encoder (Ng 2011, lecture notes of CS294A), with sigmoid
    units and a sigmoid decoder of its own weights, ``½‖x̂ − x‖² + β Σ_j KL(ρ‖ρ̂_j) + ½ μ Σ w²``,
    ρ̂_j the mean activation of unit j over the batch.

    Args:
        sparsity: ρ, the mean activation that each unit is to have, in (0, 1).
        sparsity_weight: β.
        autoencoder_decay: μ, of the weights of encoder and decoder.
        autoencoder_epochs: Passes over the images, at least 1.
        autoencoder_learning_rate: Highest learning rate of the cycle.
        layer_decay: As of standard training; the frozen layer counts as one.
        part: As of standard training, of the auto-encoder as well.
    """

    def __init__(
        self,
        *,
        sparsity: float = 0.1,
        sparsity_weight: float = 0.1,
        autoencoder_decay: float = 1e-4,
        autoencoder_epochs: int = 20,
        autoencoder_learning_rate: float = 0.005,
        layer_decay: float | Sequence[float] | None = None,
        part: str | None = None,
    ) -> None:
        super().__init__(layer_decay=layer_decay, part=part)
        self._sparsity, self._sparsity_weight = sparsity, sparsity_weight
        self._decay = autoencoder_decay
        self._epochs, self._learning_rate = autoencoder_epochs, autoencoder_learning_rate

    def begin(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train the first layer and freeze it; see `loop.Objective`.

        Raises:
            AdvdetectError: The model has no first linear layer with sigmoid units behind it.
        """
        images, labels = super().begin(model, images, labels)
        encoder = _Encoder(model, images[:1])
        train(
            nn.ModuleList([encoder.first, encoder.decoder]),
            images,
            labels,
            objective=self._reconstruction(encoder),
            epochs=self._epochs,
            batch_size=_BATCH,
            learning_rate=self._learning_rate,
            weight_decay=0.0,
            **OPTIONS,
            seed=int(torch.randint(2**62, ())),
            after_epoch=self._report,
        )
        encoder.first.requires_grad_(False)
        return images, labels

    def _reconstruction(self, encoder: "_Encoder") -> Callable[..., tuple[Tensor, Tensor]]:
        """Return the objective of the auto-encoder; in place of logits it has reconstructions."""

        def objective(_: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            code, reconstructed = encoder(images)
            error = (reconstructed - images.flatten(1)).square().sum(dim=1).mean() / 2
            sparse = divergence(self._sparsity, code.mean(dim=0)).sum()
            squares = encoder.first.weight.square().sum() + encoder.decoder.weight.square().sum()
            loss = error + self._sparsity_weight * sparse + self._decay / 2 * squares
            return loss, reconstructed

        return objective

    def _report(self, epoch: dict[str, Any]) -> None:
        report(
            f"train: auto-encoder, epoch {epoch['epoch']} of {self._epochs}, "
            f"loss {epoch['loss']:.4f}"
        )


def divergence(rate: float, found: Tensor) -> Tensor:
    """Return KL(ρ‖ρ̂) in nats of two Bernoulli variables, for each of the rates found."""
    # In float32 a unit may be off in a whole batch, where the divergence is infinite.
    found = found.clamp(1e-6, 1 - 1e-6)
    wanted = torch.full_like(found, rate)
    return wanted * (wanted / found).log() + (1 - wanted) * ((1 - wanted) / (1 - found)).log()


class _Encoder:
    """The layers of a model up to its first sigmoid units, and a decoder of these."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        sigmoids = [module for module in model.modules() if isinstance(module, nn.Sigmoid)]
        if len(linear) < 2 or not sigmoids:
            raise AdvdetectError(
                "training.autoencoder needs a model whose first layer is linear with sigmoid "
                "units, such as fully_connected with hidden=[400]."
            )
        self._model = model
        self.first: nn.Linear = linear[0]
        pixels = image[0].numel()
        self.decoder = nn.Linear(self.first.out_features, pixels).to(self.first.weight.device)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the units' (N, k) activations and the (N, pixels) reconstructions."""
        seen: list[Tensor] = []
        hook = self.first.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
        try:
            self._model(images)
        finally:
            hook.remove()
        code = seen[0].sigmoid()
        return code, self.decoder(code).sigmoid()
