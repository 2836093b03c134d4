"""Training that goes on from given weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.guard import check_weights
from advdetect.models.weights import WHERE, difference, listed
from advdetect.training.kinds import begun, make
from advdetect.training.loop import Objective

_SHOWN = 20  # names of layers in an error


class FineTuning:
    """A loss of another kind, minimised from given weights, of which some may stay as they are.

    A layer is named as in the model's state dict, ``classifier.4``, or by what it is a part of,
    ``classifier``.

    Args:
        start: The weights, by the names that the model has for them, or a model that has them.
        loss: Specification of the kind of training that says what is minimised: ``_target_`` and
            its settings.
        new_layers: Layers that stay as the model has them, whatever ``start`` says of them, and
            those of ``start`` that the model has not.
        frozen: Layers that are not trained. They are in eval mode: batch norm keeps its running
            statistics and goes by them, nothing is dropped.

    Raises:
        AdvdetectError: The loss is of a kind that has a method of its own.
    """

    def __init__(
        self,
        *,
        start: nn.Module | Mapping[str, Tensor],
        loss: Mapping[str, Any],
        new_layers: Sequence[str] = (),
        frozen: Sequence[str] = (),
    ) -> None:
        self._start = start.state_dict() if isinstance(start, nn.Module) else start
        kind = make(loss, {})
        if not callable(kind):
            raise AdvdetectError(
                f"training.loss: {loss['_target_']} is no loss, but has a method of its own: "
                f"choose another."
            )
        self._loss: Objective = kind
        self._new_layers, self._frozen = new_layers, frozen

    def begin(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Set the model's weights and freeze layers; see `loop.Objective`.

        Raises:
            AdvdetectError: The weights are not those of the model, a name is that of no layer, or
                nothing is left to be trained.
        """
        self._take_over(model)
        self._freeze(model)
        return begun(self._loss, model, images, labels)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits; see `loop.Objective`."""
        return self._loss(model, images, labels)

    def _take_over(self, model: nn.Module) -> None:
        own = model.state_dict()
        check_layers("training.new_layers", self._new_layers, [*own, *self._start])
        is_new = below(self._new_layers)
        taken = {name: values for name, values in self._start.items() if not is_new(name)}
        needed = {name: values for name, values in own.items() if not is_new(name)}
        if problem := difference(taken, needed):
            raise AdvdetectError(
                f"training=fine_tuning: the weights to start from are not those of "
                f"{type(model).__name__}: {problem}. Name the layers that are not to be taken over "
                f"in training.new_layers, or choose the model's arguments that the weights were "
                f"made with; of a file, {WHERE}."
            )
        model.load_state_dict(taken, strict=False)
        check_weights(model)

    def _freeze(self, model: nn.Module) -> None:
        check_layers("training.frozen", self._frozen, model.state_dict())
        is_frozen = below(self._frozen)
        for name, parameter in model.named_parameters():
            if is_frozen(name):
                parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise AdvdetectError(
                "training.frozen names all layers: there is nothing to train; leave some of them "
                "out, or leave out the training."
            )
        layers = [layer for name, layer in model.named_modules() if is_frozen(name)]

        def keep(_model: nn.Module, _inputs: tuple[Any, ...]) -> None:
            for layer in layers:
                layer.eval()

        # Before each call, since the loop and adversarial training set the mode of the whole model.
        model.register_forward_pre_hook(keep)


def below(layers: Iterable[str]) -> Callable[[str], bool]:
    """Return what says of a name, of a layer or a tensor, whether it is in one of some layers."""
    starts = tuple(f"{layer}." for layer in layers)
    return lambda name: f"{name}.".startswith(starts)


def check_layers(setting: str, layers: Iterable[str], names: Iterable[str]) -> None:
    """Check that each layer has tensors among those of some names.

    Raises:
        AdvdetectError: It has none.
    """
    names = list(names)
    for layer in layers:
        if not any(map(below([layer]), names)):
            there = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
            raise AdvdetectError(
                f"{setting}: there is no layer {layer}; there are {listed(there, shown=_SHOWN)}."
            )
