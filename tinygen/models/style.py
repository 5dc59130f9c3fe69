"""Style transfer: texture features, the losses made of them, and a network that learns a style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..autograd import no_grad
from ..data import DataLoader, PicturePatches
from ..nn import functional as F
from ..tensor import Tensor
from .base import Model, check_positive, inference, learnt
from .classifier import ImageClassifier

__all__ = ["ImageTransformer", "StyleNetwork", "StyleObjective", "TextureNetwork", "gram_matrix",
           "learn_textures", "optimise_picture", "total_variation"]


def gram_matrix(maps: Tensor) -> Tensor:
    """How the channels of feature maps go together, wherever: (N, C, H, W) -> (N, C, C).

    G_ij = 1/(C H W) sum over places of F_i F_j. What is where is lost, what occurs with what
    stays: the statistics by which a texture is known.

    Source: L. Gatys, A. Ecker and M. Bethge, "Image Style Transfer Using Convolutional Neural
    Networks", CVPR 2016, equation 3; divided as in J. Johnson et al., ECCV 2016, equation 3.

    >>> gram_matrix(ops.asarray([[[[1.0, 1.0]], [[2.0, 0.0]]]])).tolist()
    [[[0.5, 0.5], [0.5, 1.0]]]
    """
    if maps.ndim != 4 or 0 in maps.shape:
        raise ValueError(f"[gram_matrix] maps: {maps.shape}; expected (N, C, H, W), none of them 0")
    n, channels, height, width = maps.shape
    flat = maps.reshape(n, channels, height * width)                     # (N, C, H W)
    return ops.matmul(flat, ops.matrix_transpose(flat)) / (channels * height * width)


def total_variation(images: Tensor) -> Tensor:
    """Mean square difference of neighbouring pixels, down plus across: what noise has much of.

    Source: J. Johnson et al., ECCV 2016, section 3.2, with squares for absolute values.

    >>> total_variation(ops.asarray([[[[0.0, 1.0], [0.0, 1.0]]]])).item()
    1.0
    """
    if images.ndim != 4 or min(images.shape[2:]) < 2:
        raise ValueError(f"[total_variation] images: {images.shape}; expected (N, C, H, W) of at "
                         "least 2x2 pixels")
    down = images[:, :, 1:] - images[:, :, :-1]
    across = images[..., 1:] - images[..., :-1]
    return ops.square(down).mean() + ops.square(across).mean()


class TextureNetwork(ImageClassifier):
    """A classifier of patches whose feature maps serve to compare textures.

    Each stage is conv 3x3 -> batch norm -> ReLU, twice; stages are joined by average pooling 2x2
    (which gives smoother pictures than max pooling: Gatys et al., section 2), and the mean of the
    last maps over all places goes through one linear layer. Batch norm brings every channel to
    the same scale, which Gatys et al. get by rescaling the weights of their network.

    Args:
        image_shape: (C, H, W) of the patches to learn from; `maps` takes pictures of any size.
        num_classes: how many classes there are, for instance `PicturePatches.num_classes`.
        channels: of each stage.

    >>> import tinygen as tg
    >>> network = TextureNetwork((3, 8, 8), num_classes=2, channels=(4, 6))
    >>> [m.shape for m in network.maps(tg.zeros((1, 3, 8, 8)))]
    [(1, 4, 8, 8), (1, 6, 4, 4)]
    """

    rate = 2e-3

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 channels: Sequence[int] = (32, 64, 128, 128), name: str = "texture"):
        channels = tuple(channels)
        super().__init__(name, image_shape, num_classes, {"channels": channels})
        check_positive(name, **{f"channels[{i}]": n for i, n in enumerate(channels)})
        if num_classes is None or not channels:
            raise ValueError(f"[{name}] num_classes and a stage or more are needed; got "
                             f"num_classes={num_classes}, channels={channels}")
        before = (self.image_shape[0], *channels)
        self.stages = nn.ModuleList([nn.Sequential(*_normed(a, b), *_normed(b, b))
                                     for a, b in zip(before, channels)])
        self.last = nn.Linear(channels[-1], num_classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps after each stage, of images in [0, 1]: (N, C_i, H / 2^i, W / 2^i)."""
        x, found = images * 2 - 1, []
        for i, stage in enumerate(self.stages):
            x = stage(F.avg_pool2d(x, 2) if i else x)
            found.append(x)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images in [0, 1]."""
        return self.last(self.maps(images)[-1].mean(axis=(2, 3)))


class StyleObjective:
    """What a picture should have: the content of one picture and the style of another.

    style = mean over stages of |G(x) - G(style)|^2 / |G(style)|^2, with G the Gram matrix (the
    pixels themselves are a stage too: they say which colours there are);
    content = |f(x) - f(content)|^2 / |f(content)|^2 at one stage; both are 1 for a grey picture
    without features, whatever the network, and 0 for the wanted one.
    loss = content_weight content + style_weight style + smooth_weight total variation.

    Args:
        network: its features; it is put into eval mode and frozen for good.
        style: the picture (1, 3, H, W) in [0, 1] whose style is wanted.
        content_stage: the stage at which content is compared, counted from 0.
        content_weight, style_weight, smooth_weight: of the three.

    Sources: L. Gatys et al., CVPR 2016, equations 1 to 7; J. Johnson, A. Alahi and L. Fei-Fei,
    "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
    """

    def __init__(self, network: TextureNetwork, style: Tensor, *, content_stage: int = 2,
                 content_weight: float = 1.0, style_weight: float = 10.0,
                 smooth_weight: float = 1.0):
        self.network = network.eval().requires_grad_(False)
        stages = len(network.stages)
        if not 0 <= content_stage < stages:
            raise ValueError(f"[StyleObjective] content_stage {content_stage}: the network has "
                             f"stages 0 to {stages - 1}")
        self.content_stage = content_stage
        self.weights = (content_weight, style_weight, smooth_weight)
        with no_grad():
            self.grams = [gram_matrix(m) for m in [style, *network.maps(style)]]    # (1, C, C)

    def to(self, device: Any) -> StyleObjective:
        """Move the network and the wanted style to a device, if they are on another one."""
        if self.grams[0].device != device:
            self.network.to(device=device)
            self.grams = [g.to(device=device) for g in self.grams]
        return self

    def content_of(self, images: Tensor) -> Tensor:
        """The maps by which content is compared, without a graph: (N, C, h, w)."""
        with no_grad():
            return self.network.maps(images)[self.content_stage]

    def style_loss(self, images: Tensor, maps: Sequence[Tensor] | None = None) -> Tensor:
        """How far the Gram matrices of images are from the style's, as a mean over the images.

        `maps` are the network's of these images, where they are known already.
        """
        maps = self.network.maps(images) if maps is None else maps
        parts = [ops.square(gram_matrix(m) - g).sum() / (m.shape[0] * ops.square(g).sum())
                 for m, g in zip([images, *maps], self.grams, strict=True)]
        return sum(parts[1:], parts[0]) / len(parts)

    def __call__(self, images: Tensor, content: Tensor) -> dict[str, Tensor]:
        """`loss` and its parts `content`, `style` and `smooth`, for images (N, 3, H, W).

        `content` is what `content_of` gave for the pictures whose content is wanted.
        """
        maps = self.network.maps(images)
        found = maps[self.content_stage]
        if found.shape != content.shape:
            raise ValueError(f"[StyleObjective] content: {content.shape}, that of the images "
                             f"{found.shape}; pass content_of(pictures) of the same size")
        parts = {"content": ops.square(found - content).sum() / ops.square(content).sum(),
                 "style": self.style_loss(images, maps), "smooth": total_variation(images)}
        loss = sum(w * x for w, x in zip(self.weights, parts.values()))
        return {"loss": loss, **parts}


def learn_textures(pictures: Sequence[np.ndarray], steps: int, *, size: int = 32, batch: int = 32,
                   channels: Sequence[int] = (32, 64, 128, 128), cells: tuple[int, int] = (3, 3),
                   jitter: float = 0.15, seed: int = 0) -> tuple[TextureNetwork, float]:
    """A `TextureNetwork` that learnt which part of which picture a patch is from.

    The task needs no labels, and no more pictures than those at hand; what tells one part from
    another is texture and colour. Returns the network and its accuracy over the last tenth of the
    steps, to be compared with 1 / `network.num_classes`.

    Args:
        pictures: float arrays (3, H, W) in [0, 1], of any sizes.
        steps, batch: how many updates, and patches for each.
        size, cells, jitter: of the patches, see `PicturePatches`.
        channels: see `TextureNetwork`.
        seed: of the patches; weights come from the random stream.

    Source of the idea: A. Dosovitskiy et al., "Discriminative Unsupervised Feature Learning with
    Exemplar Convolutional Neural Networks", IEEE TPAMI 38(9), 2016.
    """
    check_positive("learn_textures", steps=steps, batch=batch)
    patches = PicturePatches(pictures, size, steps * batch, cells, jitter)
    network = TextureNetwork(patches.image_shape, patches.num_classes, channels=channels)
    optimizers = network.configure_optimizers()
    right = [network.training_step(images, labels, optimizers)["accuracy"].item()
             for images, labels in DataLoader(patches, batch, seed=seed)]
    return network, float(np.mean(right[-max(1, steps // 10):]))


def optimise_picture(photo: Any, objective: StyleObjective, steps: int, lr: float = 0.02,
                     ) -> tuple[Tensor, list[dict[str, float]]]:
    """The picture (1, 3, H, W) in [0, 1] that the objective likes, sought from the photo on.

    Adam on the pixels, which are kept within [0, 1]. Returns it and the losses before each step
    and after the last.

    Source: L. Gatys et al., CVPR 2016, section 2; they start from noise, with L-BFGS.
    """
    content = photo if isinstance(photo, Tensor) else ops.asarray(photo)
    wanted = objective.content_of(content)
    x = Tensor(content.numpy().copy(), requires_grad=True)
    optimizer, history = optim.Adam([x], lr=lr), []
    for step in range(steps + 1):
        losses = objective(x, wanted)
        history.append({name: value.item() for name, value in losses.items()})
        if step < steps:
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
            x.assign_(x.data.clip(0, 1))
    return x.detach(), history


class ImageTransformer(nn.Module):
    """Pictures (N, C, H, W) in [-1, 1] -> pictures of the same size, H and W being multiples of 4.

    conv 7x7 -> two convolutions of stride 2 -> residual blocks -> twice nearest upsampling and
    conv 3x3 (no checkerboard, as transposed convolutions leave) -> conv 7x7 -> tanh. Instance norm
    and ReLU behind each but the last; edges are padded by reflection.

    Args:
        channels: of the pictures.
        width: channels at full size; 2 width at half of it, 4 width in the residual blocks.
        blocks: how many residual blocks.

    Sources: J. Johnson et al., ECCV 2016; D. Ulyanov, A. Vedaldi and V. Lempitsky, "Improved
    Texture Networks", CVPR 2017 (instance norm); A. Odena, V. Dumoulin and C. Olah,
    "Deconvolution and Checkerboard Artifacts", Distill, 2016.
    """

    def __init__(self, channels: int, width: int, blocks: int):
        super().__init__()
        self.layers = nn.Sequential(
            *_instance_normed(channels, width, 7), nn.ReLU(),
            *_instance_normed(width, 2 * width, 3, stride=2), nn.ReLU(),
            *_instance_normed(2 * width, 4 * width, 3, stride=2), nn.ReLU(),
            *[ResidualBlock(4 * width) for _ in range(blocks)],
            nn.Upsample(scale_factor=2), *_instance_normed(4 * width, 2 * width, 3), nn.ReLU(),
            nn.Upsample(scale_factor=2), *_instance_normed(2 * width, width, 3), nn.ReLU(),
            nn.Conv2d(width, channels, 7, padding=3, padding_mode="reflect"), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[2] % 4 or images.shape[3] % 4:
            raise ValueError(f"[ImageTransformer] images: {images.shape}; expected (N, C, H, W) "
                             "with H and W multiples of 4, because they are halved twice")
        return self.layers(images)


class ResidualBlock(nn.Module):
    """x + f(x), f being two convolutions 3x3 with instance norm and a ReLU between them."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(*_instance_normed(width, width, 3), nn.ReLU(),
                                    *_instance_normed(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class StyleNetwork(Model):
    """One pass that does what an optimisation of the picture does: learns one style for good.

    An `ImageTransformer` that learns to lower a `StyleObjective` on crops of photos; set
    `objective` before training. It is no part of the saved state: only training needs it.

    Args:
        image_shape: (C, H, W) of the crops to learn from; `stylise` takes pictures of any size
            that 4 divides.
        width, blocks: see `ImageTransformer`.

    Source: J. Johnson, A. Alahi and L. Fei-Fei, ECCV 2016, section 3.

    >>> import tinygen as tg
    >>> StyleNetwork((3, 16, 16), width=2, blocks=1).stylise(tg.zeros((1, 3, 24, 32))).shape
    (1, 3, 24, 32)
    """

    objective: StyleObjective | None = None

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 width: int = 16, blocks: int = 3, name: str = "style-network"):
        super().__init__(name, image_shape, num_classes, {"width": width, "blocks": blocks})
        check_positive(name, width=width, blocks=blocks)
        self.transformer = ImageTransformer(self.image_shape[0], width, blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] in the style: in [0, 1] too."""
        return (self.transformer(images * 2 - 1) + 1) / 2

    def stylise(self, images: Any) -> Tensor:
        """What `forward` gives, of pictures of any size that 4 divides, without a graph."""
        images = images if isinstance(images, Tensor) else ops.asarray(images)
        like = self._like()
        with inference(self):
            return self(images.to(like.dtype, device=like.device))

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 2e-3; the objective moves to where the parameters are."""
        if self.objective is not None:
            self.objective.to(self._like().device)
        return {"model": optim.Adam(learnt(self), lr=2e-3 if lr is None else lr)}

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns `loss`, `content`, `style` and `smooth` of the objective."""
        self._learning()
        results = self._results(images)
        optimizers["model"].zero_grad()
        results["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in results.items()}

    def evaluate(self, images: Any, labels: Any = None) -> dict[str, Tensor]:
        """The same losses, in eval mode and without a graph."""
        with inference(self):
            return self._results(images)

    def _results(self, images: Any) -> dict[str, Tensor]:
        if self.objective is None:
            raise ValueError(f"[{self.name}] there is nothing to learn yet: set model.objective = "
                             "StyleObjective(network, style)")
        x = self.prepare(images)
        self.objective.to(x.device)
        return self.objective(self(x), self.objective.content_of(x))


def _instance_normed(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, padding_mode="reflect")
    return [conv, nn.InstanceNorm2d(after, affine=True)]


def _normed(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
