"""Mixed precision: products in 16 bits, the rest and the weights in float32.

    scaler = tg.GradScaler("cpu")                        # for float16; bfloat16 needs none
    with tg.autocast("cpu", dtype=tg.float16):
        loss = model(x)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

Source: P. Micikevicius et al., "Mixed Precision Training", ICLR 2018.
"""

from .autocast import autocast, is_autocast_enabled
from .scaler import GradScaler

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]
