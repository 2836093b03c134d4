"""What the classifiers of other libraries share: one contract, whatever the library's own is."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.layers import Normalize

#: What `model.weights` says for those that a library takes by itself.
PRETRAINED = "pretrained"


class LibraryClassifier(nn.Module):
    """A library's classifier behind its own normalisation.

    Its weights have the library's names below ``net``, and what normalises is none of them, so that
    a file of the library's is a file of this.

    Args:
        net: Takes normalised images; returns logits, or a tuple that begins with them.
        mean: Mean of each channel that it was trained with.
        std: Standard deviation of each channel.
        in_channels: Channels of the images: as many, or one, which is then each of them.

    Raises:
        AdvdetectError: There is another number of channels.
    """

    def __init__(
        self, net: nn.Module, mean: Sequence[float], std: Sequence[float], in_channels: int
    ) -> None:
        super().__init__()
        if in_channels not in (1, len(mean)):
            raise AdvdetectError(
                f"model.arguments.in_channels: {type(net).__name__} takes images of {len(mean)} "
                f"channels, or grey ones, and these have {in_channels}."
            )
        self.normalize = Normalize(mean, std, is_kept=False)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        answer: Any = self.net(self.normalize(images))
        # Some have other classifiers on their way, which in training answer as well.
        return answer if isinstance(answer, Tensor) else answer[0]


def check_name(setting: str, name: str, known: Collection[str], what: str) -> None:
    """Refuse a name that a library does not have, with those that are near.

    Args:
        setting: Where it stands.
        name: The name.
        known: All that the library has.
        what: What they are.

    Raises:
        AdvdetectError: The library has it not.
    """
    if name in known:
        return
    near = get_close_matches(name, known, n=4) or list(known)[:4]
    raise AdvdetectError(f"{setting}: {name} is no {what}; near it are {', '.join(near)}.")
