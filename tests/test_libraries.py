"""Arrays of PyTorch and JAX on the CPU, and halves of NumPy: read in place, answered in kind, or refused in words."""

import importlib.util
import subprocess
import sys
import warnings

import numpy as np
import pytest

import fastcoord as fc
from fastcoord._libraries import library_of
from tests import cases
from tests.agreement import comparable
from tests.contract import CANVAS, filled, images, is_untouched, said, valid, with_member
from tests.operations import OPERATIONS, members

pytestmark = pytest.mark.small

GENERAL = [operation for operation in OPERATIONS if operation.is_general]
operations = pytest.mark.parametrize("operation", GENERAL, ids=str)
decoders = pytest.mark.parametrize("decoder", [o for o in GENERAL if o.room != "encode"], ids=str)
encoders = pytest.mark.parametrize("encoder", [o for o in GENERAL if o.room == "encode"], ids=str)
KINDS = ("torch", "jax")


@pytest.fixture(params=KINDS)
def kind(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param} (a CPU build will do)")
    return request.param


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def of_kind(kind, array):
    """The numbers of a NumPy array in another library; of JAX they are a copy."""
    if kind == "torch":
        import torch

        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)
    import jax

    return jax.numpy.asarray(array)


def to_numpy(array):
    if type(array).__module__ == "torch" and str(array.dtype) == "torch.bfloat16":
        import torch

        return array.view(torch.int16).numpy().view(cases.half_type("bfloat16"))
    return np.asarray(array)


def is_of_kind(kind, array):
    return type(array).__module__.split(".")[0] in {"torch": ("torch",), "jax": ("jax", "jaxlib")}[kind]


def single(operation, *batch):
    """A call that works, with numbers that JAX keeps."""
    (first,), options = valid(operation, *batch)
    return first.astype(np.float32), options


def assert_equal(result, wanted):
    for one, other in zip(members(result).values(), members(wanted).values(), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert to_numpy(one).dtype == other.dtype
            np.testing.assert_array_equal(comparable(to_numpy(one)), comparable(other))


@operations
@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 3)], ids=repr)
def test_answers_in_kind(operation, kind, batch):
    first, options = single(operation, *batch)
    result = operation.function(of_kind(kind, first), **options)
    assert_equal(result, operation.function(first, **options))
    assert all(is_of_kind(kind, array) for array in members(result).values() if array is not None)


@operations
def test_each_small_case_in_kind(operation, kind):
    count = 0
    for case in operation.cases():
        (first, *_), options = case.arguments, case.options
        wide = {np.dtype(t) for t in ("i8", "u8", "f8")} if kind == "jax" else set()
        if not case.is_small or {first.dtype, np.dtype(float) if "dtype" in options else None} & wide:
            continue
        if kind == "jax" and options.get("dtype") in ("int64", "float64"):
            continue
        if kind == "torch" and (any(n < 0 for n in first.strides) or not first.flags.aligned):
            continue  # PyTorch has no such tensors
        if any(n % first.itemsize for n in first.strides):
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            array = of_kind(kind, first)
            plain = to_numpy(array) if kind == "jax" else first  # JAX copies it in another order
            assert_equal(operation.function(array, **options), operation.function(plain, **options))
        count += 1
    assert count > 5


def test_tensors_are_read_where_they_are(torch):
    tensor = torch.zeros(4, *CANVAS)
    view = tensor[::2].transpose(1, 2)
    seen = library_of(view).read("images", view)
    assert seen.ctypes.data == view.data_ptr()
    assert seen.strides == tuple(4 * n for n in view.stride())
    half = tensor.to(torch.bfloat16)
    assert library_of(half).read("images", half).ctypes.data == half.data_ptr()


def test_jax_arrays_are_read_where_they_are():
    jax = pytest.importorskip("jax")
    array = jax.numpy.zeros((4, *CANVAS))
    first, second = (library_of(array).read("images", array) for _ in range(2))
    assert np.shares_memory(first, second)


@operations
def test_out_of_tensors(operation, torch):
    first, options = single(operation, 2)
    if operation.room == "encode":
        options["return_weight"] = True
    wanted = operation.function(first, **options)
    tensors = {
        name: None if a is None else torch.full(a.shape, 7, dtype=of_kind("torch", a).dtype)
        for name, a in members(wanted).items()
    }
    out = type(wanted)(**tensors) if hasattr(wanted, "_asdict") else tensors["maps"]
    versions = [None if a is None else a._version for a in tensors.values()]
    assert operation.function(torch.from_numpy(first), **options, out=out) is out
    assert_equal(out, wanted)
    # so autograd notices that what it may have kept is no longer what it was
    assert all(a is None or a._version > version for a, version in zip(tensors.values(), versions, strict=True))


@operations
def test_out_of_another_library(operation, torch):
    first, options = single(operation, 2)
    tensor = torch.from_numpy(first)
    out, tensors = operation.function(first, **options), operation.function(tensor, **options)
    name = next(iter(members(out)))
    with pytest.raises(TypeError, match=said("out", "expected a PyTorch tensor", "got numpy.ndarray")):
        operation.function(tensor, **options, out=with_member(tensors, name, members(out)[name]))
    with pytest.raises(TypeError, match=said("out", "expected a NumPy array", "got torch.Tensor")):
        operation.function(first, **options, out=with_member(out, name, members(tensors)[name]))


@operations
def test_out_of_tensors_that_do_not_fit(operation, torch):
    first, options = single(operation, 2)
    tensor = torch.from_numpy(first)
    out = operation.function(tensor, **options)
    name = next(iter(members(out)))
    array = members(out)[name]
    for wrong, error, words in (
        (array[:1], ValueError, "expected shape"),
        (array.double(), TypeError, "expected dtype"),
        (array.clone().requires_grad_(), TypeError, r"\.detach\(\)"),
        (array.to("meta"), TypeError, "on the CPU"),
        (array[:1].expand_as(array), ValueError, "broadcast"),
    ):
        with pytest.raises(error, match=words):
            operation.function(tensor, **options, out=with_member(out, name, wrong))


@operations
def test_out_of_a_tensor_that_overlaps(operation, torch):
    first, options = single(operation, 2)
    result = members(operation.function(first, **options))
    name, array = next(iter(result.items()))
    memory = torch.zeros(max(first.size, array.size), dtype=torch.float32)
    shared = memory[: first.size].view(first.shape)
    shared[...] = torch.from_numpy(first)
    out = filled(operation.function(first, **options))
    tensors = {n: None if a is None else of_kind("torch", a) for n, a in members(out).items()}
    tensors[name] = memory[: array.size].view(array.shape)
    given = type(out)(**tensors) if hasattr(out, "_asdict") else tensors["maps"]
    with pytest.raises(ValueError, match="overlaps"):
        operation.function(shared, **options, out=given)
    np.testing.assert_array_equal(shared.numpy(), first)


@operations
def test_nothing_is_written_into_arrays_of_jax(operation):
    jax = pytest.importorskip("jax")
    first, options = single(operation, 2)
    array = jax.numpy.asarray(first)
    out = operation.function(array, **options)
    with pytest.raises(TypeError, match=said("out", "expected None", "JAX")):
        operation.function(array, **options, out=out)


# Gradients of networks

NETWORK = fc.CoordNet(np.arange(-9, 9).reshape(2, 3, 1, 3) / 8, [0.5, 1], [[1, -0.5], [0.25, 2]], [3, 4])


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "bfloat16"])
def test_gradients_in_kind(kind, dtype):
    maps = cases.dense((2, 3, 5, 7))
    maps = cases.halved(maps, dtype) if dtype in cases.HALVES else maps.astype(dtype)
    grad = np.array([1, -0.5, 0.25, 2, 0, -3] * 2, np.float32).reshape(2, 3, 2)
    wanted = NETWORK.vjp(grad, maps.astype(np.float32))
    array = of_kind(kind, maps)
    for given in (of_kind(kind, grad), grad.tolist(), of_kind(kind, grad.astype(cases.half_type("bfloat16")))):
        found = NETWORK.vjp(given, array)
        assert all(is_of_kind(kind, gradient) for gradient in found)
        assert_equal(found, wanted)
    assert_equal(NETWORK.vjp(grad, maps), wanted)


def test_gradients_of_arrays_of_two_libraries_are_refused(torch):
    maps, grad = images(2), np.ones((2, 2), np.float32)
    tensors = torch.from_numpy(maps), torch.from_numpy(grad)
    with pytest.raises(TypeError, match=said("grad: expected a PyTorch tensor", "got numpy.ndarray")):
        NETWORK.vjp(grad, tensors[0])
    with pytest.raises(TypeError, match=said("grad: expected a NumPy array", "got torch.Tensor")):
        NETWORK.vjp(tensors[1], maps)
    with pytest.raises(TypeError, match=said("grad: expected", r".detach()")):
        NETWORK.vjp(tensors[1].requires_grad_(), tensors[0])
    with pytest.raises(TypeError, match=said("images: expected", r".detach()")):
        NETWORK.vjp(grad, tensors[0].clone().requires_grad_())


# What is refused

_TENSORS = {
    "requires grad": (lambda torch, t: t.requires_grad_(), r"\.detach\(\)"),
    "sparse": (lambda torch, t: t.to_sparse(), r"\.to_dense\(\)"),
    "compressed": (lambda torch, t: t.reshape(-1, 2).to_sparse_csr(), r"\.to_dense\(\)"),
    "quantised": (lambda torch, t: torch.quantize_per_tensor(t, 1.0, 0, torch.quint8), r"\.dequantize\(\)"),
    "meta": (lambda torch, t: t.to("meta"), "on the CPU or a CUDA GPU; got float32 on meta"),
    "complex": (lambda torch, t: t.to(torch.complex64), "got complex64"),
    "conjugate": (lambda torch, t: t.to(torch.complex64).conj(), "resolve_conj"),
    "negative": (lambda torch, t: torch.imag(t.to(torch.complex64).conj()), "resolve_neg"),
    "uint64": (lambda torch, t: t.to(torch.uint64), "got uint64"),
    "float8": (lambda torch, t: t.to(torch.float8_e4m3fn), "got float8_e4m3fn"),
    "grad and bfloat16": (lambda torch, t: t.to(torch.bfloat16).requires_grad_(), r"\.detach\(\)"),
    "sparse bfloat16": (lambda torch, t: t.to(torch.bfloat16).to_sparse(), r"\.to_dense\(\)"),
}


@operations
@pytest.mark.parametrize("name", _TENSORS)
def test_tensors_that_are_refused(operation, name, torch):
    change, remedy = _TENSORS[name]
    first, options = single(operation, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse and quantised tensors are about to change, says PyTorch
        tensor = change(torch, torch.from_numpy(first))
    with pytest.raises(TypeError, match=said(operation.argument, "expected", "got")) as refusal:
        operation.function(tensor, **options)
    assert refusal.match(remedy)


@operations
def test_a_mapped_tensor_is_refused(operation, torch):
    first, options = single(operation, 2)
    with pytest.raises(TypeError, match=said(operation.argument, "expected", "got")):
        torch.vmap(lambda tensor: operation.function(tensor, **options))(torch.from_numpy(first))


def test_a_parameter_that_needs_no_grad_is_a_tensor(torch):
    parameter = torch.nn.Parameter(torch.from_numpy(images(2)), requires_grad=False)
    assert_equal(fc.decode.onehot(parameter), fc.decode.onehot(images(2)))


@operations
def test_traced_arrays_are_refused(operation):
    jax = pytest.importorskip("jax")
    first, options = single(operation, 2)
    for transform in (jax.jit, jax.vmap):
        with pytest.raises(TypeError, match=said(operation.argument, "expected", "traced", "jax.pure_callback")):
            transform(lambda array: operation.function(array, **options))(jax.numpy.asarray(first))


@encoders
def test_types_that_jax_would_replace_are_refused(encoder):
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=said("dtype", "got float64, which becomes float32", "jax_enable_x64")):
        encoder.function(jax.numpy.zeros((2, 2)), shape=CANVAS, dtype="float64")


# Halves


@decoders
@pytest.mark.parametrize("name", cases.HALVES)
def test_halves_are_what_they_are_in_float32(decoder, name):
    maps = cases.halved(cases.dense((2, 5, 21)), name)
    assert_equal(decoder.function(maps), decoder.function(maps.astype(np.float32)))


@encoders
@pytest.mark.parametrize("name", cases.HALVES)
def test_halves_by_any_name(encoder, name, torch):
    ours = cases.half_type(name)
    xy = cases.points_within((2,), *CANVAS)
    wanted = encoder.function(xy, shape=CANVAS).astype(ours).astype(np.float32)
    for dtype in (name, ours, ours.type, getattr(torch, name)):
        maps = encoder.function(xy, shape=CANVAS, dtype=dtype)
        assert maps.dtype == ours
        np.testing.assert_array_equal(maps.astype(np.float32), wanted)
        tensor = encoder.function(torch.from_numpy(xy), shape=CANVAS, dtype=dtype)
        assert tensor.dtype == getattr(torch, name)
        np.testing.assert_array_equal(tensor.float().numpy(), wanted)


@encoders
@pytest.mark.parametrize("name", cases.HALVES)
def test_points_of_halves(encoder, name):
    xy = cases.halved(cases.points_within((5,), *CANVAS).astype(np.float32), name)
    wanted = encoder.function(xy.astype(np.float32), shape=CANVAS)
    np.testing.assert_array_equal(encoder.function(xy, shape=CANVAS), wanted)


@encoders
def test_out_of_halves(encoder):
    half = cases.half_type("bfloat16")
    xy = cases.points_within((2,), *CANVAS)
    out = np.full((2, *CANVAS), 7, half)
    assert encoder.function(xy, shape=CANVAS, dtype=half, out=out) is out
    np.testing.assert_array_equal(out, encoder.function(xy, shape=CANVAS).astype(half))
    wrong = filled(encoder.function(xy, shape=CANVAS, dtype="float16"))
    with pytest.raises(TypeError, match=said("out: expected dtype bfloat16; got", "f2")):
        encoder.function(xy, shape=CANVAS, dtype=half, out=wrong)
    assert is_untouched(wrong)


def test_bfloat16_without_its_package():
    script = """
import sys
sys.modules["ml_dtypes"] = None
import fastcoord as fc
try:
    fc.encode.onehot([1, 2], shape=(5, 5), dtype="bfloat16")
except TypeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "NumPy has only with the package ml_dtypes" in done.stdout
