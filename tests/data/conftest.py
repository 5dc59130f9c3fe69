"""Fixtures of the data tests: folders of their own, and the real data where it is."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tinygen.data import DataFile, catalog

REAL = os.environ.get("TINYGEN_DATA", "")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """(data folder, cache folder), both empty and in force."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    monkeypatch.setenv("TINYGEN_DATA", str(data))
    monkeypatch.setenv("TINYGEN_CACHE", str(cache))
    return data, cache


@pytest.fixture
def real_data(tmp_path_factory, monkeypatch):
    """The folder of the real data sets, with a cache of this test run's own."""
    if not Path(REAL, "mnist").is_dir():
        pytest.skip("real data: TINYGEN_DATA names no folder with mnist/ (see Makefile)")
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path_factory.getbasetemp() / "real-cache"))
    return Path(REAL)


@pytest.fixture
def known_file(monkeypatch):
    """A function that makes bytes a known data file: known_file("toy/a.bin", b"...", urls)."""

    def add(name, content, urls=()):
        digest = hashlib.sha256(content).hexdigest()
        file = DataFile(name, len(content), digest, "https://example.org/toy", tuple(urls), "MIT")
        monkeypatch.setitem(catalog.KNOWN_FILES, name, file)
        return file

    return add


@pytest.fixture
def rng():
    return np.random.default_rng(0)
