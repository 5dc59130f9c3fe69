"""When does the seven move left? Sentences find their moments in videos by cross-attention.

    python examples/video_moments.py           # MNIST digits (below TINYGEN_DATA)
    python examples/video_moments.py --quick   # the bundled digits, three actions, a few seconds

Two digits stand in a picture; by a script, one after the other moves, turns, blinks, ... A sentence
asks for one of these moments. Its words look at the frames (queries from the words, keys and values
from the frames); what they find becomes three more queries, whose weights over the frames are the
answer: where the moment begins, where it ends, all of it. Tested on digits that no training video
shows, and beside answers that need no model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, MovingDigits, load
from tinygen.data.moving_digits import phrases
from tinygen.metrics import temporal_iou
from tinygen.models import VideoMoments
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.text import WordTokenizer
from tinygen.viz import save_panels


def make_videos(train: bool, count: int, tokenizer: WordTokenizer, quick: bool,
                seed: int) -> MovingDigits:
    """Videos of training or of test digits."""
    scene: dict[str, Any] = {}
    if quick:
        digits = load("digits", train=train)
        scene = {"frames": 13, "size": 22, "events": 2, "actions": ["up", "blinks", "turns"]}
    else:
        digits = load("mnist", train=train, size=13)
    return MovingDigits(digits.images, digits.labels, count, tokenizer.encode, seed=seed, **scene)


def fit(model: VideoMoments, videos: MovingDigits, lr: float) -> list[float]:
    """The losses of one pass over videos, 32 at a time: no video is seen twice."""
    loader = DataLoader(videos, 32)
    optimizers = model.configure_optimizers(lr)
    schedule = WarmupCosine(optimizers["model"], len(loader) // 10, len(loader))
    losses = []
    for step, (frames, sentences, moments) in enumerate(loader, 1):
        # (N, T, 1, S, S), (N, Q, L), (N, Q, 2)
        losses.append(model.training_step(frames, sentences, moments, optimizers)["loss"].item())
        schedule.step()
        if step % (len(loader) // 5) == 0:
            print(f"  {step} updates: loss {np.mean(losses[-20:]):.3f}", flush=True)
    return losses


def compare(model: VideoMoments, test: MovingDigits, spans: np.ndarray,
            seed: int) -> dict[str, np.ndarray]:
    """The overlap of each test moment with several answers, by name.

    `spans` (M, 2) are moments of training videos, for answers that look at nothing.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {}
    for frames, sentences, moments in DataLoader(test, 50):
        true, average = moments.numpy(), np.rint(spans.mean(axis=0))
        answers = {
            "asked": model.moments(frames, sentences),
            "another video's sentence": model.moments(frames, np.roll(sentences.numpy(), 1, 0)),
            "always the average": np.broadcast_to(average, true.shape),
            "at random": spans[rng.integers(len(spans), size=true.shape[:2])]}
        for name, answer in answers.items():
            found.setdefault(name, []).append(temporal_iou(answer, true).ravel())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def main() -> dict[str, float]:
    """Train, compare, draw; returns mean overlaps and shares of moments above 0.5 and 0.7."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--updates", type=int, help="default 1600")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/video_moments", help="folder for the picture")
    args = parser.parse_args()

    tokenizer = WordTokenizer().fit(phrases())
    count = 32 * (args.updates or (130 if args.quick else 1600))
    train = make_videos(True, count, tokenizer, args.quick, 2 * args.seed)
    test = make_videos(False, 100 if args.quick else 500, tokenizer, args.quick, 2 * args.seed + 1)
    spans = np.concatenate([[e[2:] for e in train.script(i)] for i in range(min(count, 500))])
    print(f"{count} videos of {train.frames} frames, {train.events} moments in each, "
          f"{np.mean(spans[:, 1] - spans[:, 0]):.1f} frames long")

    tg.manual_seed(args.seed)
    model = VideoMoments(len(tokenizer), (1, train.size, train.size), frames=train.frames,
                         longest=train.longest, width=32 if args.quick else 64,
                         channels=8 if args.quick else 16)
    losses = fit(model, train, 5e-3 if args.quick else 2e-3)
    overlaps = compare(model, test, spans, args.seed)
    found = {"first loss": float(np.mean(losses[:10])), "last loss": float(np.mean(losses[-10:]))}
    print(f"{len(overlaps['asked'])} moments of unseen digits: mean overlap (IoU), share of 0.5 or "
          "more, of 0.7 or more")
    for name, iou in overlaps.items():
        half, most = (iou >= 0.5).mean(), (iou >= 0.7).mean()
        print(f"  {name:26}{iou.mean():.3f}  {half:.1%}  {most:.1%}")
        found[name] = float(iou.mean())
        if name == "asked":
            found |= {"recall at 0.5": float(half), "recall at 0.7": float(most)}
    path = Path(args.out) / "moments.png"
    save_panels([panel(model, test, i, tokenizer) for i in range(3)], path, columns=1,
                size=(11, 2.7))
    print(f"picture: {path}")
    return found


def panel(model: VideoMoments, test: MovingDigits, index: int, tokenizer: WordTokenizer) -> Any:
    """Draws a video, and how much each frame counts for the words and the answer of a sentence."""
    frames, sentences, moments = test[index]
    which = index % test.events
    words, answers = model.attention(frames[None], sentences[None, which:which + 1])
    kept = sentences[which] > 0                                              # (L,)
    rows = np.concatenate([answers.numpy()[0, 0, [2, 0, 1]], words.numpy()[0, 0, kept]])
    names = ["all of it", "first", "last",
             *tokenizer.vocabulary.tokens(sentences[which][kept].tolist())]
    end, height = len(frames), len(rows)

    def draw(axes: Any) -> None:
        strip = np.concatenate(list(frames[:, 0]), axis=1)                   # (S, T S)
        axes.imshow(strip, cmap="gray", extent=(0, end, 0, 0.3 * height), aspect="auto")
        axes.imshow(rows / rows.max(axis=1, keepdims=True), cmap="magma", vmin=0,
                    extent=(0, end, -height, 0), aspect="auto")
        for frame in moments[which]:
            axes.axvline(frame, color="tab:green", linewidth=2)
        axes.set(xlim=(0, end), ylim=(-height, 0.3 * height), xlabel="frame",
                 yticks=-np.arange(height) - 0.5, yticklabels=names)
        axes.set_title(f"\"{' '.join(names[3:])}\": between the green lines; found: "
                       f"{model.moments(frames[None], sentences[None])[0, which].tolist()}, "
                       f"true: {moments[which].tolist()}", fontsize=9)
    return draw


if __name__ == "__main__":
    main()
