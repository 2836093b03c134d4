"""Training a substitute of an oracle that answers labels only (Papernot et al. 2016)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import loss_gradient
from advdetect.data.subset import stratified
from advdetect.errors import AdvdetectError
from advdetect.inference import batch_slices, predict_logits, to_float
from advdetect.seeding import derive_seed
from advdetect.training.loop import train
from advdetect.training.standard import Standard
from advdetect.training.unfinished import History, Part, Unfinished

#: Maps (N, C, H, W) float32 images in [0, 1], on the CPU, to their (N,) int64 labels.
Oracle = Callable[[Tensor], Tensor]

_AT_A_TIME = 256  # images that are labelled or changed


class Substitute:
    """Jacobian-based augmentation: Papernot et al. 2016 (arXiv 1602.02697), Algorithm 1.

    A kind of training with a method of its own; see `kinds.OwnMethod`.

    In each round the oracle labels the new images of S, the substitute is trained on S from the
    weights that it began with, and S becomes S ∪ {x + λ sign(∂F_y/∂x)}: y is the oracle's label of
    x, F the softmax of the substitute. After the last round nothing is added, since nobody would
    label it: of n images there are n 2^(rounds − 1) queries.

    Args:
        oracle: What is imitated: a model, of which no more than its labels is asked for, or what
            returns labels.
        seed_images: n, how many images S begins with.
        rounds: ρ_max, at least 1.
        step_size: λ, in pixel units of [0, 1]; negative: away from the oracle's label.
        reservoir: κ, how many images of S, drawn at random, are changed in an augmentation; None:
            all, always.
        reservoir_after: σ, how many augmentations change all images before. With them the number
            of queries is n 2^σ + κ (rounds − 1 − σ).
        alternate_every: τ, after how many augmentations the sign of λ changes; None: never.
    """

    def __init__(
        self,
        *,
        oracle: nn.Module | Oracle,
        seed_images: int = 150,
        rounds: int = 6,
        step_size: float = 0.1,
        reservoir: int | None = None,
        reservoir_after: int = 3,
        alternate_every: int | None = None,
    ) -> None:
        self._oracle = labels_of(oracle) if isinstance(oracle, nn.Module) else oracle
        self._seed_images = seed_images
        self.rounds = rounds
        self._step_size = step_size
        self._reservoir, self._reservoir_after = reservoir, reservoir_after
        self._alternate_every = alternate_every

    def train(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        after_epoch: Callable[[dict[str, Any]], None] = lambda epoch: None,
        unfinished: Unfinished | None = None,
        **settings: Any,
    ) -> History:
        """Train the substitute; changes the model.

        What was killed goes on after its last epoch and ends with the same bits. The labels of a
        round in which no epoch has ended are asked for again.

        Args:
            model: The substitute: returns logits, on its device; as it is, each round begins.
            images: (N, C, H, W) uint8 images that the oracle was not trained on.
            labels: (N,) their labels, by which the seed images are drawn in proportion to their
                classes, and which nothing else looks at: what is learnt are the oracle's.
            seed: Seed of all that is random.
            after_epoch: Called with each epoch, as it stands in what is returned.
            unfinished: Keeps where the training stands.
            settings: Of a round, epochs, batch size and so on: `loop.train`.

        Returns:
            As of `loop.train`, epochs counted over all rounds, with the ``round`` from 1 and the
            ``queries`` until then: labels that were asked for, one for each image.

        Raises:
            AdvdetectError: There are fewer than n images, the oracle does not return labels, or a
                loss is no finite number.
        """
        initial = {name: values.clone() for name, values in model.state_dict().items()}
        part = unfinished.last_part() if unfinished else None
        if part is None:
            known = to_float(images[self._draw(labels, seed)])
            part = Part(1, [], {"images": known, "labels": ask(self._oracle, known)})
        while True:
            known, answers = part.tensors["images"], part.tensors["labels"]
            # Strides as of a file: with others, which one channel allows, the last digits differ.
            known = known.clone(memory_format=torch.contiguous_format)

            def say(epoch: dict[str, Any], part: Part = part) -> None:
                after_epoch(_in_round(part, epoch))

            model.load_state_dict(initial)
            own = train(
                model,
                known,
                answers,
                objective=Standard(),
                seed=derive_seed(seed, "round", str(part.number)),
                after_epoch=say,
                unfinished=unfinished.of(part) if unfinished else None,
                **settings,
            )
            history = part.history + [_in_round(part, epoch) for epoch in own]
            if part.number >= self.rounds:
                return history
            new = self.augment(model, known, answers, part.number, seed)
            tensors = {
                "images": torch.cat([known, new]),
                "labels": torch.cat([answers, ask(self._oracle, new)]),
            }
            part = Part(part.number + 1, history, tensors)

    def _draw(self, labels: Tensor, seed: int) -> Tensor:
        """Return the (n,) rows of the seed images."""
        if self._seed_images > len(labels):
            raise AdvdetectError(
                f"training.seed_images={self._seed_images}, but there are only {len(labels)} "
                f"images that nothing was trained on: ask for fewer, or set dataset.train_count to "
                f"fewer."
            )
        return stratified(labels, self._seed_images, derive_seed(seed, "seed images"))

    def augment(
        self, model: nn.Module, images: Tensor, labels: Tensor, number: int, seed: int
    ) -> Tensor:
        """Return the images that an augmentation adds: x + λ sign(∂F_y/∂x), clipped to [0, 1].

        Args:
            model: The substitute.
            images: (N, C, H, W) float32 in [0, 1]: S.
            labels: (N,) the oracle's labels.
            number: Which augmentation it is, from 1.
            seed: Seed of the training.
        """
        if self._reservoir is not None and number > self._reservoir_after:
            generator = torch.Generator().manual_seed(derive_seed(seed, "reservoir", str(number)))
            drawn = torch.randperm(len(images), generator=generator)[: self._reservoir]
            images, labels = images[drawn], labels[drawn]
        turned = self._alternate_every and (number - 1) // self._alternate_every % 2
        step = -self._step_size if turned else self._step_size
        device = next(model.parameters()).device
        model.eval()
        parts = []
        for rows in batch_slices(len(images), _AT_A_TIME):
            given = images[rows].to(device)
            # Down the loss is up F_y, also where F_y is 1 in float32 and its own gradient zero.
            direction = -loss_gradient(model, given, labels[rows].to(device)).sign()
            parts.append((given + step * direction).clamp(0, 1).cpu())
        return torch.cat(parts)


def _in_round(part: Part, epoch: dict[str, Any]) -> dict[str, Any]:
    """Return an epoch of a round as one of the whole training."""
    whole = {"epoch": len(part.history) + epoch["epoch"], "round": part.number}
    return epoch | whole | {"queries": len(part.tensors["images"])}


def ask(oracle: Oracle, images: Tensor) -> Tensor:
    """Return the (N,) labels that an oracle gives (N, C, H, W) float32 images.

    Raises:
        AdvdetectError: It returns something else than one label for each.
    """
    answers = [oracle(images[rows]) for rows in batch_slices(len(images), _AT_A_TIME)]
    for answer in answers:
        if not (isinstance(answer, Tensor) and answer.dtype == torch.int64 and answer.ndim == 1):
            raise AdvdetectError(
                "The oracle of a substitute must return one label for each image, as int64."
            )
    labels = torch.cat(answers).cpu()
    if len(labels) != len(images):
        raise AdvdetectError(
            f"The oracle of a substitute returned {len(labels)} labels for {len(images)} images."
        )
    return labels


def labels_of(model: nn.Module) -> Oracle:
    """Return a model as an oracle: what it says beside the label stays inside."""
    device = next(model.parameters()).device

    def oracle(images: Tensor) -> Tensor:
        return predict_logits(model, images, device=device).argmax(1)

    return oracle
