"""Videos of digits that move one after another by a script, with sentences about their moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .dataset import Dataset, check_index

__all__ = ["ACTIONS", "Event", "MovingDigits", "phrases"]

# What a digit can do, in the words that sentences have for it.
ACTIONS: dict[str, tuple[str, ...]] = {
    "left": ("moves left", "goes to the left"),
    "right": ("moves right", "goes to the right"),
    "up": ("moves up", "rises"),
    "down": ("moves down", "sinks"),
    "bounces": ("bounces", "jumps twice"),
    "shakes": ("shakes", "trembles"),
    "turns": ("turns round", "spins once"),
    "blinks": ("blinks", "goes out and on"),
}
_FRAMES = ("{}", "find where {}", "the moment when {}", "show how {}")
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STEPS = {"left": (0, -2), "right": (0, 2), "up": (-2, 0), "down": (2, 0)}   # pixels a frame: y, x
_LENGTHS = {"turns": (4,), "blinks": (4, 6), "bounces": (4, 6)}              # frames; others 3 to 6
_HOPS = {4: (6, 0, 6, 0), 6: (6, 3, 0, 6, 3, 0)}                             # pixels up
_ROOM = 6                                                                    # the highest hop


class Event(NamedTuple):
    """What happens in the frames from `start` up to, and without, `end`."""

    digit: int
    action: str
    start: int
    end: int


def phrases(digit: int | None = None, action: str | None = None) -> list[str]:
    """All sentences there are about a digit's action, or about any.

    >>> phrases(7, "left")[:2]
    ['the seven moves left', 'find where the seven moves left']
    """
    digits = range(10) if digit is None else [digit]
    verbs = [v for name, words in ACTIONS.items() if action in (None, name) for v in words]
    return [frame.format(f"the {_NAMES[d]} {verb}") for d in digits for verb in verbs
            for frame in _FRAMES]


class MovingDigits(Dataset):
    """Two digits in one picture; `events` times one of them acts while the other stands still.

    No two events of a video are alike in digit and action, so that a sentence means one moment.
    A moment begins with the first frame that differs from the one before it and ends after the
    last one. Video i depends on `seed` and i alone. A sample is

    - the video, float32 (frames, 1, size, size) in [0, 1];
    - for each event the tokens of a sentence about it, int64 (events, L), padded with 0;
    - its moment [start, end), int64 (events, 2).

    Args:
        images: pictures of digits (N, 1, H, W) or (N, H, W), uint8, or floats in [0, 1], with H
            and W no larger than half of `size` less the room for a hop.
        labels: what digit each shows, (N,).
        count: how many videos.
        encode: the token numbers of a sentence, such as `WordTokenizer.encode`.
        frames, size: of a video.
        events: how many, of up to 6 frames; at most two for each action in place.
        actions: which of `ACTIONS` to use (default: all).

    Raises:
        ValueError: the pictures do not fit, or not all events do.
    """

    def __init__(self, images: Any, labels: Any, count: int, encode: Any, *, frames: int = 26,
                 size: int = 32, events: int = 4, actions: Sequence[str] | None = None,
                 seed: int = 0) -> None:
        images = np.asarray(images)
        self.images = images[:, 0] if images.ndim == 4 else images               # (N, H, W)
        self.labels = np.asarray(labels)
        if self.images.ndim != 3 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"[MovingDigits] images {images.shape}, labels {self.labels.shape}; "
                             "(N, 1, H, W) or (N, H, W), and (N,) are expected")
        side = max(self.images.shape[1:])
        if self.images.shape[1] != self.images.shape[2] or 2 * side > size - _ROOM:
            raise ValueError(f"[MovingDigits] pictures of {self.images.shape[1:]}; square ones of "
                             f"at most {(size - _ROOM) // 2} pixels fit into size={size}")
        self.actions = list(ACTIONS if actions is None else actions)
        if not self.actions or set(self.actions) - set(ACTIONS):
            raise ValueError(f"[MovingDigits] actions: {self.actions}; some of "
                             f"{', '.join(ACTIONS)} are expected")
        staying = len(set(self.actions) - set(_STEPS))       # these are possible at any place
        if not 1 <= events <= 2 * staying or frames <= 6 * events or count < 1:
            raise ValueError(f"[MovingDigits] count={count}, events={events}, frames={frames}; at "
                             f"least one video of 1 to {2 * staying} events (two for each action "
                             "in place) is expected, and more than 6 frames for each event")
        if len(np.unique(self.labels)) < 2:
            raise ValueError("[MovingDigits] labels must hold at least two digits")
        if self.images.dtype == np.uint8:
            self.images = self.images / np.float32(255)
        self.count, self.encode, self.seed = count, encode, seed
        self.frames, self.size, self.events, self.side = frames, size, events, side
        self.longest = max(len(encode(text)) for text in phrases())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        rng = self._rng(check_index(index, self.count, "MovingDigits"))
        video, script = self._play(rng)
        tokens = np.zeros((self.events, self.longest), np.int64)
        for row, event in zip(tokens, script, strict=True):
            texts = phrases(event.digit, event.action)
            ids = self.encode(texts[rng.integers(len(texts))])
            row[:len(ids)] = ids
        return video, tokens, np.array([event[2:] for event in script], np.int64)

    def script(self, index: int) -> list[Event]:
        """What happens in a video, in the order of its sentences."""
        return self._play(self._rng(check_index(index, self.count, "MovingDigits")))[1]

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,)))

    def _play(self, rng: np.random.Generator) -> tuple[np.ndarray, list[Event]]:
        """The video and its script."""
        pictures, names = self._cast(rng)
        at = self._places(rng)                                                   # (2, [y, x])
        plan = self._plan(rng, at, names)
        script = self._times(rng, plan, names)
        video = np.zeros((self.frames, 1, self.size, self.size), np.float32)
        now = {event.start: (who, event) for (who, *_), event in zip(plan, script, strict=True)}
        frame = 0
        while frame < self.frames:
            who, event = now.get(frame, (0, None))
            length = event.end - event.start if event else 1
            for k in range(1, length + 1):
                for i in (0, 1):
                    action = event.action if event and i == who else ""
                    self._draw(video[frame + k - 1, 0], pictures[i], at[i], action, k, length)
            if event and event.action in _STEPS:
                at[who] += length * np.array(_STEPS[event.action])
            frame += length
        return video, script

    def _cast(self, rng: np.random.Generator) -> tuple[list[np.ndarray], list[int]]:
        """Pictures of two different digits, and which digits these are."""
        first = rng.integers(len(self.labels))
        second = rng.choice(np.flatnonzero(self.labels != self.labels[first]))
        chosen = [int(first), int(second)]
        return [self.images[i] for i in chosen], [int(self.labels[i]) for i in chosen]

    def _places(self, rng: np.random.Generator) -> np.ndarray:
        """Two places, of upper left corners, at which the digits do not touch, with room to hop."""
        while True:
            at = rng.integers([_ROOM, 0], self.size - self.side + 1, (2, 2))
            if np.abs(at[0] - at[1]).max() >= self.side:
                return at

    def _plan(self, rng: np.random.Generator, at: np.ndarray,
              names: list[int]) -> list[tuple[int, str, int]]:
        """Who does what for how many frames: each is possible where the ones before it lead to."""
        places = at.copy()
        plan: list[tuple[int, str, int]] = []
        done: set[tuple[int, str]] = set()
        while len(plan) < self.events:
            who, action = int(rng.integers(2)), str(rng.choice(self.actions))
            length = int(rng.choice(_LENGTHS.get(action, (3, 4, 5, 6))))
            target = places[who] + length * np.array(_STEPS.get(action, (0, 0)))
            inside = (target >= [_ROOM, 0]).all() and (target <= self.size - self.side).all()
            apart = np.abs(target - places[1 - who]).max() >= self.side
            if (names[who], action) not in done and inside and apart:
                done.add((names[who], action))
                plan.append((who, action, length))
                places[who] = target
        return plan

    def _times(self, rng: np.random.Generator, plan: list[tuple[int, str, int]],
               names: list[int]) -> list[Event]:
        """The events in order, with the frames that are left over shared out at random.

        Frame 0 shows all at rest, so that a first change can be seen.
        """
        left = self.frames - 1 - sum(length for *_, length in plan)
        gaps = rng.multinomial(left, np.full(len(plan) + 1, 1 / (len(plan) + 1)))
        script, frame = [], 1
        for (who, action, length), gap in zip(plan, gaps, strict=False):
            frame += int(gap)
            script.append(Event(names[who], action, frame, frame + length))
            frame += length
        return script

    def _draw(self, canvas: np.ndarray, picture: np.ndarray, at: np.ndarray, action: str, k: int,
              length: int) -> None:
        """A digit in frame k = 1 .. length of its action; "" stands still."""
        y, x = at + k * np.array(_STEPS.get(action, (0, 0)))
        if action == "blinks" and (length - k) % 2:
            return
        if action == "turns":
            picture = np.rot90(picture, k)
        elif action == "bounces":
            y -= _HOPS[length][k - 1]
        elif action == "shakes":
            x += 0 if k == length else (-2, 2)[k % 2]
        left, right = max(x, 0), min(x + self.side, self.size)     # shaking may leave the picture
        here = canvas[y:y + self.side, left:right]
        np.maximum(here, picture[:, left - x:right - x], out=here)
