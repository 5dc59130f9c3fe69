"""The subcommands of `tinygen` and their options; the work is in `commands.py`."""

from typing import Annotated, Any

import typer

from .errors import TrainingInterrupted

app = typer.Typer(
    help="Train GANs and VAEs on your own machine, and look at what they make.",
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    epilog="A first run: tinygen train vae --data digits --out runs/first",
)

MODEL = "Model"
FILES = "Files"

Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run (its --out).")]
Which = Annotated[str | None, typer.Option(
    metavar="newest|best|STEP|FILE", help="Which checkpoint to use (default: the newest).")]
Out = Annotated[str | None, typer.Option(metavar="FILE.png", help="The picture to write.")]
Seed = Annotated[int, typer.Option(help="Other seeds give other pictures.", min=0)]


def _option(help: str, panel: str | None = None, **settings: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, show_default=False, **settings)


@app.command()
def train(
    model: Annotated[str | None, typer.Argument(
        metavar="[MODEL]", help="gan, dcgan, wgan-gp, vae or conv-vae.")] = None,
    run: Annotated[str | None, typer.Argument(
        metavar="[RUN]", help="With --resume: the run's folder, or a checkpoint.")] = None,
    data: Annotated[str | None, _option(
        "digits (comes with tinygen; the default), mnist, fashion-mnist, celeba, or a folder of "
        "pictures.", metavar="NAME|FOLDER")] = None,
    epochs: Annotated[int | None, _option("How often to go through the data.", min=1)] = None,
    steps: Annotated[int | None, _option("How many batches, instead of --epochs.", min=1)] = None,
    batch_size: Annotated[int | None, _option("Images in a batch [64].", min=1)] = None,
    lr: Annotated[float | None, _option("Learning rate [that of the model's paper].")] = None,
    seed: Annotated[int | None, _option("Same seed, same result [0].", min=0)] = None,
    clip_norm: Annotated[float | None, _option("Clip gradients to this norm.")] = None,
    device: Annotated[str | None, _option("cpu or cuda [cpu].")] = None,
    size: Annotated[int | None, _option("Scale pictures to SIZE x SIZE.", min=1)] = None,
    conditional: Annotated[bool | None, _option(
        "Tell the model each image's class.", MODEL, is_flag=True)] = None,
    width: Annotated[int | None, _option("Channels of convolutional models.", MODEL)] = None,
    hidden: Annotated[str | None, _option(
        "Widths of hidden layers: 400, or 256,512 for gan.", MODEL)] = None,
    latent: Annotated[int | None, _option("Length of the noise vector.", MODEL)] = None,
    loss: Annotated[str | None, _option(
        "GAN loss: non-saturating, saturating, least-squares, hinge, wasserstein.", MODEL)] = None,
    label_smoothing: Annotated[float | None, _option(
        "GANs: real images count as 1 - this.", MODEL)] = None,
    gradient_penalty: Annotated[float | None, _option(
        "GANs: weight of the gradient penalty.", MODEL)] = None,
    n_critic: Annotated[int | None, _option(
        "GANs: batches of the discriminator for each of the generator.", MODEL)] = None,
    beta: Annotated[float | None, _option("VAEs: weight of the KL term.", MODEL)] = None,
    likelihood: Annotated[str | None, _option("VAEs: bernoulli or gaussian.", MODEL)] = None,
    out: Annotated[str | None, _option(
        "Folder of the run [runs/MODEL-DATA].", FILES, metavar="FOLDER")] = None,
    resume: Annotated[bool, _option(
        "Continue the run in RUN or --out, with its own options.", FILES)] = False,
    sample_every: Annotated[int | None, _option(
        "Steps between sample pictures [every epoch].", FILES, min=1)] = None,
    checkpoint_every: Annotated[int | None, _option(
        "Steps between checkpoints [every epoch, and each minute].", FILES, min=1)] = None,
    log_every: Annotated[int | None, _option(
        "Steps between rows of metrics [10].", FILES, min=1)] = None,
    keep: Annotated[int | None, _option("Checkpoints to keep [3].", FILES, min=1)] = None,
    prefetch: Annotated[int | None, _option(
        "Batches prepared ahead, in a thread [2].", FILES, min=0)] = None,
    quiet: Annotated[bool, _option("Print nothing but errors.")] = False,
    debug: Debug = False,
) -> None:
    """Train a model, and leave pictures, metrics and checkpoints in a folder.

    Stop it with Ctrl-C whenever you like, and continue with: tinygen train --resume RUN
    """
    options = dict(locals())
    from .commands import train

    for name in ("model", "run", "resume", "quiet", "debug"):
        del options[name]
    _interruptible(train, model, run, resume, quiet, options)


@app.command()
def sample(run: Run,
           n: Annotated[int, typer.Option("--n", help="How many images.", min=1)] = 64,
           out: Out = None, seed: Seed = 0,
           label: Annotated[int | None, typer.Option(
               help="The class to draw, for a conditional model (default: all in turn).")] = None,
           checkpoint: Which = None, device: str = "cpu", debug: Debug = False) -> None:
    """Draw images from a trained model."""
    from .commands import sample

    _interruptible(sample, run, n, out, seed, label, checkpoint, device)


@app.command()
def interpolate(run: Run,
                rows: Annotated[int, typer.Option(help="How many walks.", min=1)] = 8,
                steps: Annotated[int, typer.Option(help="Images in a walk.", min=2)] = 10,
                out: Out = None, seed: Seed = 0, checkpoint: Which = None, device: str = "cpu",
                debug: Debug = False) -> None:
    """Walk from one random image to another, through what lies between."""
    from .commands import interpolate

    _interruptible(interpolate, run, rows, steps, out, seed, checkpoint, device)


@app.command()
def reconstruct(run: Run,
                n: Annotated[int, typer.Option("--n", help="How many images.", min=1)] = 16,
                out: Out = None,
                data: Annotated[str | None, typer.Option(
                    metavar="NAME|FOLDER", help="Other images than the run's test images.")] = None,
                checkpoint: Which = None, device: str = "cpu", debug: Debug = False) -> None:
    """Pass images through a VAE: originals above, reconstructions below."""
    from .commands import reconstruct

    _interruptible(reconstruct, run, n, out, data, checkpoint, device)


@app.command()
def info(debug: Debug = False) -> None:
    """What tinygen runs on here: versions, BLAS, threads, devices, kernels, data."""
    from .info import report

    print(report())


def _interruptible(work: Any, *arguments: Any) -> None:
    """Run a command; typer turns a KeyboardInterrupt into its own, so ours is carried past it."""
    try:
        work(*arguments)
    except TrainingInterrupted as stop:
        raise Stopped(stop) from None


class Stopped(Exception):
    """Carries a TrainingInterrupted through typer."""

    def __init__(self, stop: TrainingInterrupted):
        super().__init__(str(stop))
        self.stop = stop
