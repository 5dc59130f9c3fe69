"""Module: registration, walking, modes, hooks, copies, repr."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.inner = nn.Linear(n, n)
        self.scale = nn.Parameter(tg.ones((n,)))
        self.register_buffer("calls", tg.zeros((), dtype="int64"))
        self.register_buffer("scratch", tg.zeros((n,)), persistent=False)
        self.register_parameter("nothing", None)

    def forward(self, x):
        return self.inner(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Block(3)
        self.tail = nn.Sequential(nn.ReLU(), nn.Linear(3, 2), nn.Dropout(0.5))

    def forward(self, x):
        return self.tail(self.first(x))


# -- what belongs to a module --------------------------------------------------------------------


def test_names_in_pytorchs_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "first.scale", "first.inner.weight", "first.inner.bias", "tail.1.weight", "tail.1.bias"]
    assert [n for n, _ in net.named_buffers()] == ["first.calls", "first.scratch"]
    assert list(net.state_dict()) == ["first.scale", "first.calls", "first.inner.weight",
                                      "first.inner.bias", "tail.1.weight", "tail.1.bias"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "first.inner", "tail", "tail.0",
                                                   "tail.1", "tail.2"]
    assert [n for n, _ in net.named_children()] == ["first", "tail"]
    assert next(net.named_parameters("net"))[0] == "net.first.scale"
    assert list(net.parameters(recurse=False)) == []


def test_a_shared_parameter_is_yielded_once_and_saved_under_both_names():
    a, b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    b.weight = a.weight
    both = nn.Sequential(a, b, a)
    assert len(list(both.parameters())) == 1
    assert len(list(both.modules())) == 3
    assert list(both.state_dict()) == ["0.weight", "1.weight", "2.weight"]


def test_assigning_replaces_and_none_keeps_the_name():
    layer = nn.Linear(2, 2)
    layer.bias = None
    assert len(list(layer.parameters())) == 1
    layer.bias = nn.Parameter(tg.ones((2,)))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    with pytest.raises(TypeError, match=r"cannot assign a Tensor to the parameter 'weight'"):
        layer.weight = tg.ones((2, 2))
    with pytest.raises(TypeError, match=r"cannot assign a int to the submodule 'first'"):
        net = Net()
        net.first = 3
    with pytest.raises(TypeError, match=r"cannot assign a list to the buffer 'calls'"):
        Block(2).calls = [1]
    del layer.bias
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    with pytest.raises(AttributeError, match="Linear has no attribute 'bias'"):
        layer.bias


def test_a_buffer_stays_a_buffer_when_it_is_assigned_to():
    block = Block(2)
    block.calls = tg.ones((), dtype="int64")
    assert dict(block.named_buffers())["calls"].item() == 1


def test_registering_a_taken_or_impossible_name():
    block = Block(2)
    for name, words in [("forward", "exists already"), ("a.b", r"no '\.'"), ("", "not empty")]:
        with pytest.raises(KeyError, match=words):
            block.register_buffer(name, None)
        with pytest.raises(KeyError, match=words):
            block.add_module(name, nn.ReLU())
        with pytest.raises(KeyError, match=words):
            block.register_parameter(name, None)
    with pytest.raises(TypeError, match=r"must be an nn\.Parameter or None, got Tensor"):
        block.register_parameter("new", tg.ones((2,)))
    with pytest.raises(TypeError, match="must be a Tensor or None, got int"):
        block.register_buffer("new", 3)
    with pytest.raises(TypeError, match=r"must be an nn\.Module or None, got int"):
        block.add_module("new", 3)


def test_forgetting_super_init_says_so():
    class Forgot(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    class Empty(nn.Module):
        def __init__(self):
            self.size = 3

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first in Forgot.__init__"):
        Forgot()
    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first in Empty.__init__"):
        list(Empty().parameters())
    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first in Empty.__init__"):
        Empty()(tg.ones((2,)))


def test_lookup_by_path():
    net = Net()
    assert net.get_submodule("tail.1") is net.tail[1]
    assert net.get_submodule("") is net
    assert net.get_parameter("first.inner.bias") is net.first.inner.bias
    assert net.get_buffer("first.calls") is net.first.calls
    with pytest.raises(AttributeError, match=r"no submodule '7' \(looking for 'tail.7'\)"):
        net.get_submodule("tail.7")
    with pytest.raises(AttributeError, match="no parameter 'calls'"):
        net.get_parameter("first.calls")


def test_parameter_shares_a_tensors_memory_and_may_be_frozen():
    t = tg.zeros((3,))
    p = nn.Parameter(t)
    assert p.requires_grad and np.shares_memory(p.data, t.data)
    assert not nn.Parameter(t, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="only floating point"):
        nn.Parameter(tg.arange(3))
    assert type(p * 2) is tg.Tensor


# -- modes, gradients, conversion ----------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    net = Net()
    assert not any(m.training for m in net.eval().modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(TypeError, match="True or False"):
        net.train("yes")


def test_requires_grad_and_zero_grad():
    net = Net().eval()
    net.first.requires_grad_(False)
    net(tg.ones((4, 3))).sum().backward()
    assert net.first.scale.grad is None and net.tail[1].weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert not net.tail[1].weight.grad.data.any()
    net.zero_grad()
    assert net.tail[1].weight.grad is None


def test_to_keeps_parameter_objects_and_integer_buffers():
    net = Net().eval()
    net(tg.ones((4, 3))).sum().backward()
    before = list(net.parameters())
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype.name for p in net.parameters()} == {"float64"}
    assert {p.grad.dtype.name for p in net.parameters()} == {"float64"}
    assert net.first.calls.dtype == np.int64 and net.first.scratch.dtype == np.float64
    assert net(tg.ones((4, 3), dtype="float64")).dtype == np.float64
    assert net.to("float32").first.scale.dtype == np.float32
    assert net.to(tg.ones((1,), dtype="float16"), device="cpu").first.scale.dtype == np.float16
    with pytest.raises(TypeError, match="floating point dtypes, got int64"):
        net.to("int64")


def test_to_makes_a_graph_that_used_the_old_values_stale():
    layer = nn.Linear(2, 2)
    loss = (layer(tg.ones((1, 2))) ** 2).sum()
    layer.double()
    with pytest.raises(RuntimeError, match="modified after it was used"):
        loss.backward()


def test_apply_visits_children_first():
    seen = []
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["ReLU", "Tanh", "Sequential", "Sequential"]


# -- hooks ---------------------------------------------------------------------------------------


def test_forward_hooks_see_and_replace():
    layer = nn.Linear(2, 2)
    log = []
    pre = layer.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    post = layer.register_forward_hook(lambda m, args, out: log.append((m, args[0], out)))
    out = layer(tg.ones((1, 2)))
    assert np.array_equal(out.data[0], layer.bias.data)
    assert log[0][0] is layer and not log[0][1].data.any() and log[0][2] is out
    pre.remove()
    post.remove()
    post.remove()
    assert not np.array_equal(layer(tg.ones((1, 2))).data[0], layer.bias.data)
    with layer.register_forward_hook(lambda m, args, out: out * 0):
        assert not layer(tg.ones((1, 2))).data.any()
    assert layer(tg.ones((1, 2))).data.any() and len(log) == 1


def test_a_hook_may_remove_itself_while_it_runs():
    layer = nn.Identity()
    handles = []
    handles.append(layer.register_forward_hook(lambda *_: handles[0].remove()))
    count = []
    layer.register_forward_hook(lambda *_: count.append(1))
    layer(1), layer(1)
    assert len(count) == 2


# -- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_separate(clone):
    net = Net().eval()
    net.tail.append(nn.Linear(2, 2))
    net.tail[3].weight = net.tail[1].weight = nn.Parameter(tg.ones((2, 3)))  # shared
    twin = clone(net)
    assert type(twin) is Net and not twin.training
    assert repr(twin) == repr(net) and list(twin.state_dict()) == list(net.state_dict())
    assert twin.tail[1].weight is twin.tail[3].weight
    assert isinstance(twin.first.scale, nn.Parameter) and twin.first.scale.requires_grad
    with tg.no_grad():
        twin.first.scale.assign_(5)
    assert (net.first.scale.data == 1).all()
    assert twin.first.scale is twin.get_parameter("first.scale")


# -- containers ----------------------------------------------------------------------------------


def test_sequential_as_a_list():
    a, b, c, d = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Tanh()
    seq = nn.Sequential(a, b).append(c).extend([d])
    assert len(seq) == 4 and seq[-1] is d and list(seq) == [a, b, c, d] and b in seq
    assert list(seq[1:3]) == [b, c] and list(seq[1:3].state_dict()) == ["2.weight", "2.bias"]
    part = seq[1:3].append(d)
    assert list(part) == [b, c, d]
    seq[1] = d
    assert seq[1] is d
    del seq[1]
    assert list(seq) == [a, c, d] and list(seq.state_dict())[2] == "1.weight"
    seq.insert(0, b)
    assert list(seq) == [b, a, c, d] and seq.pop() is d and len(seq) == 3
    with pytest.raises(IndexError, match="index 3 is out of range for 3"):
        seq[3]
    with pytest.raises(TypeError, match=r"must be nn\.Modules, got function"):
        seq.append(tg.randn)


def test_sequential_with_names():
    seq = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), act=nn.ReLU(), last=nn.Linear(2, 1)))
    assert seq.last is seq[2] and list(seq.state_dict())[-1] == "last.bias"
    assert seq(tg.ones((3, 2))).shape == (3, 1)
    del seq[1]
    assert [n for n, _ in seq.named_children()] == ["first", "last"]


def test_module_list_and_dict():
    items = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert len(list(items.parameters())) == 6 and isinstance(items[1:], nn.ModuleList)
    assert len(items + [nn.ReLU()]) == 4
    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(2, 2)})
    table["c"] = nn.Tanh()
    assert list(table) == ["a", "b", "c"] and "b" in table and len(table) == 3
    assert [type(m).__name__ for m in table.values()] == ["ReLU", "Linear", "Tanh"]
    assert list(table.state_dict()) == ["b.weight", "b.bias"]
    assert isinstance(table.pop("a"), nn.ReLU) and list(table.keys()) == ["b", "c"]
    with pytest.raises(KeyError, match=r"no module 'x'; there are \['b', 'c'\]"):
        table["x"]
    with pytest.raises(KeyError, match="'keys' exists already"):
        table["keys"] = nn.ReLU()
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        items(tg.ones((1, 2)))


def test_parameter_list():
    plist = nn.ParameterList([tg.ones((2,)), nn.Parameter(tg.zeros((3,)))])
    plist.append(tg.ones((1,)))
    assert [p.shape for p in plist.parameters()] == [(2,), (3,), (1,)]
    assert list(plist.state_dict()) == ["0", "1", "2"]


# -- showing -------------------------------------------------------------------------------------


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def build(lib):
        return lib.Sequential(
            lib.Conv2d(3, 8, 3, 2, 1, groups=1, bias=False), lib.BatchNorm2d(8), lib.ReLU(),
            lib.Sequential(lib.ConvTranspose2d(8, 8, 4, 2, 1, output_padding=1), lib.Dropout(0.1)),
            lib.Flatten(), lib.Linear(4, 2), lib.LayerNorm(2), lib.Embedding(5, 2, padding_idx=0),
            lib.ModuleList([lib.Linear(2, 2), lib.Linear(2, 2), lib.Tanh()]),
            lib.ModuleDict({"x": lib.GELU(), "y": lib.Softmax(dim=1)}), lib.LeakyReLU(0.2),
            lib.LayerNorm(2, bias=False), lib.GroupNorm(1, 2), lib.ReLU(True), lib.Upsample(size=3),
            lib.ELU(inplace=True), lib.PReLU(), lib.AvgPool2d(2), lib.MaxPool2d(2))
    assert repr(build(nn)) == repr(build(torch.nn))
