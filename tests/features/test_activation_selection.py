import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.features.activations import (
    count_classes,
    fitted_values,
    layer_columns,
    layer_values,
    selected_layers,
)

ACTIVATIONS = {
    name: torch.full((2, 3), float(number))
    for number, name in enumerate(["features.4", "classifier.1", "penultimate", "logits"])
}


def test_every_hidden_layer_by_default() -> None:
    expected = ["features.4", "classifier.1", "penultimate"]
    assert selected_layers(ACTIVATIONS, None, "lid") == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], ["penultimate"]),
        (["penultimate"], ["penultimate"]),
        (["logits", "features.4"], ["features.4", "penultimate", "logits"]),
    ],
)
def test_named_layers_come_in_the_order_of_the_network_with_the_penultimate_one(
    layers: list[str], expected: list[str]
) -> None:
    assert selected_layers(ACTIVATIONS, layers, "lid") == expected


def test_an_unknown_layer_is_refused_with_a_list() -> None:
    message = "feature lid asks for the layer 'fc'.* features.4, classifier.1, penultimate, logits"
    with pytest.raises(AdvdetectError, match=message):
        selected_layers(ACTIVATIONS, ["features.4", "fc"], "lid")
    with pytest.raises(AdvdetectError, match=message):
        layer_values(ACTIVATIONS, "fc", "lid")


def test_columns_are_plain_words() -> None:
    columns = layer_columns("lid", ["features.4", "block.conv#2", "penultimate"])
    assert list(columns.values()) == ["lid_features_4", "lid_block_conv_2", "lid_penultimate"]
    assert list(columns) == ["features.4", "block.conv#2", "penultimate"]


def test_two_layers_of_one_column_are_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"'a\.b' and 'a_b' would both make .* lid_a_b: name"):
        layer_columns("lid", ["a.b", "a_b"])


def test_classes_are_counted_up_to_the_last_logit() -> None:
    labels = torch.tensor([0, 2, 0, 1])
    assert count_classes(ACTIVATIONS, labels, "kd", least=1).tolist() == [2, 1, 1]
    with pytest.raises(AdvdetectError, match=r"kd needs at least 1 .* class 2 has 0: use more"):
        count_classes(ACTIVATIONS, torch.tensor([0, 1]), "kd", least=1)


def test_a_layer_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(
        AdvdetectError, match=r"lid lacks 'features\.4' and has penultimate: fit it"
    ):
        fitted_values({"penultimate": torch.zeros(1)}, "features.4", "lid")
