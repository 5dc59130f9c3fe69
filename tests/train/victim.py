"""A training run to be killed: python victim.py FOLDER STEPS; it says how far it is."""

import sys

from tests.train.helpers import make_trainer
from tinygen.train import Callback


class Ready(Callback):
    def on_step_end(self, trainer):
        if trainer.step % 50 == 0 or not trainer.told("ready"):
            print("ready", trainer.step, flush=True)


if __name__ == "__main__":
    make_trainer(sys.argv[1], steps=int(sys.argv[2]), checkpoint_every=5, sample_every=20,
                 log_every=2, callbacks=[Ready()]).fit(resume=True)
