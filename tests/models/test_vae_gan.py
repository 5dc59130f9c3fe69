"""VAE-GAN: who learns from what, against PyTorch's gradients of the three losses."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import VAEGAN, build


def small(num_classes=None, **options):
    tg.manual_seed(0)
    return build("vae-gan", (1, 8, 8), num_classes, width=2, latent=3, **options)


def images(n=6, seed=0):
    return tg.Tensor(np.random.default_rng(seed).random((n, 1, 8, 8), dtype=np.float32))


class Recorder:
    """An optimizer that keeps the gradients it is given, and changes nothing."""

    def __init__(self, parameters):
        self.parameters, self.seen = list(parameters), None

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        self.seen = [p.grad.numpy().copy() for p in self.parameters]


def torch_twin(module):
    """Our Sequential as PyTorch's, with the same weights."""
    torch = pytest.importorskip("torch")
    layers = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            twin = torch.nn.Linear(*layer.weight.shape[::-1], bias=layer.bias is not None)
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            kind = getattr(torch.nn, type(layer).__name__)
            shape = layer.weight.shape
            inputs, outputs = shape[1::-1] if isinstance(layer, nn.Conv2d) else shape[:2]
            twin = kind(inputs, outputs, 4, 2, 1, bias=layer.bias is not None)
        elif isinstance(layer, nn.BatchNorm2d):
            twin = torch.nn.BatchNorm2d(layer.weight.shape[0])
        elif isinstance(layer, nn.Unflatten):
            twin = torch.nn.Unflatten(1, tuple(layer.unflattened_size))
        else:
            options = (0.2,) if isinstance(layer, nn.LeakyReLU) else ()
            twin = getattr(torch.nn, type(layer).__name__)(*options)
        layers.append(twin.double())
        for name, p in layer.named_parameters():
            getattr(layers[-1], name).data = torch.tensor(p.data.copy())
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.01), (0.3, 2.0)])
def test_each_network_gets_the_gradient_of_its_own_loss(beta, gamma):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model = small(beta=beta, gamma=gamma).double()
    x = np.random.default_rng(1).random((6, 1, 8, 8))
    draws = np.random.default_rng(2).normal(size=(2, 6, 3))
    queue = iter(draws)
    model.noise = lambda n, generator=None: tg.Tensor(next(queue))
    optimizers = {name: Recorder(p for group in o.param_groups for p in group["params"])
                  for name, o in model.configure_optimizers().items()}
    losses = model.training_step(x, None, optimizers)

    E, G, D = (torch_twin(m) for m in (model.encoder, model.decoder.layers,
                                       model.discriminator.layers))
    heads = torch_twin([model.mu, model.logvar])
    real = torch.tensor(x) * 2 - 1
    mu, logvar = heads[0](E(real)), heads[1](E(real))
    copies = G(mu + (logvar / 2).exp() * torch.tensor(draws[0]))
    drawn = G(torch.tensor(draws[1]))
    ones, zeros = torch.ones(6, 1).double(), torch.zeros(6, 1).double()
    bce = F.binary_cross_entropy_with_logits
    d_loss = (bce(D(real), ones) + bce(D(copies.detach()), zeros)
              + bce(D(drawn.detach()), zeros))
    f = D[:-1]
    likelihood = 0.5 * (f(real) - f(copies)).square().sum() / 6
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), normal(0.0, 1.0))
    kl = kl.sum() / 6
    fooling = bce(D(copies), ones) + bce(D(drawn), ones)
    # parameters in the order of ours: encoder, mu, logvar
    wanted = {"encoder": (beta * kl + likelihood, [*E.parameters(), *heads.parameters()]),
              "decoder": (gamma * likelihood + fooling, list(G.parameters())),
              "discriminator": (d_loss, list(D.parameters()))}
    for name, (loss, parameters) in wanted.items():
        expected = torch.autograd.grad(loss, parameters, retain_graph=True)
        assert len(expected) == len(optimizers[name].seen)
        for g, ours in zip(expected, optimizers[name].seen):
            np.testing.assert_allclose(ours, g.numpy(), rtol=1e-7, atol=1e-10, err_msg=name)
    for name, value in (("reconstruction", likelihood), ("kl", kl), ("fooling", fooling),
                        ("discriminator", d_loss)):
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-9)


def test_a_step_updates_all_three_and_leaves_no_parameter_frozen():
    model = small()
    before = {k: p.data.copy() for k, p in model.named_parameters()}
    losses = model.training_step(images(), None, model.configure_optimizers())
    assert not [k for k, p in model.named_parameters() if np.array_equal(p.data, before[k])]
    assert all(p.requires_grad for p in model.parameters())
    assert all(v.shape == () and not v.requires_grad for v in losses.values())


def test_frozen_weights_stay_as_they_are():
    model = small()
    for p in model.decoder.parameters():
        p.requires_grad = False
    optimizers = {k: o for k, o in [
        ("encoder", tg.optim.SGD(model.encoder.parameters(), lr=0.1)),
        ("decoder", tg.optim.SGD([tg.nn.Parameter(tg.zeros(1))], lr=0.1)),
        ("discriminator", tg.optim.SGD(model.discriminator.parameters(), lr=0.1))]}
    before = [p.data.copy() for p in model.decoder.parameters()]
    first = next(model.encoder.parameters()).data.copy()
    model.training_step(images(), None, optimizers)
    assert all(np.array_equal(p.data, b) for p, b in zip(model.decoder.parameters(), before))
    assert not np.array_equal(next(model.encoder.parameters()).data, first)


def test_it_encodes_decodes_and_evaluates_between_minus_one_and_one():
    model = small()
    x = images()
    copies = model.reconstruct(x).numpy()
    mu, _ = model.encode(x)
    assert np.array_equal(copies, model.generate(mu).numpy()) and copies.min() < 0
    assert np.array_equal(model.reconstruct(x).numpy(), copies), "no noise in it"
    model.noise = lambda n, generator=None: tg.zeros((n, 3))
    found = model.evaluate(x)
    assert set(found) == {"reconstruction", "kl", "mse"}
    assert found["mse"].item() == pytest.approx(
        ((copies + 1) / 2 - x.numpy()).__pow__(2).mean(), rel=1e-4)


def test_classes_reach_all_three_networks():
    model = small(num_classes=3)
    x, labels = images(), np.array([0, 1, 2, 0, 1, 2])
    optimizers = model.configure_optimizers()
    counted = sum(len(g["params"]) for o in optimizers.values() for g in o.param_groups)
    assert counted == len(list(model.parameters()))
    model.training_step(x, labels, optimizers)
    mu, other = (model.encode(x, y)[0].numpy() for y in (labels, labels[::-1].copy()))
    assert not np.allclose(mu, other)
    with pytest.raises(ValueError, match=r"\[vae-gan\] labels are needed"):
        model.training_step(x, None, optimizers)


@pytest.mark.parametrize(("options", "words"), [
    ({"gamma": -1.0}, r"\[vae-gan\] gamma must not be negative, got -1"),
    ({"beta": -1.0}, "beta must not be negative"), ({"width": 0}, "width must be a positive"),
])
def test_unfit_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        VAEGAN((1, 16, 16), **options)
    with pytest.raises(ValueError, match="cannot be halved"):
        VAEGAN((1, 30, 30))
