"""Other coordinates of colours, as layers that a gradient goes through."""

import torch
from torch import Tensor, nn

# Of red, green and blue in what an eye sees as their brightness (ITU-R BT.601).
_GREY = (0.299, 0.587, 0.114)


class HueSaturationValueGrey(nn.Module):
    """Hue, saturation, value (Smith 1978) and grey of RGB images, each in [0, 1].

    The hue of grey pixels is zero, and so is its gradient there; elsewhere it jumps at red, from 1
    to 0, and its gradient does not.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 4, H, W) of (N, 3, H, W) images in [0, 1]."""
        red, green, blue = images.unbind(1)
        value, brightest = images.max(1)
        spread = value - images.amin(1)
        # No division by zero, not even where its result is not taken: its gradient would be NaN.
        is_grey, is_black = spread == 0, value == 0
        parts = torch.stack([green - blue, blue - red, red - green], dim=1)
        part = parts.gather(1, brightest.unsqueeze(1)).squeeze(1)
        sector = part / spread.masked_fill(is_grey, 1) + 2 * brightest
        hue = (sector / 6).remainder(1).masked_fill(is_grey, 0)
        saturation = spread / value.masked_fill(is_black, 1)
        grey = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
        return torch.stack([hue, saturation, value, grey], dim=1)
