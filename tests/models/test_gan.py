"""GANs: who learns when, what is frozen, conditioning, sizes and errors."""

import copy

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import GAN, build

SHAPES = {"gan": (1, 8, 8), "dcgan": (1, 16, 16), "wgan-gp": (1, 16, 16)}
SMALL = {"gan": {"latent": 4, "hidden": [16]}, "dcgan": {"latent": 4, "width": 2},
         "wgan-gp": {"latent": 4, "width": 2}}


def small(name, num_classes=None, **options):
    tg.manual_seed(0)
    return build(name, SHAPES[name], num_classes, **{**SMALL[name], **options})


def images(shape, n=6, seed=0):
    return tg.Tensor(np.random.default_rng(seed).random((n, *shape), dtype=np.float32))


def values(module):
    return [p.data.copy() for p in module.parameters()]


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after))


class Spy:
    """An optimizer that calls `after` behind each step."""

    def __init__(self, optimizer, before, after):
        self.optimizer, self.before, self.after = optimizer, before, after
        self.zero_grad = optimizer.zero_grad

    def step(self):
        self.before()
        self.optimizer.step()
        self.after()


@pytest.mark.parametrize("name", SHAPES)
def test_d_and_g_alternate_and_each_is_untouched_while_the_other_learns(name):
    model = small(name, n_critic=1)
    optimizers = model.configure_optimizers()
    seen = []

    def state(module):
        grads = [None if p.grad is None else p.grad.data.copy() for p in module.parameters()]
        return values(module), grads

    def before_d():
        seen.append(("D", state(model.generator)))

    def after_d():
        seen.append(("D done", state(model.discriminator), state(model.generator)))

    def after_g():
        seen.append(("G done", state(model.discriminator), state(model.generator)))

    spies = {"discriminator": Spy(optimizers["discriminator"], before_d, after_d),
             "generator": Spy(optimizers["generator"], lambda: None, after_g)}
    d0, g0 = values(model.discriminator), values(model.generator)
    losses = model.training_step(images(SHAPES[name]), None, spies)

    (_, untouched), (_, d1, g1), (_, d2, g2) = seen
    assert same(g0, untouched[0]) and not any(g is not None for g in untouched[1])
    assert not same(d0, d1[0]), "D learnt"
    assert same(g0, g1[0]), "G rests while D learns"
    assert same(d1[0], d2[0]), "D rests while G learns"
    assert same(d1[1], d2[1]), "G's step leaves no gradients in D"
    assert not same(g0, g2[0]), "G learnt"
    assert all(p.requires_grad for p in model.parameters())
    assert all(v.shape == () and not v.requires_grad and np.isfinite(v.item())
               for v in losses.values())


def test_the_generator_learns_against_the_updated_discriminator():
    """The loss reported for G is that of D after D's step, on the same generated images."""
    model = small("gan", dropout=0.0)
    z = model.noise(6)
    model.noise = lambda n, generator=None: z
    optimizers = model.configure_optimizers()
    optimizers["generator"].step = lambda: None
    losses = model.training_step(images((1, 8, 8)), None, optimizers)
    fake = model.generator(z)
    expected = -tg.ops.log_sigmoid(model.discriminator(fake)).mean()
    assert losses["generator"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_frozen_discriminator_thaws_when_the_generators_step_fails():
    model = small("gan")
    optimizers = model.configure_optimizers()

    def fail():
        assert not any(p.requires_grad for p in model.discriminator.parameters())
        raise RuntimeError("power cut")

    optimizers["generator"].zero_grad = fail
    with pytest.raises(RuntimeError, match="power cut"):
        model.training_step(images((1, 8, 8)), None, optimizers)
    assert all(p.requires_grad for p in model.parameters())


def test_a_layer_that_was_frozen_stays_frozen():
    model = small("dcgan")
    first = model.discriminator.layers[0]
    first.requires_grad_(False)
    before = first.weight.data.copy()
    model.training_step(images((1, 16, 16)), None, model.configure_optimizers())
    assert np.array_equal(first.weight.data, before)
    assert not first.weight.requires_grad and model.discriminator.layers[2].weight.requires_grad


def test_wgan_gp_updates_g_every_fifth_batch_also_across_a_resume():
    model = small("wgan-gp")
    optimizers = model.configure_optimizers()
    learnt = []
    for i in range(12):
        if i == 7:     # a new model from the saved state goes on counting
            state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
            model = build(**model.config())
            model.load_state_dict(state)
            optimizers = model.configure_optimizers()
        before = values(model.generator)
        losses = model.training_step(images((1, 16, 16), seed=i), None, optimizers)
        learnt.append(not same(before, values(model.generator)))
        assert set(losses) == {"discriminator", "generator", "real", "fake", "penalty"}
    assert [i for i, yes in enumerate(learnt) if yes] == [4, 9]


def test_real_and_generated_images_pass_d_as_batches_of_their_own():
    """Batch norm would otherwise see the mixture of both."""
    model = small("dcgan")
    sizes = []
    model.discriminator.register_forward_hook(lambda m, args, out: sizes.append(args[0].shape[0]))
    model.training_step(images((1, 16, 16)), None, model.configure_optimizers())
    assert sizes == [6, 6, 6]      # real, generated, and generated again for G


@pytest.mark.parametrize("name", SHAPES)
def test_samples_stay_in_range_do_not_train_and_repeat(name):
    model = small(name)
    z = model.noise(5, tg.Generator(3))
    before = copy.deepcopy(model.state_dict())
    pictures = model.generate(z)
    assert pictures.shape == (5, *SHAPES[name]) and not pictures.requires_grad
    assert pictures.data.min() >= -1 and pictures.data.max() <= 1 and pictures.data.std() > 0
    assert np.array_equal(model.generate(z.numpy()).data, pictures.data)
    assert model.training and all(m.training for m in model.modules())
    assert same([t.data for t in before.values()], [t.data for t in model.state_dict().values()])
    assert np.array_equal(model.noise(5, tg.Generator(3)).data, z.data)


@pytest.mark.parametrize("name", SHAPES)
def test_a_conditional_model_draws_by_label(name):
    model = small(name, num_classes=3)
    model.training_step(images(SHAPES[name]), np.array([0, 1, 2, 0, 1, 2]),
                        model.configure_optimizers())
    z = tg.Tensor(np.repeat(model.noise(1).numpy(), 4, axis=0))
    pictures = model.generate(z, np.array([0, 0, 1, 2])).numpy()
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.allclose(pictures[1], pictures[2]) and not np.allclose(pictures[2], pictures[3])
    cycled = model.generate(z).numpy()
    assert np.array_equal(cycled[[0, 3]], pictures[[0, 1]]), "without labels: 0, 1, 2, 0, ..."
    scores = model.discriminator(images(SHAPES[name]), tg.Tensor(np.array([0, 1, 2, 0, 1, 2])))
    others = model.discriminator(images(SHAPES[name]), tg.Tensor(np.array([1, 2, 0, 1, 2, 0])))
    assert not np.allclose(scores.data, others.data), "D sees the label too"


def test_label_errors_name_what_is_missing():
    model = small("gan", num_classes=3)
    optimizers = model.configure_optimizers()
    with pytest.raises(ValueError, match=r"\[gan\] labels are needed: .* 3 classes"):
        model.training_step(images((1, 8, 8)), None, optimizers)
    with pytest.raises(ValueError, match=r"labels: int64 \(5,\); expected integers \(6,\)"):
        model.training_step(images((1, 8, 8)), np.zeros(5, np.int64), optimizers)
    with pytest.raises(ValueError, match=r"z: \(5, 7\); expected \(n, 4\)"):
        model.generate(tg.zeros((5, 7)))


def test_images_of_another_shape_or_type_are_refused_before_anything_changes():
    model = small("dcgan")
    optimizers = model.configure_optimizers()
    before = values(model)
    words = r"\(6, 1, 8, 8\); this model was built for \(N, 1, 16, 16\)"
    with pytest.raises(ValueError, match=words):
        model.training_step(images((1, 8, 8)), None, optimizers)
    with pytest.raises(TypeError, match="images are uint8"):
        model.training_step(np.zeros((6, 1, 16, 16), np.uint8), None, optimizers)
    assert same(before, values(model)) and int(model.batches.data) == 0


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 4), ((1, 14, 14), 7), ((1, 28, 28), 7),
                                             ((3, 32, 32), 4), ((3, 64, 64), 4)])
def test_dcgan_sizes(shape, side):
    model = build("dcgan", shape, width=2, latent=3)
    assert model.generator.layers[1](model.generator.layers[0](model.noise(2))).shape[2:] == (
        side, side)
    assert model.discriminator(model.generate(model.noise(2))).shape == (2, 1)


def test_dcgan_for_faces_has_the_papers_layers():
    """64x64x3: the pyramid of Radford et al., figure 1, at half its width."""
    model = build("dcgan", (3, 64, 64))
    up = [m for m in model.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    down = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [m.weight.shape for m in up] == [(512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4),
                                            (64, 3, 4, 4)]
    assert [m.weight.shape for m in down] == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4),
                                              (512, 256, 4, 4)]
    for m in [*up, *down]:
        assert abs(m.weight.data.mean()) < 2e-3
        assert m.weight.data.std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 30, 30), (3, 64, 32), (1, 7, 7), (1, 12, 12)])
def test_sizes_that_do_not_halve_are_refused_with_those_that_do(shape):
    with pytest.raises(ValueError, match=r"\[dcgan\] images of .* 8, 14, 16, 28, 32, 56, 64"):
        build("dcgan", shape)


def test_wgan_gp_critics_have_no_batch_norm_and_refuse_it():
    for shape, network in [((1, 8, 8), GAN), ((1, 28, 28), object)]:
        model = build("wgan-gp", shape)
        assert isinstance(model, network)
        assert not [m for m in model.discriminator.modules()
                    if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d, nn.Dropout))]
    with pytest.raises(ValueError, match="batch norm mixes the images"):
        build("wgan-gp", (1, 28, 28), norm="batch")
    with pytest.raises(ValueError, match="gradient_penalty must be positive"):
        build("wgan-gp", (1, 28, 28), gradient_penalty=0.0)
    layered = build("wgan-gp", (1, 16, 16), norm="layer", width=2, n_critic=1)
    losses = layered.training_step(images((1, 16, 16)), None, layered.configure_optimizers())
    assert np.isfinite(losses["penalty"].item())


def test_optimizers_are_the_papers():
    for name, lr, betas in [("gan", 1e-3, (0.5, 0.999)), ("dcgan", 2e-4, (0.5, 0.999)),
                            ("wgan-gp", 1e-4, (0.0, 0.9))]:
        for optimizer in small(name).configure_optimizers().values():
            group = optimizer.param_groups[0]
            assert (group["lr"], tuple(group["betas"])) == (lr, betas)
    assert small("gan").configure_optimizers(lr=0.01)["generator"].param_groups[0]["lr"] == 0.01


def test_gans_say_that_they_have_no_encoder():
    model = small("gan")
    for call in (model.reconstruct, model.encode):
        with pytest.raises(NotImplementedError, match=r"\[gan\].*use 'vae'"):
            call(images((1, 8, 8)))
    assert model.evaluate(images((1, 8, 8)), None) == {}


def test_the_source_texts_generator_fails_with_the_layers_name_and_both_sizes():
    """Dense(128) -> Reshape(7, 7, 1): 128 numbers are not 49."""
    network = nn.Sequential(nn.Linear(100, 128), nn.LeakyReLU(0.01), nn.BatchNorm1d(128),
                            nn.Reshape(7, 7, 1))
    with pytest.raises(ValueError, match=r"Reshape.*128.*49|Reshape.*49.*128"):
        network(tg.random.normal((2, 100)))
    last = nn.Sequential(nn.Linear(100, 7 * 7 * 128), nn.Reshape(64, 64, 3))
    with pytest.raises(ValueError, match=r"Reshape.*6272.*12288|Reshape.*12288.*6272"):
        last(tg.random.normal((2, 100)))
