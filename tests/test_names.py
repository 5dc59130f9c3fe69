"""Names that a user of another library types: they work, or the error says what to write."""

import types

import numpy as np
import pytest

import tinygen as tg

# Housekeeping of NumPy's that has nothing to do with tensors.
NUMPY_ONLY = """array2string array_repr array_str asarray_chkfinite asfortranarray asmatrix
    base_repr binary_repr bmat broadcast_shapes busday_count busday_offset
    common_type datetime_as_string datetime_data einsum_path format_float_positional
    format_float_scientific fromfile fromiter frompyfunc fromregex fromstring
    genfromtxt get_include get_printoptions getbufsize geterr geterrcall info
    is_busday isfortran isnat isrealobj iscomplexobj isscalar issubdtype iterable
    mask_indices may_share_memory min_scalar_type mintypecode nested_iters packbits
    piecewise poly polyadd polyder polydiv polyfit polyint polymul polysub polyval
    printoptions ravel_multi_index real_if_close require roots save savez_compressed
    setbufsize seterr seterrcall shares_memory show_config show_runtime spacing test
    trim_zeros typename unpackbits unwrap block apply_over_axes bitwise_count isreal
    matvec vecmat select"""


def message(module, name):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    return str(caught.value)


def says_what(text):
    return "; use " in text or ": " in text or "did you mean" in text


def test_every_function_of_numpy_works_or_has_a_hint():
    names = [n for n in np.__all__ if callable(getattr(np, n))
             and not isinstance(getattr(np, n), type)]
    silent = [n for n in names if not hasattr(tg, n) and n not in NUMPY_ONLY.split()
              and not says_what(message(tg, n))]
    assert not silent


@pytest.mark.parametrize("name, words", [
    ("cat", r"tinygen has no 'cat'; use tinygen.concat(xs, axis=...)"),
    ("softplus_", "use x = tinygen.softplus(x, ...)"),
    ("complex", "numbers are real here"),
    ("quantize_per_tensor", "no quantised tensors"),
    ("layer_nrom", "did you mean 'layer_norm'?"),
])
def test_hints_of_the_package(name, words):
    assert words in message(tg, name)


@pytest.mark.parametrize("name, words", [
    ("median", "use tinygen.median(x, ...)"), ("eigvalsh", "use tinygen.linalg.eigvalsh(x, ..."),
    ("numpyy", "did you mean 'numpy'?"), ("sparse_mask", "no sparse tensors"),
    ("stride", "x.data"),
])
def test_hints_of_a_tensor(name, words):
    assert words in message(tg.ones(2), name)


def test_every_hint_names_something_that_exists():
    """The first word of a hint is a function, a namespace or a method of tinygen."""
    from tinygen._elsewhere import WORDS
    for name, text in WORDS.items():
        owner = tg
        path = text.split("(")[0].split(":")[0].split(" ")[0]
        for part in path.split("."):
            assert part in dir(owner), f"{name}: tinygen.{path} does not exist"
            owner = getattr(owner, part)


def documented(module):
    return sorted(n for n in dir(module) if not n.startswith("_") and isinstance(
        getattr(module, n), (types.BuiltinFunctionType, types.FunctionType)))


# Functions of PyTorch's own machinery.
TORCH_ONLY = """alias_copy block_diag broadcast_shapes classproperty cond compiled constant_pad_nd
    choose_qparams conv_tbc convolution feature_dropout fork wait hash_tensor fused
    import_ir_ init_num_threads is_same_size is_signed is_nonzero is_distributed
    is_inference is_anomaly is_deterministic is_warn is_storage merge_type native_
    nonzero_static norm_except_dim parse_ prepare_ profiler promote_types
    segment_reduce sym_ svd_lowrank pca_lowrank lobpcg thread_safe typename
    unify_type vander while_loop batch_norm_ get_file_path get_device get_default
    get_deterministic get_float32 get_num_interop set_default set_deterministic
    set_float32 set_num_interop set_flush set_warn set_anomaly geqrf orgqr ormqr
    lu_unpack slice_inverse affine_grid_generator grid_sampler max_pool1d_with
    embedding_renorm isreal to_dlpack lstm gru rnn_ unsafe_ _copy are_deterministic
    clear_ row_indices col_indices values_copy indices_copy empty_permuted
    detach_copy fill mvlgamma stft"""


def test_functions_of_torch_work_or_have_a_hint():
    torch = pytest.importorskip("torch")
    asked = [n for n in documented(torch) if not any(part in n for part in TORCH_ONLY.split())]
    silent = [n for n in asked if not hasattr(tg, n) and not says_what(message(tg, n))]
    assert not silent


@pytest.mark.parametrize("module, name, words", [
    ("nn", "Dense", "use nn.Linear"), ("nn", "LazyConv2d", "use nn.Conv2d"),
    ("nn.init", "xavier_uniform", "use xavier_uniform_"),
    ("nn.utils", "clip_grad_norm", "use clip_grad_norm_"), ("linalg", "eig", "eigh"),
])
def test_hints_of_namespaces(module, name, words):
    owner = tg
    for part in module.split("."):
        owner = getattr(owner, part)
    assert words in message(owner, name)


def test_layers_and_functions_of_torch_work_or_have_a_hint():
    torch = pytest.importorskip("torch")
    for theirs, ours in ((torch.nn, tg.nn), (torch.optim, tg.optim), (torch.linalg, tg.linalg),
                         (torch.nn.init, tg.nn.init), (torch.nn.utils, tg.nn.utils)):
        names = [n for n in dir(theirs) if not n.startswith("_") and n != "factory_kwargs"
                 and getattr(getattr(theirs, n), "__module__", "").startswith("torch")]
        silent = [n for n in names if not hasattr(ours, n)
                  and not any(w in message(ours, n) for w in ("; ", ": ", "did you mean"))]
        assert not silent


@pytest.mark.parametrize("name, words", [
    ("get_extra_state", "register_buffer"), ("to_empty", "use to(device)"),
    ("register_load_state_dict_post_hook", "load_weights"),
])
def test_hints_of_a_module(name, words):
    assert words in message(tg.nn.Linear(1, 1), name)


def test_methods_of_a_torch_module_work_or_have_a_hint():
    torch = pytest.importorskip("torch")
    layer = tg.nn.Linear(1, 1)
    names = {n for n in dir(torch.nn.Module) if not n.startswith(("_", "T_"))}
    names -= {"dump_patches", "call_super_init"}
    silent = [n for n in names if not hasattr(layer, n) and "; " not in message(layer, n)]
    assert not silent
