"""The registry: configurations that rebuild a model, and errors that name what exists."""

import json

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import MODELS, GenerativeModel, build

SMALL = {"gan": {"hidden": [8, 12]}, "dcgan": {"width": 2}, "wgan-gp": {}, "vae": {"hidden": 8},
         "conv-vae": {"width": 2}, "vae-gan": {"width": 2}, "classifier": {"width": 2}}


@pytest.mark.parametrize("num_classes", [None, 10])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64)])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_rebuilt_from_its_configuration_as_json(name, shape, num_classes):
    if name == "classifier" and num_classes is None:
        num_classes = 3
    options = {"width": 2} if name == "wgan-gp" and shape != (1, 8, 8) else SMALL[name]
    model = build(name, shape, num_classes, **options)
    config = json.loads(json.dumps(model.config()))
    assert config["name"] == name == model.name
    twin = build(**config)
    assert type(twin) is type(model) and twin.config() == model.config()
    shapes = {k: (v.shape, v.dtype) for k, v in model.state_dict().items()}
    assert {k: (v.shape, v.dtype) for k, v in twin.state_dict().items()} == shapes
    twin.load_state_dict(model.state_dict())
    if isinstance(model, GenerativeModel):
        z = model.noise(2)
        assert np.array_equal(model.generate(z).data, twin.generate(z).data)
        assert model.generate(z).shape == (2, *shape)


def test_options_survive_the_round_trip():
    options = {"latent": 5, "loss": "hinge", "n_critic": 3, "width": 3, "norm": "none",
               "gradient_penalty": 1.0, "label_smoothing": 0.0}
    config = build("dcgan", (1, 16, 16), **options).config()
    assert {k: config[k] for k in options} == options


def test_unknown_names_and_options_are_told_what_there_is():
    with pytest.raises(ValueError, match=r"no model 'dcgna'; did you mean 'dcgan'\? Models: gan, "):
        build("dcgna", (1, 28, 28))
    with pytest.raises(TypeError, match="'vae' has no option 'width'; it has latent, hidden"):
        build("vae", (1, 28, 28), width=3)
    with pytest.raises(TypeError, match=r"'wgan-gp' has no option 'width'; it has .*hidden"):
        build("wgan-gp", (1, 8, 8), width=3)
    with pytest.raises(ValueError, match=r"image_shape must be \(channels, height, width\)"):
        build("vae", (28, 28))
    with pytest.raises(ValueError, match="num_classes"):
        build("classifier", (1, 28, 28))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_training_keeps_the_number_type(name, dtype):
    options = {"width": 2} if name == "wgan-gp" else SMALL[name]
    model = build(name, (1, 16, 16), 10, **options).to(dtype=dtype)
    images = np.random.default_rng(0).random((4, 1, 16, 16))     # float64: cast by the model
    losses = model.training_step(images, np.arange(4), model.configure_optimizers())
    assert {v.dtype.name for v in losses.values()} == {dtype}
    assert {p.dtype.name for p in model.parameters()} == {dtype}
    assert {p.grad.dtype.name for p in model.parameters() if p.grad is not None} == {dtype}


def test_the_same_seed_gives_the_same_weights_and_the_same_training():
    def run():
        tg.manual_seed(7)
        model = build("gan", (1, 8, 8), hidden=[16])
        optimizers = model.configure_optimizers()
        for i in range(3):
            x = np.random.default_rng(i).random((4, 1, 8, 8), dtype=np.float32)
            model.training_step(x, None, optimizers)
        return [p.data for p in model.parameters()]

    for a, b in zip(run(), run()):
        assert np.array_equal(a, b)


def test_the_classifier_counts_right_answers():
    model = build("classifier", (1, 8, 8), 3, width=2, hidden=4)
    x = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)
    labels = np.arange(12) % 3
    results = model.evaluate(x, labels)
    predicted = model.eval()(tg.Tensor(x)).detach().numpy().argmax(axis=1)
    assert results["accuracy"].item() == pytest.approx((predicted == labels).mean())
    assert results["accuracy"].dtype == np.float32
    with pytest.raises(ValueError, match="labels are needed"):
        model.train().training_step(x, None, model.configure_optimizers())
