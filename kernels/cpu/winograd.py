"""Winograd's convolutions: when they pay, and how their work is shared."""

from __future__ import annotations

import numpy as np

from tinygen.threads import count

from .conv_plan import Grid, Layout
from .lazy import Native, address_of
from .winograd_plan import KINDS, Job, Plan

__all__ = ["convolve", "gradient", "pays"]

native, weights = Native("winograd"), Native("winograd_weight")
launcher = Native("launch")

LINE = 64                   # bytes in a line of the cache
TILES = 28                  # of a task: two heights of the register tile share a panel of weights
STAGED = 8 << 20            # bytes of values that are kept for the gradient of weights
# Bytes of its sums that each thread may have for itself, and of values beside them. 2.4 MB (128
# channels, 3x3, 16x16) take 2.8 ms so and 3.5 shared, 9.4 MB 4.6 and 2.7.
APART, BLOCK = 3 << 20, 640 << 10

_codes: dict[str, int] = {}


def _launch(name: str, job: Job, nt: int) -> None:
    if name not in _codes:
        file = native if name in ("convolve", "turn_weights", "turn_sums") else weights
        _codes[name] = launcher.entry(getattr(file, name), np.float32, 1)
    told = np.array(job, np.int64)
    if launcher.launch(_codes[name], address_of(told), min(nt, job.tasks)):
        raise MemoryError("no memory for the scratch of a convolution")


def _floats(n: int) -> np.ndarray:
    """n numbers that start on a line of the cache."""
    whole = np.empty(n + LINE // 4, np.float32)
    skip = -whole.ctypes.data % LINE // 4
    return whole[skip:skip + n]


def pays(plan: Plan, n: int, c: int, outs: int, direct: int, gradient: bool = False) -> bool:
    """Is it quicker than `direct` products?

    Counted in products, of which a core does 32 a cycle with AVX-512. Measured: a value of a pixel
    or of a sum costs as much as 21, one of a weight 40 (it is packed, turned, and read again from
    L3); for the gradient to many weights values go through memory, and cost 60. Direct sums reach
    80% of the peak, these products 87%, and 77% where both sides come from memory. Where threads
    have sums of their own, values cost 30, and weights 90, as they are added up.
    """
    kind = KINDS[plan.kind]
    if c < 16 or outs < 16:
        return False
    squares, step2 = kind.tile ** 2, plan.step ** 2
    tiles = n * plan.rows * plan.wide
    depth, into = (c, outs * step2) if plan.phases > 1 else (c * step2, outs)
    values = depth * step2 if plan.aligned else depth
    of_tiles, of_weights = squares * tiles * (values + into), squares * depth * into
    products = tiles * of_weights
    if gradient and of_weights * 4 <= APART:
        return 1.2 * products + 30 * of_tiles + 90 * of_weights < 1.1 * direct
    if gradient:
        return 1.3 * products + 60 * of_tiles + 45 * of_weights < 1.25 * direct
    return 1.15 * products + 21 * of_tiles + 40 * of_weights < 1.25 * direct


def panel() -> int:
    """Output channels in a row of packed weights."""
    return native.PANEL_BYTES // 4


def _job(plan: Plan, image: np.ndarray, panels: int) -> Job:
    unset = dict.fromkeys(Job._fields, 0)
    return Job(**{**unset, "kind": plan.kind, "x": address_of(image), "panels": panels,
                  "splits": 1, "step": plan.step, "phases": plan.phases,
                  "aligned": plan.aligned, "first_h": plan.first[0], "first_w": plan.first[1],
                  "grid": address_of(plan.grid)})


def _bands(total: int, wide: int, nt: int) -> int:
    """How many parts of the rows of tiles, where one holds about TILES tiles."""
    bands = -(-total // max(1, TILES // wide))
    return min(total, -(-bands // nt) * nt)


def _turned(plan: Plan, panels: int, depth: int) -> np.ndarray:
    return _floats(panels * KINDS[plan.kind].tile ** 2 * (depth | 1) * panel())


def _shares(job: Job, c: int) -> Job:
    """Tasks that go over weights: phases of panels, or less where these are few."""
    whole = job.panels // job.phases * job.step ** 2
    splits = min(-(-8 // whole), c)
    return job._replace(next=0, splits=splits, tasks=whole * splits)


def convolve(plan: Plan, image: np.ndarray, packed: np.ndarray, bias: np.ndarray,
             out: np.ndarray) -> bool:
    """Write the convolution to `out`; False where something is not finite, which spreads here."""
    n, nt = len(image), count.value
    c, outs = int(plan.grid[0]), int(plan.grid[17])
    depth = c if plan.phases > 1 else c * plan.step ** 2
    panels = -(-outs // panel()) * plan.phases
    bad = np.zeros(1, np.int64)
    turned = _turned(plan, panels, depth)
    job = _job(plan, image, panels)._replace(
        packed=address_of(packed), turned=address_of(turned), bad=address_of(bad))
    _launch("turn_weights", _shares(job, c), nt)
    total = n * plan.rows
    bands = _bands(total, plan.wide, nt)
    band = -(-total // bands)
    splits = 1 if bands >= nt else min(panels, nt)
    rows = (-(-depth * 4 // LINE) + 1 | 1) * LINE
    job = job._replace(rows=rows, chunk=native.VECTOR_BYTES, phase=c * 4,
                       bias=address_of(bias), out=address_of(out), bands=bands, band=band,
                       total=total, splits=splits, tasks=bands * splits,
                       values=(band * plan.wide * rows // LINE | 1) * LINE)
    _launch("convolve", job, nt)
    return not bad[0]


def gradient(plan: Plan, image: np.ndarray, g: np.ndarray, of_g: Layout,
             sums: np.ndarray) -> bool:
    """Write the gradient to the weights to `sums`, packed; False where it is not finite."""
    n, nt = len(image), count.value
    c, outs = int(plan.grid[0]), int(plan.grid[17])
    kind = KINDS[plan.kind]
    depth, panels, m = c * plan.step ** 2, -(-outs // panel()), kind.outs
    squares = kind.tile ** 2
    bad = np.zeros(1, np.int64)
    grid_g = np.array(Grid(outs, of_g.h, of_g.w, of_g.planes, outs * of_g.h * of_g.w,
                           of_g.w if of_g.planes else of_g.w * outs,
                           of_g.h * of_g.w if of_g.planes else 1, plan.rows, plan.wide, m, m, 0, 0,
                           m, plan.wide * m * outs, 0, 1, outs, 0, 0, 0, 1, 1), np.int64)
    lanes, step2, total = native.VECTOR_BYTES // 4, plan.step ** 2, n * plan.rows
    each = plan.wide * squares * (step2 * -(-c // lanes) * native.VECTOR_BYTES
                                  + panels * native.PANEL_BYTES)
    apart = panels * squares * (depth | 1) * native.PANEL_BYTES
    parts = min(nt, total) if apart <= APART else 1
    most = (min(-(-total // parts), max(1, BLOCK // each)) if apart <= APART else
            -(-total // -(-total * each // STAGED)))
    turned = _floats(parts * apart // 4)
    job = _job(plan, image, panels)._replace(
        turned=address_of(turned), packed=address_of(sums), bad=address_of(bad), g=address_of(g),
        grid_g=address_of(grid_g), apart=apart, total=total, band=most, tasks=parts)
    job = _values(job, most * plan.wide, step2, -(-c // lanes))
    if apart <= APART:
        _launch("sum_apart", job, nt)
        sets = turned.reshape(parts, panels * squares, depth | 1, panel())[:, :, :depth]
        with np.errstate(over="ignore", invalid="ignore"):      # it is looked for at the end
            for more in sets[1:]:
                sets[0] += more
    else:
        _gradient_together(plan, job, squares * panels, nt)
    _launch("turn_sums", _shares(job, c), nt)
    return not bad[0]


def _values(job: Job, tiles: int, step2: int, chunks: int) -> Job:
    """How the values of so many tiles lie in memory: an odd number of lines from one to the next,
    so that they fall into different sets of the cache."""
    chunk = (tiles * native.VECTOR_BYTES // LINE | 1) * LINE
    return job._replace(rows=native.VECTOR_BYTES, chunk=chunk, phase=chunks * chunk,
                        values=(step2 * chunks * chunk // LINE | 1) * LINE,
                        grads=(tiles * native.PANEL_BYTES // LINE | 1) * LINE)


def _gradient_together(plan: Plan, job: Job, products: int, nt: int) -> None:
    """All threads turn some tiles, then they share the sums over them."""
    squares, total = KINDS[plan.kind].tile ** 2, job.total
    seen, given = (_floats(squares * job.values // 4),
                   _floats(job.panels * squares * job.grads // 4))
    job = job._replace(seen=address_of(seen), given=address_of(given))
    parts = -(-total // job.band)
    for part in range(parts):
        start = total * part // parts
        rows = total * (part + 1) // parts - start
        bands = _bands(rows, plan.wide, nt)
        job = job._replace(start=start, total=rows, bands=bands, band=-(-rows // bands),
                           add=int(part > 0))
        _launch("turn_both", job._replace(tasks=bands), nt)
        _launch("sum_products", job._replace(tasks=products), nt)
