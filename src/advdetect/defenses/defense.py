"""The two-pronged defence of MagNet: detectors refuse, a reformer mends (Meng & Chen 2017).

Which detectors there are is a parameter. MagNet on MNIST has the reconstruction errors of its
auto-encoders I (p = 2) and II (p = 1); on CIFAR-10 that of its one auto-encoder (p = 1) and the
Jensen–Shannon divergences at T = 10 and 40. MID (Hsu et al. 2018) is MagNet with the mutual
information where the divergences are, so on MNIST beside the two reconstruction errors: there, no
accuracy that they report for MID is below that of MagNet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from advdetect.autoencoders.fitting import restore, select
from advdetect.defenses.threshold import thresholds
from advdetect.errors import AdvdetectError
from advdetect.inference import predict_logits
from advdetect.requirements.held_out import check_detectors, detector_name

#: Columns of each feature: features[name][column] is (N,).
Features = Mapping[str, Mapping[str, Tensor]]


class Detector(TypedDict):
    """A threshold on one column of a feature.

    Attributes:
        feature: Name of the feature.
        column: One of its columns.
        adversarial: ``high`` or ``low``: how adversarial images are expected to come out.
        false_positive_rate: Share of clean images that it may flag, in (0, 1).
    """

    feature: str
    column: str
    adversarial: Literal["high", "low"]
    false_positive_rate: float


@dataclass(frozen=True)
class Defense:
    """What the defence says of N images; all tensors are (N,) and on the CPU.

    Attributes:
        flagged_by: bool of each detector, named ``feature.column``.
        flagged: bool, by any detector.
        reformed_class: int64, the class of ae(x).
    """

    flagged_by: dict[str, Tensor]
    flagged: Tensor
    reformed_class: Tensor

    def defended(self, labels: Tensor) -> Tensor:
        """Return whether each adversarial image is harmless: flagged, or right when reformed.

        Its mean over adversarial images is the defence accuracy of Meng & Chen 2017 and of Hsu et
        al. 2018.

        Args:
            labels: (N,) true classes.
        """
        return self.flagged | self._right(labels)

    def accepted(self, labels: Tensor) -> Tensor:
        """Return whether each clean image is served: not flagged, and right when reformed.

        Args:
            labels: (N,) true classes.
        """
        return ~self.flagged & self._right(labels)

    def _right(self, labels: Tensor) -> Tensor:
        return self.reformed_class == labels.cpu()


def held_out_thresholds(held_out: Features, detectors: Sequence[Detector]) -> dict[str, float]:
    """Return the threshold of each detector; they serve for images of every kind.

    Args:
        held_out: The detectors' features of the clean images that the auto-encoders' fit held out.
        detectors: The detectors, at least one.

    Returns:
        Of each detector, named ``feature.column``, on its score (negated where low values are
        adversarial).

    Raises:
        AdvdetectError: A detector's column is missing or named twice, or the held-out images are
            too few for a rate.
    """
    rates = {detector_name(detector): detector["false_positive_rate"] for detector in detectors}
    return thresholds(detector_scores(held_out, detectors), rates)


def defend(
    model: nn.Module,
    images: Tensor,
    *,
    features: Features,
    limits: Mapping[str, float],
    fitted: Mapping[str, Tensor],
    batch_size: int,
    detectors: Sequence[Detector],
    reformer: int = 1,
) -> Defense:
    """Apply the defence to images, clean or adversarial.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1], on the CPU.
        features: The detectors' features of these images.
        limits: The detectors' thresholds, from `held_out_thresholds`.
        fitted: Auto-encoders, from `advdetect.autoencoders.fitting.fit`, on the model's device.
        batch_size: Images per forward pass.
        detectors: The detectors, at least one.
        reformer: Number of the auto-encoder that reforms, from 1.

    Returns:
        What is flagged, and the classes after the reformer.

    Raises:
        AdvdetectError: A detector's column is missing or named twice, or there is no such reformer.
    """
    flagged_by = {
        name: scores > limits[name] for name, scores in detector_scores(features, detectors).items()
    }
    return Defense(
        flagged_by=flagged_by,
        flagged=torch.stack(list(flagged_by.values())).any(dim=0),
        reformed_class=_reformed_class(model, images, fitted, reformer, batch_size),
    )


def detector_scores(features: Features, detectors: Sequence[Detector]) -> dict[str, Tensor]:
    """Return the scores of each detector, named ``feature.column``, higher for adversarial.

    Args:
        features: Columns of every feature that a detector names.
        detectors: The detectors.

    Raises:
        AdvdetectError: There are no detectors, a column is missing, or one is named twice.
    """
    check_detectors(detectors)
    scores: dict[str, Tensor] = {}
    for detector in detectors:
        name = detector_name(detector)
        columns = features.get(detector["feature"], {})
        if detector["column"] not in columns:
            known = ", ".join(
                f"{feature}.{column}" for feature, own in features.items() for column in own
            )
            raise AdvdetectError(f"detectors: there is no {name}; there are: {known}.")
        values = columns[detector["column"]].cpu()
        scores[name] = values if detector["adversarial"] == "high" else -values
    return scores


@torch.no_grad()
def _reformed_class(
    model: nn.Module,
    images: Tensor,
    fitted: Mapping[str, Tensor],
    reformer: int,
    batch_size: int,
) -> Tensor:
    autoencoder = select(restore(fitted), reformer)
    device = next(chain(model.parameters(), model.buffers()), images).device
    logits = predict_logits(lambda batch: model(autoencoder(batch)), images, batch_size, device)
    return logits.argmax(dim=1)
