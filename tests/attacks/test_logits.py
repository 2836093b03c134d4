import torch
from torch import Tensor, nn

from advdetect.attacks.logits import differentiable_logits, margin, rounding


def test_gradients_are_rows_of_the_jacobian_and_leave_the_images(
    model: nn.Module, images: Tensor
) -> None:
    model, images = model.double(), images[:4].double()
    before = images.clone()
    with torch.no_grad():
        logits, gradient = differentiable_logits(model, images)
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert not logits.requires_grad
    for row in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda image: model(image[None])[0], images[row]
        )
        for weights in (torch.eye(5, dtype=torch.float64)[2], torch.arange(5).double()):
            expected = torch.einsum("k,kchw->chw", weights, jacobian)
            found = gradient(weights.expand(4, 5))[row]
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_one_channel_images_of_a_linear_model_have_its_weights_as_gradients() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, kernel_size=3, padding=1), nn.Flatten())
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    logits, gradient = differentiable_logits(model, images)
    torch.testing.assert_close(logits, model(images))
    # Of the sum of all outputs at the image's centre, where each weight reaches each pixel once.
    found = gradient(torch.ones_like(logits))[:, 0, 1:3, 1:3]
    expected = model[0].weight.sum().expand(2, 2, 2)  # type: ignore[union-attr, operator]
    torch.testing.assert_close(found, expected)


def test_margin_is_to_the_best_of_the_others() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5], [3.0, 3.0, 0.0]])
    assert margin(logits, torch.tensor([1, 2, 0])).tolist() == [1.5, -1.5, 0]


def test_rounding_exceeds_what_another_order_of_summing_changes(model: nn.Module) -> None:
    images = torch.rand(512, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    changed = (whole - alone).abs().amax(dim=1)
    assert (2 * changed <= rounding(whole)).all()
    assert (rounding(whole) <= 1e-4).all()
