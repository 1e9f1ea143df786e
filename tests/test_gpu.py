"""Every operation on a GPU: skipped where there is none. What a simulator or a compiler can tell is in test_cuda.py."""

import functools

import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _draw_cuda
from fastcoord.network import cuda as network
from fastcoord.results import Decoded
from tests import cases
from tests.agreement import assert_agrees
from tests.contract import encoders, single_decoders
from tests.operations import NETWORKS, OPERATIONS, members
from tests.test_cuda import DECODE, FORMS, check, choose, has_turn
from tests.test_cuda_network import on_device
from tests.test_network import assert_gradients_agree, case_of

pytestmark = pytest.mark.gpu

# What one process compiles: each type of pixels has kernels of its own.
TYPES = {"floats": ("float32",), "bytes": ("bool", "uint8", "int8"), "words": ("uint16", "int16", "int32", "int64")}
TYPES["halves"] = ("float16", "bfloat16")


@pytest.fixture
def torch():
    library = pytest.importorskip("torch")
    if not library.cuda.is_available():
        pytest.skip("needs a PyTorch with CUDA")
    return library


def dtype_of(operation, case):
    if operation.name.startswith("encode."):
        wanted = case.options.get("dtype", "float32")
        return wanted if wanted == "bfloat16" else np.dtype(wanted).name
    return np.asarray(case.arguments[0]).dtype.name


@pytest.mark.parametrize("types", [*TYPES, "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_agrees_with_reference(monkeypatch, operation, form, types):
    has_one_form = operation.room == "simcc"
    if (form == "parts" or has_one_form) and not has_turn(operation, 0, form):
        pytest.skip("it has no such form")
    if form != "blocks" and types in ("words", "float64") and not has_one_form:
        pytest.skip("each type in one form, the others in all: to compile takes a second each")
    chosen = [case for case in operation.cases() if dtype_of(operation, case) in TYPES.get(types, (types,))]
    chosen = [case for case in chosen if not (case.is_only_cpu or (case.is_half and operation.room == "CoordNet"))]
    if not chosen:
        pytest.skip("it has no such types on a GPU")
    is_of_warps = form == "warps" and not has_one_form
    choose(monkeypatch, form)
    monkeypatch.setattr(network, "BAND", 1 << 31 if form == "warps" else 1 << 10)
    monkeypatch.setattr(_draw_cuda, "TILE", 1 << 31 if form == "warps" else 1 << 10)
    tried = 0
    for case in chosen:
        if is_of_warps and case.name.startswith("large"):  # no map of 64 KiB and more has one warp
            continue
        try:
            check(operation, case)
        except Exception as error:
            error.add_note(f"in the case {case}")
            raise
        tried += 1
    assert tried


@pytest.mark.parametrize("shape", [(3, 2, 3, 3, 9, 20), (2, 3, 1, 1, 9, 20), (2, 1, 9, 9, 4, 5), (11, 1, 3, 3, 64, 48)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_gradients_of_networks(shape, dtype):
    net, images = case_of(shape, dtype, 2)
    assert_gradients_agree(net, images, on_device(net))


# Arrays of other libraries


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "float64"])
def test_tensors_on_a_stream(torch, dtype):
    images = cases.one_hot((3, 6, 40, 50), dtype)
    tensor = torch.as_tensor(images, device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        decoded = fc.decode.onehot(tensor)
        again = fc.encode.onehot(decoded.xy, shape=(40, 50), dtype=tensor.dtype)
        from_nhwc = fc.decode.onehot(tensor.movedim(1, -1).contiguous(), axes=(1, 2))
        from_crop = fc.decode.onehot(tensor[..., 1:, 2:])
        torch.cuda.current_stream().synchronize()
    assert decoded.xy.device == again.device == tensor.device
    assert torch.equal(again, tensor)
    assert torch.equal(from_nhwc.xy, decoded.xy)
    for result, maps in ((decoded, images), (from_crop, images[..., 1:, 2:])):
        assert_agrees(DECODE, in_numpy(result), (maps,), {})


def in_numpy(result):
    arrays = {name: None if array is None else array.cpu().numpy() for name, array in members(result).items()}
    return type(result)(**arrays) if hasattr(result, "_asdict") else arrays["maps"]


def test_a_tensor_that_requires_grad_is_refused(torch):
    with pytest.raises(TypeError, match=r"requires grad: take its \.detach\(\)"):
        fc.decode.onehot(torch.zeros(3, 4, device="cuda", requires_grad=True))


def _of_one_array(function):
    """A function of the bins of x and of y, of an array for both."""
    return lambda array, out=None: function(array, array, out=out)


def calls(torch, maps=32):
    """Each operation on tensors, as (input, function of input and `out`)."""
    random = torch.rand((maps, 17, 64, 48), device="cuda")
    points = torch.randint(0, 48, (maps, 17, 2), device="cuda").float()
    found = {}
    for operation in OPERATIONS:
        draws = operation.name.startswith("encode.")
        function = functools.partial(operation.function, **({"shape": (64, 48)} if draws else {}))
        if operation.name == "decode.simcc":
            function = _of_one_array(operation.function)
        found[operation.name] = (points if draws else random, function)
    return found


NAMES = [operation.name for operation in OPERATIONS]


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_stream_and_no_waiting(torch, name):
    array, function = calls(torch)[name]
    out = function(array)  # compiles
    wanted = in_numpy(out)
    late = torch.zeros_like(array)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        function(late)  # allocates
        torch.cuda._sleep(200_000_000)  # clock cycles: about a tenth of a second
        late.copy_(array)
        function(late, out=out)
        fresh = function(late)
        is_running = not stream.query()
    assert is_running, "the host waited for the GPU"
    stream.synchronize()
    for result in (out, fresh):
        assert_same(in_numpy(result), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_graphs_replay(torch, name):
    array, function = calls(torch)[name]
    function(array.flip(0), out=(out := function(array)))  # compiles
    inputs = array.clone()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        assert function(inputs, out=out) is out
    for content in (array, array.flip(0)):
        wanted = in_numpy(function(content))
        inputs.copy_(content)
        graph.replay()
        torch.cuda.synchronize()
        assert_same(in_numpy(out), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_results_repeat_bit_for_bit(torch, name):
    array, function = calls(torch, 512)[name]
    first = in_numpy(function(array))
    for _ in range(3):
        assert_same(in_numpy(function(array)), first)


def assert_same(result, wanted):
    """The same bits."""
    for (member, array), other in zip(members(result).items(), members(wanted).values(), strict=True):
        if array is not None:
            assert array.tobytes() == other.tobytes(), member


@pytest.mark.parametrize("shape", [(640, 17, 64, 48), (64, 17, 64, 48), (2, 3, 96, 72), (1, 2500, 3000)])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_the_largest_pixel_and_ties_are_those_of_the_cpu(torch, shape, dtype):
    numbers = np.random.default_rng(11)
    maps = numbers.integers(0, 200, size=shape).astype(dtype)
    maps[..., -1, ::2] = 201
    if dtype == "float32":
        maps[0, ..., 3, 5] = np.nan
        maps = -maps
    for nan in ("propagate", "ignore"):
        on_gpu = fc.decode.argmax(torch.as_tensor(maps, device="cuda"), nan=nan)
        for found, wanted in zip(in_numpy(on_gpu), fc.decode.argmax(maps, nan=nan), strict=True):
            np.testing.assert_array_equal(found, wanted)  # NaN of a GPU has other bits


def test_a_network_of_tensors(torch):
    net = NETWORKS["taps"]
    images = cases.dense((5, 64, 48))
    tensor = torch.as_tensor(images, device="cuda")
    assert net(tensor).device == tensor.device
    grad = torch.ones((5, 2), device="cuda")
    gradients = net.vjp(grad, tensor)
    assert {gradient.device.type for gradient in gradients} == {"cuda"}


@single_decoders
def test_arrays_of_cupy(decoder):
    cupy = pytest.importorskip("cupy")
    images = cases.one_hot((3, 6, 40, 50))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        decoded = decoder.function(cupy.asarray(images))
        stream.synchronize()
    assert isinstance(decoded.xy, cupy.ndarray)
    host = Decoded(*(None if member is None else cupy.asnumpy(member) for member in decoded))
    assert_agrees(decoder, host, (images,), {})


@encoders
def test_points_of_cupy(encoder):
    cupy = pytest.importorskip("cupy")
    points = cases.points_within((3, 6), 40, 50)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        images = encoder.function(cupy.asarray(points), shape=(40, 50))
        stream.synchronize()
    assert isinstance(images, cupy.ndarray)
    assert_agrees(encoder, cupy.asnumpy(images), (points,), {"shape": (40, 50), "dtype": np.dtype(np.float32)})
