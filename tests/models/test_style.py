"""Style transfer: Gram matrices and losses by hand, the networks against PyTorch, learning."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import draw_pictures
from tinygen.models import (
    StyleNetwork,
    StyleObjective,
    TextureNetwork,
    gram_matrix,
    learn_textures,
    optimise_picture,
    total_variation,
)
from tinygen.models.style import ImageTransformer


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def small_network(channels=(4, 6, 8)):
    tg.manual_seed(0)
    return TextureNetwork((3, 8, 8), 5, channels=channels)


def test_gram_matrix_is_the_mean_product_of_channels():
    x = random(2, 3, 4, 5)
    expected = np.einsum("nihw,njhw->nij", x, x) / (3 * 4 * 5)
    np.testing.assert_allclose(gram_matrix(tg.Tensor(x)).numpy(), expected, rtol=1e-5)


def test_gram_matrix_forgets_where_things_are():
    x = random(1, 3, 4, 5)
    places = np.random.default_rng(1).permutation(20)
    moved = x.reshape(1, 3, 20)[:, :, places].reshape(x.shape)
    np.testing.assert_allclose(gram_matrix(tg.Tensor(moved)).numpy(),
                               gram_matrix(tg.Tensor(x)).numpy(), rtol=1e-5)


def test_total_variation_by_hand():
    x = random(2, 3, 4, 5)
    expected = (np.diff(x, axis=2) ** 2).mean() + (np.diff(x, axis=3) ** 2).mean()
    assert total_variation(tg.Tensor(x)).item() == pytest.approx(expected, rel=1e-5)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[gram_matrix\] maps: \(3, 4, 5\)"):
        gram_matrix(tg.Tensor(random(3, 4, 5)))
    with pytest.raises(ValueError, match="2x2 pixels"):
        total_variation(tg.Tensor(random(1, 3, 1, 5)))


def test_maps_are_those_of_the_same_layers_in_pytorch():
    torch = pytest.importorskip("torch")
    network = small_network((4, 6)).eval()
    for stage in network.stages:                       # running means that are not 0 and 1
        for layer in stage:
            if hasattr(layer, "running_mean"):
                layer.running_mean.data[...] = random(*layer.running_mean.shape)
                layer.running_var.data[...] = 0.5 + random(*layer.running_var.shape, seed=1)
    images = random(2, 3, 8, 12)
    x, functional = torch.tensor(images) * 2 - 1, torch.nn.functional
    state = {k: torch.tensor(v.numpy()) for k, v in network.state_dict().items()}
    for i, found in enumerate(network.maps(tg.Tensor(images))):
        x = functional.avg_pool2d(x, 2) if i else x
        for j in (0, 3):
            x = functional.conv2d(x, state[f"stages.{i}.{j}.weight"], padding=1)
            norm = [state[f"stages.{i}.{j + 1}.{n}"] for n in
                    ("running_mean", "running_var", "weight", "bias")]
            x = functional.relu(functional.batch_norm(x, *norm))
        np.testing.assert_allclose(found.detach().numpy(), x.numpy(), atol=2e-5)


def test_the_objective_is_what_its_equations_say():
    network = small_network()
    style, photo, image = (random(1, 3, *size, seed=i) for i, size in
                           enumerate([(16, 24), (8, 12), (8, 12)]))
    objective = StyleObjective(network, tg.Tensor(style), content_stage=1, content_weight=2.0,
                               style_weight=3.0, smooth_weight=5.0)
    found = objective(tg.Tensor(image), objective.content_of(tg.Tensor(photo)))

    def maps(x):
        return [x, *[m.numpy() for m in network.maps(tg.Tensor(x))]]

    def gram(x):
        return np.einsum("nihw,njhw->ij", x, x) / x[0].size
    content = (np.square(maps(image)[2] - maps(photo)[2]).sum() / np.square(maps(photo)[2]).sum())
    apart = [np.square(gram(x) - gram(s)).sum() / np.square(gram(s)).sum()
             for x, s in zip(maps(image), maps(style))]
    smooth = (np.diff(image, axis=2) ** 2).mean() + (np.diff(image, axis=3) ** 2).mean()
    assert found["content"].item() == pytest.approx(content, rel=1e-4)
    assert found["style"].item() == pytest.approx(np.mean(apart), rel=1e-4)
    assert found["loss"].item() == pytest.approx(2 * content + 3 * np.mean(apart) + 5 * smooth,
                                                 rel=1e-4)
    assert objective.style_loss(tg.Tensor(style)).item() == pytest.approx(0, abs=1e-9)
    assert not any(p.requires_grad for p in network.parameters())


def test_an_objective_says_what_does_not_fit():
    network = small_network()
    with pytest.raises(ValueError, match="content_stage 3: the network has stages 0 to 2"):
        StyleObjective(network, tg.Tensor(random(1, 3, 8, 8)), content_stage=3)
    objective = StyleObjective(network, tg.Tensor(random(1, 3, 8, 8)))
    with pytest.raises(ValueError, match="content_of"):
        objective(tg.Tensor(random(1, 3, 8, 8)),
                  objective.content_of(tg.Tensor(random(1, 3, 16, 8))))


def test_textures_are_learnt_without_labels_and_a_picture_takes_them_on():
    photos, painting = draw_pictures(48, 64)
    tg.manual_seed(0)
    network, accuracy = learn_textures([*photos, painting], 60, size=16, channels=(8, 16, 16),
                                       cells=(1, 1), jitter=0.0)
    assert accuracy > 0.6                              # four pictures: chance is 0.25
    objective = StyleObjective(network, tg.Tensor(painting[None]))
    before = photos[0][None].copy()
    picture, history = optimise_picture(before, objective, 30)
    assert picture.shape == before.shape
    assert 0 <= picture.numpy().min() <= picture.numpy().max() <= 1
    assert np.array_equal(before, photos[0][None])
    assert len(history) == 31 and history[0]["content"] == pytest.approx(0, abs=1e-9)
    assert history[-1]["style"] < history[0]["style"] / 5
    assert objective.style_loss(picture).item() == pytest.approx(history[-1]["style"], rel=1e-3)


def torch_transformer(torch, channels, width, blocks):
    """The same network in PyTorch, with the same names of parameters."""
    nn = torch.nn

    def normed(a, b, kernel, stride=1):
        return [nn.Conv2d(a, b, kernel, stride, kernel // 2, padding_mode="reflect"),
                nn.InstanceNorm2d(b, affine=True)]

    class Block(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.layers = nn.Sequential(*normed(n, n, 3), nn.ReLU(), *normed(n, n, 3))

        def forward(self, x):
            return x + self.layers(x)
    w = width
    return nn.Sequential(
        *normed(channels, w, 7), nn.ReLU(), *normed(w, 2 * w, 3, 2), nn.ReLU(),
        *normed(2 * w, 4 * w, 3, 2), nn.ReLU(), *[Block(4 * w) for _ in range(blocks)],
        nn.Upsample(scale_factor=2), *normed(4 * w, 2 * w, 3), nn.ReLU(),
        nn.Upsample(scale_factor=2), *normed(2 * w, w, 3), nn.ReLU(),
        nn.Conv2d(w, channels, 7, padding=3, padding_mode="reflect"), nn.Tanh())


def test_the_transformer_is_that_of_pytorch_and_so_are_its_gradients():
    torch = pytest.importorskip("torch")
    tg.manual_seed(1)
    ours, theirs = ImageTransformer(3, 3, 2), torch_transformer(torch, 3, 3, 2)
    state = ours.layers.state_dict()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in state.items()})
    images = random(2, 3, 16, 20)
    y, z = ours(tg.Tensor(images)), theirs(torch.tensor(images))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), atol=2e-5)
    (y * y).mean().backward()
    (z * z).mean().backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=2e-5, err_msg=name)


def test_a_style_network_learns_its_objective_and_is_rebuilt_from_its_config():
    photos, painting = draw_pictures(32, 32)
    tg.manual_seed(0)
    model = StyleNetwork((3, 32, 32), width=4, blocks=1)
    with pytest.raises(ValueError, match=r"model\.objective = StyleObjective"):
        model.training_step(np.stack(photos), None, model.configure_optimizers())
    model.objective = StyleObjective(small_network(), tg.Tensor(painting[None]))
    assert not any(k.startswith("objective") for k in model.state_dict())
    optimizers = model.configure_optimizers(lr=5e-3)
    losses = [model.training_step(np.stack(photos), None, optimizers)["loss"].item()
              for _ in range(25)]
    assert losses[-1] < losses[0] / 2
    config = model.config()
    assert config.pop("name") == "style-network"
    again = StyleNetwork(**config)
    again.load_state_dict(model.state_dict())
    x = random(1, 3, 16, 24)
    assert np.array_equal(model.stylise(x).numpy(), again.stylise(x).numpy())
    with pytest.raises(ValueError, match="multiples of 4"):
        model.stylise(random(1, 3, 18, 24))
