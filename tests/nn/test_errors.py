"""An error inside a model names the layer, the op and the sizes, whatever the depth."""

import pytest

import tinygen as tg
from tinygen import nn


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_the_source_texts_generator():
    """Dense 128 -> reshape 7x7x1: the layer's name and both sizes."""
    net = nn.Sequential(nn.Linear(100, 128), nn.Reshape(7, 7, 1))
    text = message(lambda: net(tg.zeros((4, 100))), ValueError)
    for part in ("[Reshape]", "128", "(7, 7, 1)", "49", "in layer 1 (Reshape(7, 7, 1))"):
        assert part in text, text


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(4, 3)))

    def forward(self, z):
        return self.generator(z)


def test_the_path_runs_from_the_root():
    text = message(lambda: Model()(tg.zeros((2, 5))), ValueError)
    assert "in layer generator.1.0 (Linear(in_features=4, out_features=3, bias=True))" in text
    assert "[linear]" in text and "float32 (2, 5)" in text
    assert text.count("in layer") == 1


def test_an_error_in_the_users_own_forward_names_its_module():
    class Mine(nn.Module):
        def forward(self, x):
            return x @ tg.zeros((7, 7))

    text = message(lambda: nn.Sequential(nn.ReLU(), Mine())(tg.zeros((2, 5))), ValueError)
    assert "inner sizes 5 and 7 differ" in text and text.endswith("in layer 1 (Mine)")


def test_the_type_and_the_arguments_of_foreign_exceptions_stay():
    class Stop(Exception):
        def __init__(self, code, why):
            super().__init__(code, why)
            self.code = code

    class Mine(nn.Module):
        def forward(self, x):
            raise Stop(3, "enough")

    with pytest.raises(Stop) as caught:
        nn.Sequential(Mine())(1)
    assert caught.value.args == (3, "enough") and caught.value.code == 3
    assert "  in layer 0 (Mine)" in caught.value.__notes__


def test_a_layer_that_is_used_twice_in_failing_calls_is_named_each_time_alone():
    net = Model()
    first = message(lambda: net(tg.zeros((2, 5))), ValueError)
    assert message(lambda: net(tg.zeros((2, 5))), ValueError) == first


@pytest.mark.parametrize(("layer", "shape", "words"), [
    (lambda: nn.Conv2d(3, 64, 4), (8, 1, 28, 28),
     "[Conv2d] expected 3 input channels, got 1: x has shape (8, 1, 28, 28), weight (64, 3, 4, 4)"),
    (lambda: nn.ConvTranspose2d(3, 6, 4), (8, 1, 28, 28),
     "[ConvTranspose2d] expected 3 input channels, got 1: x has shape (8, 1, 28, 28)"),
    (lambda: nn.Conv2d(3, 4, 2), (8, 3), "or one image (C, H, W), got x of shape (8, 3)"),
    (lambda: nn.Conv2d(1, 4, 5), (2, 1, 3, 9), "(2, 1, 3, 9)"),
    (lambda: nn.BatchNorm2d(4), (2, 3, 5, 5), "(N, C, H, W) with C = 4 features, got x of shape"),
    (lambda: nn.BatchNorm1d(4), (2, 3, 5, 5), "(N, C) or (N, C, L) with C = 4"),
    (lambda: nn.BatchNorm1d(4), (1, 4), "more than one value per channel"),
    (lambda: nn.LayerNorm((3, 4)), (2, 4, 3), "(2, 4, 3), which does not end in normalized_shape"),
    (lambda: nn.GroupNorm(2, 4), (2, 3), "expected (N, 4, ...), got x of shape (2, 3)"),
    (lambda: nn.Unflatten(1, (2, 5)), (3, 8), "[Unflatten] axis 1 of (3, 8) has 8 elements"),
    (lambda: nn.Reshape(-1, 5), (3, 8), "a multiple of 5"),
    (lambda: nn.PReLU(3), (2, 4), "expected (N, 3, ...), got x of shape (2, 4)"),
    (lambda: nn.Linear(4, 2), (3, 5), "the last axis of x is 5, weight (out, in) expects 4"),
])
def test_inputs_that_do_not_fit(layer, shape, words):
    made = layer()
    text = message(lambda: made(tg.zeros(shape)), ValueError)
    assert words in text, text
    assert f"in layer {type(made).__name__}" in text


@pytest.mark.parametrize(("make", "words"), [
    (lambda: nn.Linear(-1, 2), "[Linear] in_features must be an integer of at least 0, got -1"),
    (lambda: nn.Linear(2.5, 2), "in_features must be an integer"),
    (lambda: nn.Conv2d(3, 4, 0), "[Conv2d] kernel_size"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide in_channels=3 and out_channels=4"),
    (lambda: nn.Conv2d(3, 4, 3, padding="full"), "'same' or 'valid', got 'full'"),
    (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), "padding='same' needs stride 1"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="edge"), "replicate, circular, got 'edge'"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "must be one of zeros"),
    (lambda: nn.Dropout(1.2), "[Dropout] p must be in [0, 1], got 1.2"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx 3 is outside of the 3 rows"),
    (lambda: nn.GroupNorm(4, 6), "num_channels=6 is no multiple of num_groups=4"),
    (lambda: nn.GELU("sigmoid"), "'none' or 'tanh', got 'sigmoid'"),
    (lambda: nn.Reshape(-1, -1), "but for one -1"),
])
def test_arguments_that_make_no_layer(make, words):
    assert words in message(make, ValueError)
