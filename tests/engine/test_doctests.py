"""Every example in a docstring of tinygen gives what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import tinygen


def modules(path=tinygen.__path__, prefix="tinygen."):
    """The names of all modules whose optional packages are installed."""
    for found in pkgutil.iter_modules(path, prefix):
        if found.name in ("tinygen.kernels", "tinygen.__main__"):
            continue
        yield found.name
        if found.ispkg:
            package = importlib.util.find_spec(found.name)
            yield from modules(package.submodule_search_locations, f"{found.name}.")


@pytest.mark.parametrize("name", ["tinygen", *modules()])
def test_doctests(name, monkeypatch, tmp_path):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("tinygen"):
            raise
        pytest.skip(f"{error.name} is not installed")
    monkeypatch.chdir(tmp_path)
    tinygen.manual_seed(0)
    with np.printoptions():
        failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed, f"{failed} examples in {name} failed; see the output above"


def test_the_engine_has_examples():
    """If doctest found none, the test above would prove nothing."""
    finder = doctest.DocTestFinder()
    names = ["tinygen.tensor", "tinygen.transforms", "tinygen.ops.reduce", "tinygen.ops.linalg"]
    counts = [sum(len(t.examples) for t in finder.find(importlib.import_module(n))) for n in names]
    assert all(counts)
