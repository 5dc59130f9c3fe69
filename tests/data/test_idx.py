"""read_idx: round trips, and damaged files that are named."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygen.data import DataError, read_idx

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx_bytes(array):
    header = struct.pack(">HBB", 0, CODES[array.dtype.name], array.ndim)
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    return header + lengths + array.astype(array.dtype.newbyteorder(">")).tobytes()


@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    packed=st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory, array, packed):
    path = tmp_path_factory.getbasetemp() / "array.idx"
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    read = read_idx(path)
    assert read.dtype == array.dtype and read.dtype.isnative and read.flags.writeable
    np.testing.assert_array_equal(read, array)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "it has 0 bytes; the header alone takes 4"),
        (b"\x89PNG....", "magic number 0x89504e47; expected 0x0000TTDD"),
        (b"\0\0\x0a\x01" + GOOD[4:], "magic number 0x00000a01"),
        (GOOD[:10], "it has 10 bytes; a header of 3 axes takes 16"),
        (GOOD[:-1], r"23 bytes follow the header; shape \(2, 3, 4\) of uint8 takes 24"),
        (GOOD + b"!", "25 bytes follow the header"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"data", "4 bytes follow the header"),
        (gzip.compress(GOOD, mtime=0)[:-9], "gzip stream .* is damaged"),
        (gzip.compress(GOOD, mtime=0)[:30] + b"\0\0" + gzip.compress(GOOD)[32:], "is damaged"),
    ],
)
def test_a_damaged_file_is_named_with_what_was_expected(tmp_path, data, message):
    path = tmp_path / "train-images.idx"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@given(position=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_file_never_reads_as_other_data(tmp_path_factory, position, bit):
    data = bytearray(gzip.compress(GOOD, mtime=0))
    data[position % len(data)] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.idx.gz"
    path.write_bytes(data)
    try:
        read = read_idx(path)
    except DataError:
        return
    np.testing.assert_array_equal(read.ravel(), np.arange(24))  # a flag or the time stamp
