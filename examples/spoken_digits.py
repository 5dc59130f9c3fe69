"""Spoken digits: a VAE draws spectrograms, Griffin-Lim makes them sound, a classifier listens.

    python examples/spoken_digits.py           # FSDD: ten digits by six speakers (TINYGEN_DATA)
    python examples/spoken_digits.py --quick   # four kinds of whistles, a few seconds

A recording becomes a picture, loudness over time and pitch, which a conditional VAE learns like any
other: told digit and speaker, it draws new ones, from codes z of the Gaussian in which it put the
recordings of that class. The phases that such a picture leaves out are found by Griffin-Lim. The
judge has heard real recordings alone, and listens to the WAV files that were written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, RandomShift, SpokenDigits, TensorDataset, read_wav, write_wav
from tinygen.models import VAE, ClassGaussians, Classifier
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.provenance import Provenance
from tinygen.signal import MelSpectrogram, spectral_convergence
from tinygen.train import Trainer
from tinygen.viz import image_grid, save_image

RATE = 8000


class Recordings(NamedTuple):
    """Sounds (N, n), what is said (N,) and by whom (N,)."""

    sounds: np.ndarray
    words: np.ndarray
    voices: np.ndarray


def whistles(n: int, seed: int) -> Recordings:
    """Whistles of 0.25 s: rising, falling, a low one and a high one, of random pitch and length."""
    rng = np.random.default_rng(seed)
    words = np.arange(n) % 4
    starts = np.array([500, 1800, 500, 1800])[words] * rng.uniform(0.9, 1.1, n)       # Hz
    ends = np.array([1800, 500, 500, 1800])[words] * rng.uniform(0.9, 1.1, n)
    t = np.arange(1984) / RATE                                                        # (n,)
    length = rng.uniform(0.18, 0.24, (n, 1))                                          # s
    share = (t / length).clip(0, 1)                                                   # (N, n)
    pitch = starts[:, None] + (ends - starts)[:, None] * share
    sounds = np.sin(2 * np.pi * np.cumsum(pitch, axis=1) / RATE) * np.sin(np.pi * share)
    return Recordings((0.8 * sounds).astype(np.float32), words, np.zeros(n, np.int64))


def recordings(quick: bool) -> tuple[Recordings, Recordings, list[str]]:
    """To train, to test, and the names of the voices."""
    if quick:
        return whistles(400, 0), whistles(100, 1), ["whistle"]
    sets = [SpokenDigits(train) for train in (True, False)]
    train, test = (Recordings(s.sounds, s.labels, s.speakers) for s in sets)
    return train, test, sets[0].speaker_names


def fit(model: Any, pictures: np.ndarray, labels: np.ndarray, epochs: int, lr: float, seed: int,
        transform: Any = None) -> Any:
    """The model after training on pictures (N, 1, H, W)."""
    loader = DataLoader(TensorDataset(pictures, labels), 64, shuffle=True, seed=seed,
                        transform=transform)
    optimizers = model.configure_optimizers(lr)
    steps = epochs * len(loader)
    schedule = WarmupCosine(optimizers["model"], min(50, steps // 4), steps)
    rows = Trainer(model, loader, epochs=epochs, optimizers=optimizers, schedulers=schedule,
                   schedule_per="step", seed=seed, samples=0, progress=False).fit()
    print(f"  {model.name}: loss {rows[0]['loss']:.4g} at first, {rows[-1]['loss']:.4g} at last")
    return model.eval()


def classes(judge: Classifier, pictures: np.ndarray) -> np.ndarray:
    """What the judge takes each picture (N, H, W) for: (N,)."""
    with tg.no_grad():
        return judge(pictures[:, None]).argmax(axis=1).numpy()


def speak(pictures: np.ndarray, mel: MelSpectrogram, names: list[str], out: Path,
          record: Provenance) -> np.ndarray:
    """Pictures (N, H, W) as sounds (N, n), read from the files that they were written to."""
    magnitude = mel.magnitude(pictures)                                               # (N, f, t)
    sounds = mel.invert(pictures)                                                     # (N, n)
    error = spectral_convergence(magnitude, sounds, mel.n_fft, mel.hop)
    print(f"Griffin-Lim: spectra {error:.1%} away from those that were asked for")
    for sound, name in zip(sounds, names, strict=True):
        write_wav(out / "sounds" / f"{name}.wav", sound, RATE, record)
    return np.stack([read_wav(out / "sounds" / f"{name}.wav", RATE)[0] for name in names])


def main() -> dict[str, float]:
    """Train the judge and the VAE, write sounds and a picture; returns shares heard rightly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="whistles, a few seconds")
    parser.add_argument("--epochs", type=int, help="of the VAE (default 40)")
    parser.add_argument("--each", type=int, default=5, help="sounds of each word by each voice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/spoken_digits", help="folder for sounds and picture")
    args = parser.parse_args()
    out = Path(args.out)

    train, test, voices = recordings(args.quick)
    mel = (MelSpectrogram(RATE, bands=32, n_fft=256, hop=64) if args.quick
           else MelSpectrogram(RATE))
    pictures = mel(train.sounds)[:, None]                                             # (N, 1, H, W)
    shape, n_words, n_voices = pictures.shape[1:], int(train.words.max()) + 1, len(voices)
    print(f"{len(pictures)} recordings as pictures of {shape[1]} bands x {shape[2]} frames")

    tg.manual_seed(args.seed)
    judge = fit(Classifier(shape, n_words, width=8), pictures, train.words,
                6 if args.quick else 15, 2e-3, args.seed, RandomShift(3, 2))
    heard = classes(judge, mel(test.sounds))
    again = classes(judge, mel(mel.invert(mel(test.sounds))))    # what the way alone takes away
    found = {"real": float((heard == test.words).mean()),
             "real, by Griffin-Lim": float((again == test.words).mean())}
    print(f"the judge, on recordings it has not heard: {found['real']:.1%} right, "
          f"{found['real, by Griffin-Lim']:.1%} once their phases are lost and found again")

    tg.manual_seed(args.seed)
    model = VAE(shape, n_words * n_voices, latent=8 if args.quick else 16,
                hidden=128 if args.quick else 400, likelihood="gaussian", sigma=0.25)
    classes_of = train.words * n_voices + train.voices                                # (N,)
    fit(model, pictures, classes_of, args.epochs or (25 if args.quick else 40), 2e-3, args.seed)
    codes = ClassGaussians(*model.encode(pictures, classes_of), classes_of)

    labels = np.repeat(np.arange(n_words * n_voices), args.each)                      # (M,)
    words = labels // n_voices
    drawn = model.generate(codes.sample(labels, args.seed), labels).numpy()[:, 0]     # (M, H, W)
    plain = model.generate(model.noise(len(labels)), labels).numpy()[:, 0]
    found["from N(0, I), seen"] = float((classes(judge, plain) == words).mean())
    found["generated, seen"] = float((classes(judge, drawn) == words).mean())

    names = [f"{word}_{voices[label % n_voices]}_{i % args.each}"
             for i, (word, label) in enumerate(zip(words, labels, strict=True))]
    record = Provenance(model.name, args.seed, data="whistles" if args.quick else "fsdd",
                        licence="CC0" if args.quick else "CC BY-SA 4.0")
    right = classes(judge, mel(speak(drawn, mel, names, out, record))) == words
    found["generated"] = float(right.mean())
    print(f"generated: {found['generated']:.1%} of {len(right)} sounds heard as what they should "
          "be; by word " + ", ".join(f"{w}: {right[words == w].mean():.0%}"
                                     for w in range(n_words)))
    print(f"their pictures, not made sound: {found['generated, seen']:.1%}; with codes from "
          f"N(0, I): {found['from N(0, I), seen']:.1%}")

    first = np.arange(len(labels)).reshape(n_words, n_voices, args.each)[:, :, 0].T.ravel()
    grid = image_grid(drawn[first][:, ::-1], cols=n_words)[..., 0]      # grey: half as large a file
    save_image(grid, out / "spectrograms.png", record)
    print(f"a column for each word, a row for each voice, low pitch at the bottom: "
          f"{out / 'spectrograms.png'}; sounds: {out / 'sounds'}")
    return found


if __name__ == "__main__":
    main()
