"""Devices on the double: moving, naming, generators, checkpoints, writing, and what is told."""

import copy
import json
import types

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.training import CASES, tensors
from tinygen import backend, nn, philox
from tinygen.generate import beam_search, greedy
from tinygen.models import build
from tinygen.nn import functional as F
from tinygen.train import Trainer
from tinygen.train.info import report

KERNELS = False


# -- moving and naming ---


def test_tensors_and_modules_move_there_and_back():
    x = tg.randn(3, 4)
    y = x.to("cuda")
    assert (x.device, y.device, y.cuda().device) == ("cpu", "cuda:0", "cuda:0")
    assert y.to("cuda") is y and y.cpu().device == "cpu"
    assert y.is_cuda and not x.is_cuda and x.cuda(1).device == "cuda:1"
    np.testing.assert_array_equal(y.cpu().numpy(), x.numpy())
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    with pytest.raises(TypeError, match="a tensor on cuda:0 is not converted to NumPy silently"):
        np.asarray(y)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    there = copy.deepcopy(net).cuda()
    assert {t.device for t in there.state_dict().values()} == {"cuda:0"}
    np.testing.assert_allclose(there(y).detach().cpu().numpy(), net(x).detach().numpy(), rtol=1e-5)
    assert {t.device for t in there.cpu().state_dict().values()} == {"cpu"}


def test_gradients_flow_through_a_move():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    (x.to("cuda") ** 2).sum().backward()
    assert (x.grad.device, x.grad.tolist()) == ("cpu", [2, 4])


def test_arrays_of_other_libraries_are_shared(cupy):
    array = cupy.zeros(3, np.float32)
    x, y = tg.from_dlpack(array), tg.asarray(array)
    array[1] = 5.0
    assert (x.device, x.tolist(), y.tolist()) == ("cuda:0", [0, 5, 0], [0, 5, 0])
    assert tg.from_dlpack(x).data.data.ptr == x.data.data.ptr
    assert tg.from_dlpack(x, device="cpu").device == "cpu"
    assert x.__dlpack_device__() == (2, 0)
    namespace = x.__array_namespace__()
    assert namespace.__array_namespace_info__().devices() == ["cpu", "cuda:0", "cuda:1"]


def test_what_is_made_on_the_device_is_not_copied_there():
    tg.manual_seed(0)
    tg.rand(1, device="cuda")                 # the stream of the device is there
    with counted() as seen:
        made = [tg.zeros(2, 3, device="cuda"), tg.ones(2, device="cuda"), tg.eye(3, device="cuda"),
                tg.full((2,), 7.0, device="cuda"), tg.arange(5, device="cuda"),
                tg.randn(2, device="cuda"), tg.rand(2, device="cuda")]
        made += [tg.zeros_like(made[0]), tg.ones_like(made[0]), tg.full_like(made[0], 2.0)]
    assert {t.device for t in made} == {"cuda:0"}
    assert (seen.h2d, seen.syncs) == (0, 0), seen


def test_printing_shows_the_device():
    assert repr(tg.ones(2, device="cuda")) == "Tensor([1., 1.], dtype=float32, device='cuda:0')"


def test_host_arrays_and_lists_are_indices_and_values():
    x = tg.arange(12, device="cuda").reshape(3, 4)
    np.testing.assert_array_equal(x[[0, 2]].cpu().numpy(), np.arange(12).reshape(3, 4)[[0, 2]])
    assert x[np.array([True, False, True])].shape == (2, 4)
    x[np.array([1])] = np.array([[9, 9, 9, 9]])
    x[0, [1, 1]] = tg.tensor([5, 6], device="cuda")      # the last one stays, as on the CPU
    assert x.cpu().tolist() == [[0, 6, 2, 3], [9, 9, 9, 9], [8, 9, 10, 11]]


# -- the module tg.cuda ---


def test_the_module_cuda_says_what_there_is():
    assert tg.cuda.is_available() and tg.cuda.device_count() == 2
    assert tg.cuda.unavailable_reason() is None
    assert tg.cuda.get_device_name() == "double of a GPU"
    before = tg.cuda.memory_allocated()
    x = tg.zeros(1024, device="cuda")
    assert tg.cuda.memory_allocated() == before + 4096 <= tg.cuda.memory_reserved()
    assert tg.cuda.mem_get_info()[0] < tg.cuda.mem_get_info()[1]
    del x
    tg.cuda.empty_cache()
    with counted() as seen:
        tg.cuda.synchronize()
    assert seen.syncs == 1


def test_cuda_means_the_current_device():
    assert tg.cuda.current_device() == 0
    with tg.cuda.device(1):
        assert tg.cuda.current_device() == 1
        x = tg.ones(3, device="cuda").requires_grad_()
        (x * 2).sum().backward()
        optimizer = tg.optim.Adam([x], lr=0.1)
        optimizer.step()
        assert x.device == x.grad.device == "cuda:1"
    assert tg.ones(3, device="cuda").device == "cuda:0"
    tg.cuda.set_device("cuda:1")
    assert tg.zeros(1, device="cuda").device == "cuda:1"
    tg.cuda.set_device(0)
    with pytest.raises(RuntimeError, match=r"there are 2, cuda:0 to cuda:1"):
        tg.ones(2, device="cuda:2")
    with pytest.raises(ValueError, match="a GPU is meant here"):
        tg.cuda.synchronize("cpu")


@pytest.mark.parametrize("name", ["gpt"])
def test_a_device_that_is_not_the_current_one_trains_as_well(name):
    found = []
    for device in ("cuda:0", "cuda:1"):
        make, batch = CASES[name]
        tg.manual_seed(0)
        model, given = make().to(device), tensors(batch(), device)
        optimizers = model.configure_optimizers()
        losses = [model.training_step(*given, optimizers) for _ in range(2)]
        assert {t.device for step in losses for t in step.values()} == {device}
        found.append([{k: v.item() for k, v in step.items()} for step in losses])
    assert found[0] == found[1]
    with pytest.raises(TypeError, match="x is on cuda:0 and y is on cuda:1"):
        tg.ones(2, device="cuda:0") + tg.ones(2, device="cuda:1")


# -- what is missing is named ---


def without(monkeypatch, **runtime):
    """`cupy` with other answers of the CUDA runtime."""
    def answer(value):
        def call():
            if isinstance(value, Exception):
                raise value
            return value
        return call
    given = {"driverGetVersion": 13000, "runtimeGetVersion": 13000, "getDeviceCount": 1, **runtime}
    fake = types.ModuleType("cupy")
    fake.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        **{name: answer(value) for name, value in given.items()}))
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: fake)
    monkeypatch.setattr(backend, "_gpus", [0])


NO_DEVICE = RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


@pytest.mark.parametrize(("runtime", "words"), [
    ({"driverGetVersion": 0}, "CuPy is installed, but there is no NVIDIA driver"),
    ({"driverGetVersion": 12040}, "driver is too old: it is for CUDA 12.4, and CuPy was built for "
                                  "CUDA 13.0"),
    ({"getDeviceCount": NO_DEVICE}, "there is an NVIDIA driver, but no device"),
    ({"getDeviceCount": 0}, "there is an NVIDIA driver, but no device"),
    ({"getDeviceCount": RuntimeError("cudaErrorUnknown")}, "CuPy does not work here: cudaErrorUnk"),
])
def test_without_a_gpu_the_message_says_what_is_missing(monkeypatch, runtime, words):
    without(monkeypatch, **runtime)
    assert words in backend.unavailable_reason()
    assert not tg.cuda.is_available() and tg.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="device 'cuda' cannot be used: ") as caught:
        tg.ones(2, device="cuda")
    assert words in str(caught.value)


def test_a_hidden_device_and_a_missing_package_are_named(monkeypatch):
    without(monkeypatch, getDeviceCount=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' may hide it" in backend.unavailable_reason()
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    assert backend.unavailable_reason() == "CuPy is not installed (pip install 'tinygen[cuda]')"


def test_info_shows_the_gpu():
    rows = dict(line.strip().split(None, 1) for line in report().splitlines() if "  " in line)
    assert rows["cuda"] == "CuPy runs on CUDA 13.0, the driver takes programs up to CUDA 13.0"
    assert "gpu kernels     off (" in report()
    assert rows["cuda:0"] == "double of a GPU, 80 GiB, compute capability 9.0"
    assert {"nvidia-cudnn-frontend", "nvmath-python", "ml_dtypes", "cupy"} <= set(rows)


# -- random numbers ---


def test_words_are_those_of_the_papers_authors():
    """Philox4x32-10: the known answers of the library Random123."""
    zeros = philox.new_state(np, 0)
    assert philox.words(np, zeros, 1).tolist() == [[0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]]
    assert zeros.tolist() == [0, 1, 0]


@pytest.mark.parametrize("draw", [
    lambda g: tg.random.normal((100,), generator=g), lambda g: tg.random.uniform(7, generator=g),
    lambda g: tg.random.normal((5,), dtype="float64", generator=g),
    lambda g: tg.random.uniform((9,), dtype="float16", generator=g),
    lambda g: tg.random.randint(3, 17, (50,), generator=g),
    lambda g: tg.random.permutation(20, generator=g),
    lambda g: tg.random.gamma(2.0, shape=(9,), generator=g),
    lambda g: tg.random.poisson(3.0, (9,), generator=g),
    lambda g: tg.random.von_mises(0.0, 2.0, (9,), generator=g),
    lambda g: tg.random.binomial(9, 0.3, (9,), generator=g),
    lambda g: tg.random.dirichlet([1.0, 2.0], (4, 2), generator=g),
    lambda g: tg.random.multinomial([1.0, 2.0, 3.0], 2, generator=g),
    lambda g: nn.functional.dropout(tg.ones(50, device="cuda"), generator=g),
], ids=range(13))
def test_a_stream_goes_on_from_its_saved_state(draw):
    stream = tg.Generator(5, "cuda")
    draw(stream)
    state = json.loads(json.dumps(stream.state()))
    with counted() as seen:
        first = draw(stream)
    assert first.device == "cuda:0" and seen.syncs == 0
    other = tg.Generator(1, "cuda")
    other.set_state(state)
    np.testing.assert_array_equal(draw(other).cpu().numpy(), first.cpu().numpy())
    with pytest.raises(ValueError, match="not the state of a tinygen Generator on cuda:0"):
        other.set_state(tg.Generator(1).state())


def test_draws_have_their_law():
    z = tg.randn(20000, device="cuda", generator=tg.Generator(0, "cuda")).cpu().numpy()
    u = tg.rand(20000, device="cuda", generator=tg.Generator(1, "cuda")).cpu().numpy()
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.02 and abs((z ** 4).mean() - 3) < 0.2
    assert abs(u.mean() - 0.5) < 0.01 and 0 <= u.min() and u.max() < 1
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.03


def test_manual_seed_and_saved_states_cover_devices():
    tg.manual_seed(3)
    first = tg.randn(4, device="cuda").tolist()
    state = json.loads(json.dumps(tg.random.get_state()))
    following = [tg.randn(4, device="cuda").tolist(), tg.randn(4).tolist()]
    tg.manual_seed(3)
    assert tg.randn(4, device="cuda").tolist() == first
    tg.random.set_state(state)
    assert [tg.randn(4, device="cuda").tolist(), tg.randn(4).tolist()] == following


def test_recomputed_draws_are_the_same_and_nobody_waits():
    x, w = (tg.randn(8, 8, device="cuda").requires_grad_() for _ in range(2))

    def part(x):
        return F.dropout(x @ w, 0.5)
    found = []
    for call in (part, lambda x: tg.checkpoint(part, x)):
        x.grad = w.grad = None
        tg.manual_seed(0)
        tg.rand(1, device="cuda")
        with counted() as seen:
            y = call(x)
            tg.rand(3, device="cuda")
            (y * y).sum().backward()
        assert (seen.syncs, seen.h2d) == (0, 0), seen
        found.append([y.detach().tolist(), x.grad.tolist(), w.grad.tolist(),
                      tg.rand(1, device="cuda").item()])
    assert found[0] == found[1]


# -- training, saving, writing ---


def run(folder, device, steps, resume=False):
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    images = (rng.random((40, 1, 16, 16)) * 255).astype(np.uint8)
    loader = tg.data.DataLoader(tg.data.ImageDataset(images, rng.integers(0, 4, 40)), 8, seed=0)
    model = build("vae", (1, 16, 16), hidden=16, latent=3).to(device)
    trainer = Trainer(model, loader, folder, steps=steps, ema_decay=0.9, samples=0, jit=False,
                      progress=False, clip_norm=1.0)
    trainer.fit(resume=resume)
    return model, trainer


def test_runs_go_on_on_the_device_bit_for_bit_and_on_another_one(tmp_path):
    whole, _ = run(tmp_path / "whole", "cuda", 5)
    run(tmp_path / "parts", "cuda", 3)
    parts, _ = run(tmp_path / "parts", "cuda", 5, resume=True)
    there = {k: v.cpu().numpy() for k, v in parts.state_dict().items()}
    for key, value in whole.state_dict().items():
        np.testing.assert_array_equal(there[key], value.cpu().numpy(), err_msg=key)

    model, trainer = run(tmp_path / "parts", "cpu", 5, resume=True)
    assert trainer.first_step == 5
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), there[key])
    run(tmp_path / "parts", "cpu", 6, resume=True)
    model, trainer = run(tmp_path / "parts", "cuda", 7, resume=True)
    assert (trainer.first_step, trainer.step) == (6, 7)
    assert {p.device for p in model.parameters()} == {"cuda:0"}
    assert np.isfinite(list(trainer.history[-1].values())[-1])


@pytest.mark.parametrize("name", ["conv-vae"])
def test_a_recorded_step_on_the_device_is_the_eager_one_and_waits_for_nothing(name):
    found = []
    for wrap in (lambda f: f, tg.jit):
        make, batch = CASES[name]
        tg.manual_seed(0)
        model, given = make().to("cuda"), tensors(batch(), "cuda")
        optimizers, step = model.configure_optimizers(), wrap(model.training_step)
        losses = [step(*given, optimizers) for _ in range(2)]
        with counted() as seen:
            losses.append(step(*given, optimizers))
        assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
        found.append([{k: v.item() for k, v in step.items()} for step in losses])
    assert found[0] == found[1]


def test_the_command_line_trains_and_draws_on_the_device(tmp_path, capsys):
    pytest.importorskip("typer")
    Image = pytest.importorskip("PIL.Image")
    from tinygen.cli import main

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in args])
        return caught.value.code, capsys.readouterr().err
    folder = tmp_path / "run"
    options = ("--hidden", 8, "--latent", 2, "--steps", 2, "--batch-size", 16, "--quiet")
    assert run("train", "vae", *options, "--device", "cuda", "--out", folder) == (0, "")
    for name, device in (("a.png", "cuda"), ("b.png", "cpu")):
        assert run("sample", folder, "--n", 4, "--device", device, "--out", tmp_path / name)[0] == 0
    pictures = [np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png")]
    np.testing.assert_allclose(*[p.astype(int) for p in pictures], atol=1)
    code, said = run("train", "--resume", folder, "--steps", 3, "--device", "cuda:7")
    assert code == 2 and "device 'cuda:7' cannot be used: there are 2, cuda:0 to cuda:1" in said


def test_the_trainer_waits_when_it_shows_something_not_at_every_step():
    def waits(steps):
        images = np.random.default_rng(0).random((120, 1, 8, 8))
        loader = tg.data.DataLoader(tg.data.ImageDataset((images * 255).astype(np.uint8)), 8)
        model = build("vae", (1, 8, 8), hidden=8, latent=2).to("cuda")
        trainer = Trainer(model, loader, steps=steps, ema_decay=0.9, jit=False, progress=False,
                          clip_norm=1.0, log_every=100, checkpoint_every=100)
        with counted() as seen:
            trainer.fit()
        return seen.syncs, seen.h2d
    (few, copied), (many, copied_then) = waits(4), waits(9)
    assert few == many < 50
    assert copied_then - copied == 5           # the batches


def test_files_of_tensors_have_no_device(tmp_path):
    net = nn.Linear(3, 2).cuda()
    tg.save(net, tmp_path / "w.safetensors")
    other = nn.Linear(3, 2)
    other.load_state_dict(tg.load(tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(other.weight.detach().numpy(), net.weight.detach().cpu().numpy())
    net.load_state_dict(other.state_dict())
    assert net.weight.device == "cuda:0"


@pytest.mark.parametrize("name", ["gpt", "translator"])
def test_writing_gives_the_tokens_of_the_cpu(name):
    make, batch = CASES[name]
    tg.manual_seed(0)
    model = make().eval()
    there = copy.deepcopy(model).cuda()

    def write(model, device):
        given = tensors(batch(), device)
        if name == "gpt":
            cached = model.write(given[0][:, :3], 8, generator=tg.Generator(0), top_k=5).tolist()
            return (greedy(model, [[1, 2, 3]], 5).tolist(), cached,
                    beam_search(model, [[1, 2]], 4, 2).tokens.tolist())
        return [model.translate(given[0], beams, longest=5) for beams in (1, 3)]
    assert write(there, "cuda") == write(model, "cpu")


def test_samples_from_noise_and_copies_are_those_of_the_cpu():
    tg.manual_seed(0)
    model = build("conv-vae", (1, 16, 16), 3)
    there = copy.deepcopy(model).cuda()
    z, x = model.noise(4, tg.Generator(0)), np.random.default_rng(0).random((4, 1, 16, 16), "f")
    labels = np.arange(4) % 3
    for a, b in ((there.generate(z), model.generate(z)),
                 (there.reconstruct(x, labels), model.reconstruct(x, labels)),
                 (there.noise(4, tg.Generator(0)), z)):
        assert a.device == "cuda:0"
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
