"""The subcommands of `tinygen` and their options; the work is in `commands.py`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .errors import TrainingInterrupted

app = typer.Typer(
    help="Train GANs, VAEs, GPTs, translators on your own machine, and look at what they make.",
    add_completion=False, pretty_exceptions_enable=False,
    epilog="A first run: tinygen train vae --data digits --out runs/first",
)

MODEL = "Model"
FILES = "Files"
TEXT = "Models of text"

Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run (its --out).")]
Which = Annotated[str | None, typer.Option(
    metavar="newest|best|STEP|FILE", help="Which checkpoint to use (default: the newest).")]
Out = Annotated[str | None, typer.Option(metavar="FILE.png", help="The picture to write.")]
Seed = Annotated[int, typer.Option(help="Other seeds give other pictures.", min=0)]


def _option(help: str, panel: str | None = None, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **settings)


def _count(help: str, panel: str | None = None, least: int = 1) -> Any:
    return _option(help, panel, metavar="N", min=least)


def _number(help: str, panel: str | None = None) -> Any:
    return _option(help, panel, metavar="X")


# Left out means None, so that a resumed run sees which options were given.
Text = str | None
Int = int | None
Float = float | None


@app.command()
def train(
    model: Annotated[Text, typer.Argument(
        metavar="MODEL",
        help="gan, dcgan, wgan-gp, vae, conv-vae, vae-gan, gpt, translator, text-vae, restorer, "
        "inpainter, cycle-gan, sentiment, mult-vae, factorization or summarizer.")] = None,
    run: Annotated[Text, typer.Argument(
        metavar="RUN", help="With --resume: the run's folder, or a checkpoint.")] = None,
    data: Annotated[Text, _option(
        "digits (comes with tinygen; the default), mnist, fashion-mnist, celeba, or a folder of "
        "pictures; for gpt: tinyshakespeare (the default), names, or a text file; for text-vae: "
        "names (the default), or a file with a sentence in each line; for translator: "
        "tatoeba (the default), multi30k-de, multi30k-fr, or a text file with a tab between a "
        "sentence and its translation; for cycle-gan: pictures (the default), drawn, or a folder "
        "with two folders of pictures; for mult-vae and factorization: ml-latest-small (the "
        "default) or drawn.",
        metavar="NAME|PATH")] = None,
    epochs: Annotated[Int, _count("How often to go through the data.")] = None,
    steps: Annotated[Int, _count("How many batches, instead of --epochs.")] = None,
    batch_size: Annotated[Int, _count(
        "Samples in a batch (default: 64 images, 12 pieces of text, or the recipe's).")] = None,
    lr: Annotated[Float, _number("Learning rate (default: that of the model's paper).")] = None,
    seed: Annotated[Int, _count("Same seed, same result (default 0).", least=0)] = None,
    clip_norm: Annotated[Float, _number("Clip gradients to this norm.")] = None,
    accumulate: Annotated[Int, _count(
        "Pass each batch through the model in N parts, to save memory.")] = None,
    ema_decay: Annotated[Float, _number(
        "Average the weights with this decay, such as 0.999, and sample from the average.")] = None,
    device: Annotated[Text, _option("cpu (the default) or cuda.", metavar="NAME")] = None,
    jit: Annotated[bool | None, _option(
        "Record steps and replay them, the same run, sooner (default: --jit).", None,
        "--jit/--no-jit")] = None,
    precision: Annotated[Text, _option(
        "32 (the default), or products in 16 bits: bf16-mixed or 16-mixed.",
        metavar="NAME")] = None,
    size: Annotated[Int, _count("Scale pictures to N x N; cycle-gan: patches of N x N.")] = None,
    conditional: Annotated[bool | None, _option(
        "Tell the model each image's class.", MODEL, "--conditional")] = None,
    width: Annotated[Int, _count(
        "Channels of convolutional models; numbers for each token of a text.", MODEL)] = None,
    hidden: Annotated[Text, _option(
        "Widths of hidden layers: 400, or 256,512 for gan.", MODEL, metavar="N,N")] = None,
    latent: Annotated[Int, _count("Length of the noise vector, or of a code.", MODEL)] = None,
    loss: Annotated[Text, _option(
        "GANs: non-saturating, saturating, least-squares, hinge or wasserstein.", MODEL,
        metavar="NAME")] = None,
    label_smoothing: Annotated[Float, _number(
        "GANs: real images count as 1 - X; translator: so do words.", MODEL)] = None,
    gradient_penalty: Annotated[Float, _number(
        "GANs: weight of the gradient penalty.", MODEL)] = None,
    n_critic: Annotated[Int, _count(
        "GANs: batches of the discriminator for each of the generator.", MODEL)] = None,
    beta: Annotated[Float, _number("VAEs: weight of the KL divergence.", MODEL)] = None,
    gamma: Annotated[Float, _number(
        "vae-gan: weight of the reconstruction in the decoder's loss.", MODEL)] = None,
    likelihood: Annotated[Text, _option(
        "VAEs: bernoulli or gaussian.", MODEL, metavar="NAME")] = None,
    block: Annotated[Int, _count("gpt: characters that it sees at once.", MODEL)] = None,
    layers: Annotated[Int, _count(
        "gpt, translator, sentiment: layers; cycle-gan: residual blocks.", MODEL)] = None,
    heads: Annotated[Int, _count(
        "gpt, translator, sentiment, summarizer: attention heads in a layer.", MODEL)] = None,
    dropout: Annotated[Float, _number("Models of text, mult-vae: rate of dropout.", MODEL)] = None,
    damage: Annotated[Text, _option(
        "restorer: noise (the default) or shrink.", MODEL, metavar="NAME")] = None,
    out: Annotated[Text, _option(
        "Folder of the run (default: runs/MODEL-DATA).", FILES, metavar="FOLDER")] = None,
    resume: Annotated[bool, _option(
        "Continue the run in RUN or --out, with its own options.", FILES, "--resume")] = False,
    sample_every: Annotated[Int, _count(
        "Steps between sample pictures (default: every epoch).", FILES)] = None,
    checkpoint_every: Annotated[Int, _count(
        "Steps between checkpoints (default: every epoch, and each minute).", FILES)] = None,
    log_every: Annotated[Int, _count(
        "Steps between rows of metrics (default 10).", FILES)] = None,
    keep: Annotated[Int, _count(
        "Newest checkpoints to keep, beside the best (default 3).", FILES)] = None,
    prefetch: Annotated[Int, _count(
        "Batches prepared ahead, in a thread (default 2).", FILES, least=0)] = None,
    quiet: Annotated[bool, _option("Print nothing but errors.", None, "--quiet")] = False,
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
           n: Annotated[Int, _option("How many images (default 64) or texts (default 1).", None,
                                     "--n", metavar="N", min=1)] = None,
           out: Annotated[Text, _option("The picture to write, or the text (default: print it).",
                                        metavar="FILE")] = None,
           seed: Seed = 0,
           label: Annotated[int | None, typer.Option(
               help="The class to draw, for a conditional model (default: all in turn).")] = None,
           prompt: Annotated[Text, _option("What a text begins with; for translator, the sentence.",
                                           TEXT, metavar="TEXT")] = None,
           length: Annotated[Int, _count("Characters of a text (default 500).", TEXT)] = None,
           temperature: Annotated[Float, _number(
               "Below 1: likelier characters; 0: always the likeliest.", TEXT)] = None,
           top_k: Annotated[Int, _count("Draw from the N likeliest characters.", TEXT)] = None,
           top_p: Annotated[Float, _number(
               "Draw from the likeliest that have this probability together.", TEXT)] = None,
           checkpoint: Which = None, device: str = "cpu", debug: Debug = False) -> None:
    """Draw images from a trained model, or let a language model write."""
    from .commands import sample

    _interruptible(sample, run, n, out, seed, label, checkpoint, device, prompt=prompt,
                   length=length, temperature=temperature, top_k=top_k, top_p=top_p)


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
def inspect(file: Annotated[str, typer.Argument(
                metavar="FILE", help="A PNG, WAV, text, JSON or safetensors file.")],
            as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
            debug: Debug = False) -> None:
    """Where a generated file comes from: its model, seed and licence, as the file itself says."""
    from .origin import inspect

    inspect(file, as_json)


@app.command()
def info(kernels: Annotated[bool, typer.Option(
             "--kernels", help="The dispatch table of the CPU kernels instead.")] = False,
         model: Annotated[str | None, typer.Option(
             "--try", metavar="MODEL", help="With --kernels: first take a training step of this "
             "model, to see which kernels take its calls, and why others do not.")] = None,
         debug: Debug = False) -> None:
    """What tinygen runs on here: versions, BLAS, threads, devices, kernels, data."""
    from . import info
    from .errors import UsageError

    if model is not None and not kernels:
        raise UsageError("--try goes with --kernels")
    print(info.kernels(model) if kernels else info.report())


@app.command()
def warmup(float64: Annotated[bool, typer.Option(
               "--float64", help="Also for float64; float32 is what models use.")] = False,
           processes: Annotated[int, typer.Option(
               min=1, help="How many families are compiled at once.")] = 2,
           debug: Debug = False) -> None:
    """Compile the CPU kernels now, instead of when they are first used (some three minutes)."""
    from ..warmup import warmup

    dtypes = ("float32", "float64") if float64 else ("float32",)
    _interruptible(warmup, dtypes, processes, lambda done: print(f"compiled: {done}", flush=True))


def _interruptible(work: Any, *arguments: Any, **options: Any) -> None:
    """Run a command; typer turns a KeyboardInterrupt into its own, so ours is carried past it."""
    try:
        work(*arguments, **options)
    except TrainingInterrupted as stop:
        raise Stopped(stop) from None


class Stopped(Exception):
    """Carries a TrainingInterrupted through typer."""

    def __init__(self, stop: TrainingInterrupted):
        super().__init__(str(stop))
        self.stop = stop
