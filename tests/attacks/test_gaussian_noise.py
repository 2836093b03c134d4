import torch
from torch import nn

from advdetect.attacks.gaussian_noise import gaussian_noise
from advdetect.randomness import SampleGenerator


def noisy(model, images, labels, sigma, index=None):
    generator = SampleGenerator(3, range(len(images)) if index is None else index)
    return gaussian_noise(model, images, labels, generator=generator, sigma=sigma)


def test_it_is_the_streams_normal_noise_clipped_to_the_box():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 40, 40).contiguous()
    model, labels = nn.Flatten(), torch.zeros(3, dtype=torch.int64)
    for sigma in (0.03, 0.1):  # of the grey image, nothing is clipped
        found = noisy(model, images, labels, sigma).adversarial
        noise = SampleGenerator(3, range(3)).normal(1, 40, 40)
        torch.testing.assert_close(found, (images + sigma * noise).clamp(0, 1))
        spread = (found - images).double().square().flatten(1).mean(1).sqrt()
        expected = torch.tensor([0.5**0.5, 1.0, 0.5**0.5], dtype=torch.float64) * sigma
        torch.testing.assert_close(spread, expected, rtol=0.1, atol=0)


def test_success_is_what_the_model_says_and_an_image_has_its_own_noise():
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))

    def model(images):
        return images.flatten(1) @ weight.T

    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    result = noisy(model, images, labels, 0.5)
    assert torch.equal(result.success, model(result.adversarial).argmax(1) != labels)
    assert 0 < result.success.sum() < 50
    alone = noisy(model, images[7:8], labels[7:8], 0.5, index=[7])
    assert torch.equal(alone.adversarial[0], result.adversarial[7])
