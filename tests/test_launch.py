"""What CUDA kernels share, and the two tools that test kernels without a GPU: the simulator and the machine code."""

import runpy
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from numba import config, cuda, njit, types
from numba.core.errors import TypingError
from numba.extending import overload
from numba.np.numpy_support import from_dtype

from fastcoord import _lanes
from fastcoord._lanes import FULL_WARP, WARP, block_merge, warp_merge
from fastcoord._launch import device_of, launch, require_cuda, stream_of
from fastcoord._wide import load_eight, load_four, load_sixteen, load_two, store_four

needs_compiler = pytest.mark.skipif(
    bool(config.ENABLE_CUDASIM or config.DISABLE_JIT), reason="needs NUMBA_ENABLE_CUDASIM and NUMBA_DISABLE_JIT unset"
)


def in_simulator(test):
    skip = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="needs NUMBA_ENABLE_CUDASIM=1")
    return pytest.mark.simulator(skip(test))


FLOATS = types.float32[::1]
INTEGERS = types.int64[::1]
WARPS_AND_SIZES = [(1, 1), (1, 31), (1, 32), (3, 33), (3, 1000), (8, 257), (32, 4097)]


def compile_kernel(*arguments, **options):
    from tests.machine_code import compile_kernel  # imports the compiler, which the simulator replaces

    return compile_kernel(*arguments, **options)


# Functions as formula.py writes them: plain njit, on tuples of one type and of several, and a generic operation.

formula = njit(nogil=True, error_model="numpy", forceinline=True)


def select(mask, a, b):
    return a if mask else b


@overload(select)
def _select(mask, a, b):
    return lambda mask, a, b: a if mask else b


@formula
def add(state, other):
    return state[0] + other[0], state[1] + other[1]


@formula
def first_maximum(state, other):
    value, index = state
    better = other[0] > value or (other[0] == value and other[1] < index)
    return select(better, other[0], value), select(better, other[1], index)


@formula
def chain(state, other):
    """Runs of consecutive numbers: (first, last, whether nothing is missing or out of order)."""
    joined = state[2] & other[2] & select(state[1] + 1 == other[0], np.int32(1), np.int32(0))
    return state[0], other[1], joined


add_in_warp, add_in_block = warp_merge(add), block_merge(add)
first_maximum_in_block = block_merge(first_maximum)
chain_in_warp, chain_in_block = warp_merge(chain), block_merge(chain)


@cuda.jit
def sum_in_warp(values, out):
    state = (np.float32(0), np.int64(0))
    for index in range(cuda.laneid, values.size, WARP):
        state = add(state, (values[index], np.int64(1)))
    state = add_in_warp(state)
    if cuda.laneid == 0:
        out[0] = state[0]
        out[1] = np.float32(state[1])


@cuda.jit
def sum_and_maximum_in_block(values, sums, indices):
    """Three merges, one behind the other, of two kinds of states."""
    total = (np.float32(0), np.float32(0))
    best = (np.float32(-np.inf), values.size)
    index = np.int64(cuda.threadIdx.x)
    while index < values.size:  # range() with a step known at run time only would divide 64-bit integers
        total = add(total, (values[index], np.float32(1)))
        best = first_maximum(best, (values[index], index))
        index += cuda.blockDim.x
    total = add_in_block(total)
    best = first_maximum_in_block(best)
    again = add_in_block((np.float32(cuda.threadIdx.x), np.float32(1)))
    if cuda.threadIdx.x == 0:
        sums[0] = total[0]
        sums[1] = total[1]
        sums[2] = again[0]
        indices[0] = best[1]


@cuda.jit
def order_of_merges(out):
    thread = np.int64(cuda.threadIdx.x)
    in_warp = chain_in_warp((thread, thread, np.int32(1)))
    in_block = chain_in_block((thread, thread, np.int32(1)))
    if cuda.laneid == 0:
        out[1 + thread // WARP] = in_warp[2]
    if thread == 0:
        out[0] = in_block[2] * in_block[1]


@in_simulator
@pytest.mark.parametrize("size", [size for warps, size in WARPS_AND_SIZES if warps == 1] + [100])
def test_warp_merge_sums(size):
    values = np.arange(size, dtype=np.float32) - 7
    out = np.full(2, np.nan, np.float32)
    sum_in_warp[1, WARP](values, out)
    assert out.tolist() == [values.sum(), size]


@in_simulator
@pytest.mark.parametrize(("warps", "size"), WARPS_AND_SIZES)
def test_block_merge_sums_and_finds_the_first_maximum(warps, size):
    values = np.random.default_rng(size).integers(-8, 8, size).astype(np.float32)  # many maxima; every sum is exact
    sums, indices = np.full(3, np.nan, np.float32), np.full(1, -1)
    threads = warps * WARP
    sum_and_maximum_in_block[1, threads](values, sums, indices)
    assert sums.tolist() == [values.sum(), size, threads * (threads - 1) // 2]
    assert indices == values.argmax()


@in_simulator
@pytest.mark.parametrize("warps", [1, 2, 3, 7, 8])
def test_merges_keep_the_order_of_the_threads(warps):
    out = np.full(1 + warps, -1)
    order_of_merges[1, warps * WARP](out)
    assert out.tolist() == [warps * WARP - 1] + [1] * warps


@needs_compiler
def test_merges_compile_to_shuffles():
    code = compile_kernel(sum_in_warp, types.void(FLOATS, FLOATS))
    assert code.opcodes["SHFL.DOWN"] == 5 * (1 + 2)  # an int64 takes two
    assert (code.shared, code.stack, code.spills, code.float64) == (0, 0, 0, 0)

    code = compile_kernel(sum_and_maximum_in_block, types.void(FLOATS, FLOATS, INTEGERS))
    assert code.shared == 32 * (4 + 4) + 32 * (8 + 8)  # one array for each of the two block merges
    assert code.opcodes["BAR.SYNC.DEFER_BLOCKING"] == 3 * 2
    assert (code.stack, code.spills, code.float64) == (0, 0, 0)
    assert not code.memory("ATOM", "ATOMG", "ATOMS", "RED", "REDG")
    assert not any(opcode.startswith("CALL") for opcode in code.opcodes)


# 16 bytes at a time

LOADS = [
    (load_two, np.float64),
    (load_two, np.int64),
    (load_four, np.float32),
    (load_four, np.int32),
    (load_eight, np.float16),
    (load_eight, np.uint16),
    (load_eight, np.int16),
    (load_sixteen, np.uint8),
    (load_sixteen, np.int8),
    (load_sixteen, np.bool_),
]


def copier(load, items):
    @cuda.jit
    def copy(source, target):
        start = cuda.grid(1) * items
        if start + items <= source.size:
            loaded = load(source, start)
            for position in range(items):
                target[start + position] = loaded[position]

    return copy


@cuda.jit
def copy_by_four(source, target):
    start = cuda.grid(1) * 4
    if start + 4 <= source.size:
        a, b, c, d = load_four(source, start)
        store_four(target, start, a, b, c, d)


@in_simulator
@pytest.mark.parametrize(("load", "dtype"), LOADS)
def test_loads_read_consecutive_items(load, dtype):
    items = 16 // np.dtype(dtype).itemsize
    source = np.arange(5 * items).astype(dtype)
    target = np.zeros_like(source)
    copier(load, items)[1, WARP](source, target)
    np.testing.assert_array_equal(target, source)


@in_simulator
def test_store_four_writes_consecutive_items():
    source = np.arange(100, dtype=np.float32)
    target = np.full(100, np.nan, np.float32)
    copy_by_four[1, WARP](source, target)
    np.testing.assert_array_equal(target, source)


@in_simulator
def test_loads_refuse_what_would_fault_on_a_gpu():
    target = np.zeros(8, np.float32)
    shifted = cuda.to_device(np.zeros(9, np.float32))[1:]
    with pytest.raises(ValueError, match="item 0 is not at a multiple of 16 bytes"):
        copy_by_four[1, 1](shifted, target)
    with pytest.raises(TypeError, match="expected items of 4 bytes, got float64"):
        copy_by_four[1, 1](np.zeros(8), target)
    with pytest.raises(TypeError, match=r"expected a contiguous array of one dimension, got strides \(8,\)"):
        copy_by_four[1, 1](cuda.to_device(np.zeros(16, np.float32))[::2], target)


@needs_compiler
@pytest.mark.parametrize(("load", "dtype"), LOADS)
def test_loads_compile_to_one_instruction(load, dtype):
    items = 16 // np.dtype(dtype).itemsize
    array = types.Array(from_dtype(np.dtype(dtype)), 1, "C")
    code = compile_kernel(copier(load, items), types.void(array, array))
    assert code.memory("LDG", "LD") == {"LDG.E.128": 1}
    assert (code.stack, code.spills) == (0, 0)


@needs_compiler
@pytest.mark.parametrize("array", [FLOATS, types.int32[::1]])
def test_store_four_compiles_to_one_instruction(array):
    code = compile_kernel(copy_by_four, types.void(array, array))
    assert code.memory() == {"LDG.E.128": 1, "STG.E.128": 1}
    assert (code.stack, code.spills, code.float64) == (0, 0, 0)


@needs_compiler
@pytest.mark.parametrize("array", [types.float32[:], types.float32[:, ::1], types.float64[::1], types.uint8[::1]])
def test_compiled_loads_refuse_other_arrays(array):
    with pytest.raises(TypingError, match="expected a contiguous array of one dimension with 32-bit items, got array"):
        compile_kernel(copy_by_four, types.void(array, FLOATS))


# The driver, the device, the stream


def test_without_a_driver_the_error_says_so(monkeypatch):
    require_cuda.cache_clear()
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "cuda_error", lambda: "\nCUDA driver library cannot be found.\n")
    with pytest.raises(
        RuntimeError, match=r"needs an NVIDIA driver and a GPU, .*: CUDA driver library cannot be found\."
    ):
        require_cuda()
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    assert require_cuda() is None
    require_cuda.cache_clear()


@in_simulator
def test_the_simulator_counts_as_a_gpu():
    assert require_cuda() is None


def test_without_numba_cuda_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    with pytest.raises(ImportError, match=r"pip install 'fastcoord\[cuda13\]'"):
        runpy.run_path(_lanes.__file__)


def test_stream_of_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(1)
    streams = {tensor.device: SimpleNamespace(cuda_stream=7)}
    monkeypatch.setattr(torch.cuda, "current_stream", streams.get)
    assert stream_of(tensor) == 7


def test_stream_of_cupy(monkeypatch):
    array_type = type("ndarray", (), {"device": SimpleNamespace(id=3)})
    streams = {3: SimpleNamespace(ptr=8)}
    cupy = SimpleNamespace(ndarray=array_type, cuda=SimpleNamespace(get_current_stream=streams.get))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert stream_of(array_type()) == 8


def test_stream_of_another_array_is_the_default_stream():
    assert stream_of(object()) == 0


def test_device_of(monkeypatch):
    monkeypatch.setattr(cuda, "gpus", ["first", "second"])
    kind_cuda = 2
    assert device_of(SimpleNamespace(__dlpack_device__=lambda: (kind_cuda, 1))) == "second"
    assert isinstance(device_of(object()), nullcontext)


@in_simulator
def test_a_launch_on_an_arrays_device():
    source = cuda.to_device(np.arange(8, dtype=np.float32))
    target = cuda.device_array(8, np.float32)
    with device_of(source):
        launch(copy_by_four, 1, WARP, source, source, target)
    assert target.copy_to_host().tolist() == list(range(8))


# What formula.py may be written with


@cuda.jit
def kernel_with_formulas(values, out):
    index = cuda.grid(1)
    if index < out.size:
        value, _index = first_maximum((values[index], np.int64(0)), (np.float32(2), np.int64(1)))
        total, _count = add((value, np.float32(1)), (values[index], np.float32(1)))
        out[index] = select(values[index] < np.float32(0), -total, total)


@in_simulator
def test_formulas_run_in_the_simulator():
    values = np.array([-1, 0, 3], np.float32)
    out = np.zeros(3, np.float32)
    kernel_with_formulas[1, WARP](values, out)
    assert out.tolist() == [-1, 2, 6]


@needs_compiler
def test_formulas_compile_inline_and_without_float64():
    code = compile_kernel(kernel_with_formulas, types.void(FLOATS, FLOATS))
    assert ".f64" not in code.ptx
    assert not any(opcode.startswith("CALL") for opcode in code.opcodes)
    assert (code.stack, code.spills, code.float64) == (0, 0, 0)


# The simulator


@cuda.jit
def shuffle_all_ways(values, out):
    lane = cuda.laneid
    out[0, lane] = cuda.shfl_sync(FULL_WARP, values[lane], 5)
    out[1, lane] = cuda.shfl_up_sync(FULL_WARP, values[lane], 3)
    out[2, lane] = cuda.shfl_down_sync(FULL_WARP, values[lane], 3)
    out[3, lane] = cuda.shfl_xor_sync(FULL_WARP, values[lane], 7)
    odd = 0xAAAAAAAA
    if lane % 2:
        out[4, lane] = cuda.shfl_sync(odd, values[lane], 31)


@in_simulator
def test_shuffles_against_numpy():
    values = np.random.default_rng(0).random(WARP, np.float32)
    out = np.zeros((5, WARP), np.float32)
    shuffle_all_ways[1, WARP](values, out)
    lanes = np.arange(WARP)
    np.testing.assert_array_equal(out[0], values[5])
    np.testing.assert_array_equal(out[1], values[np.where(lanes >= 3, lanes - 3, lanes)])
    np.testing.assert_array_equal(out[2], values[np.where(lanes + 3 < WARP, lanes + 3, lanes)])
    np.testing.assert_array_equal(out[3], values[lanes ^ 7])
    np.testing.assert_array_equal(out[4], np.where(lanes % 2, values[31], 0))


@cuda.jit
def vote_all_ways(values, out):
    value = values[cuda.laneid]
    out[0, cuda.laneid] = cuda.ballot_sync(FULL_WARP, value > 1)
    out[1, cuda.laneid] = cuda.any_sync(FULL_WARP, value > 1)
    out[2, cuda.laneid] = cuda.all_sync(FULL_WARP, value > 1)
    out[3, cuda.laneid] = cuda.match_any_sync(FULL_WARP, value)
    cuda.syncwarp()
    out[4, cuda.laneid] = cuda.match_all_sync(FULL_WARP, value)[1]
    out[5, cuda.laneid] = cuda.syncthreads_count(value > 1)


@in_simulator
def test_votes_against_numpy():
    values = np.random.default_rng(0).integers(0, 4, WARP)
    out = np.zeros((6, WARP), np.int64)
    vote_all_ways[1, WARP](values, out)
    bits = 1 << np.arange(WARP)
    np.testing.assert_array_equal(out[0], bits[values > 1].sum())
    np.testing.assert_array_equal(out[1], 1)
    np.testing.assert_array_equal(out[2], 0)
    np.testing.assert_array_equal(out[3], [bits[values == value].sum() for value in values])
    np.testing.assert_array_equal(out[4], 0)
    np.testing.assert_array_equal(out[5], (values > 1).sum())


@cuda.jit
def barrier_in_a_branch():
    if cuda.threadIdx.x < 40:
        cuda.syncthreads()


@cuda.jit
def barrier_in_both_branches():
    if cuda.threadIdx.x < 40:
        cuda.syncthreads()
    else:
        cuda.syncthreads()


@cuda.jit
def shuffle_in_a_branch():
    if cuda.laneid < 16:
        cuda.shfl_down_sync(FULL_WARP, 1, 1)
    cuda.syncthreads()


@cuda.jit
def shuffle_from_outside_the_mask():
    if cuda.laneid < 2:
        cuda.shfl_down_sync(0b11, 1, 1)


@in_simulator
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (barrier_in_a_branch, r"deadlock(.|\n)*threads 0–39 wait in syncthreads (.|\n)*threads 40–63 have ended"),
        (barrier_in_both_branches, r"threads 0–39 wait in syncthreads (.|\n)*threads 40–63 wait in syncthreads"),
        (shuffle_in_a_branch, r"threads 0–15 wait in shfl_down_sync for lanes 0xffffffff of warp 0"),
        (
            shuffle_from_outside_the_mask,
            r"lane 2 is read but not in the mask 0x00000003(.|\n)*in CUDA thread \(\d+, 0, 0\)",
        ),
    ],
)
def test_the_simulator_finds_deadlocks(kernel, message):
    with pytest.raises(RuntimeError, match=message):
        kernel[1, 64]()
    test_formulas_run_in_the_simulator()  # and goes on


@cuda.jit
def access(array, read, write):
    array[write] = array[read]


@cuda.jit
def access_shared(out, index):
    shared = cuda.shared.array(4, np.float32)
    out[0] = shared[index]


@in_simulator
def test_the_simulator_refuses_indices_outside_an_array():
    array = np.zeros((4, 4), np.float32)
    access[1, 1](array, (0, 0), (3, 3))
    for read, write in [((0, -1), (0, 0)), ((0, 0), (-1, 0)), ((0, 0), (slice(-2, None), 0)), ((0, 4), (0, 0))]:
        with pytest.raises(IndexError):
            access[1, 1](array, read, write)
        with pytest.raises(IndexError):
            access[1, 1](cuda.to_device(array), read, write)
    with pytest.raises(IndexError):
        access_shared[1, 1](np.zeros(1, np.float32), -1)


@cuda.jit
def shared_memory_without_a_barrier(out):
    first, second = cuda.shared.array(64, np.float32, alignment=16), cuda.shared.array(64, np.float32)
    first[cuda.threadIdx.x] = cuda.threadIdx.x
    second[cuda.threadIdx.x] = 100
    out[cuda.threadIdx.x] = first[63 - cuda.threadIdx.x]


@in_simulator
def test_a_missing_barrier_shows():
    out = np.zeros(64, np.float32)
    shared_memory_without_a_barrier[1, 64](out)
    came_too_early = np.isnan(out)
    assert 10 < came_too_early.sum() < 54
    np.testing.assert_array_equal(out[~came_too_early], np.arange(64)[::-1][~came_too_early])


@cuda.jit(launch_bounds=64, max_registers=32, fastmath=True)
def divide(values, out):
    out[0] = values[0] / values[1]


@in_simulator
def test_floating_point_exceptions_are_silent_as_on_a_gpu():
    out = np.zeros(1, np.float32)
    divide[1, 1](np.zeros(2, np.float32), out)
    assert np.isnan(out[0])


@in_simulator
def test_a_simulated_device_array_looks_like_one():
    array = cuda.to_device(np.zeros((2, 3), np.float32))
    interface = array.__cuda_array_interface__
    assert (interface["shape"], interface["typestr"], interface["version"]) == ((2, 3), "<f4", 3)
    assert not hasattr(array, "__dlpack_device__")
    assert not hasattr(array, "__array_interface__")


# The machine code: what the tests of kernels ask for must be able to fail.


@cuda.jit
def with_float64(values, out):
    index = cuda.grid(1)
    out[index] = values[index] * 0.1


@cuda.jit
def with_a_local_array(values, out):
    local = cuda.local.array(1024, np.float32)
    for index in range(1024):
        local[index] = values[index]
    for index in range(1024):
        out[index] = local[index * cuda.threadIdx.x % 1024]


@formula
def mix(p, q, scale):
    return p[0] * scale + q[3], p[1] * scale + q[2], p[2] * scale + q[1], p[3] * scale + q[0]


@cuda.jit
def with_32_live_values(values, out):
    a, b, c, d = load_four(values, 0), load_four(values, 4), load_four(values, 8), load_four(values, 12)
    e, f, g, h = load_four(values, 16), load_four(values, 20), load_four(values, 24), load_four(values, 28)
    for step in range(values.size):
        scale = values[step]
        a, b, c, d = mix(a, h, scale), mix(b, a, scale), mix(c, b, scale), mix(d, c, scale)
        e, f, g, h = mix(e, d, scale), mix(f, e, scale), mix(g, f, scale), mix(h, g, scale)
    store_four(out, 0, *a)
    store_four(out, 4, *b)
    store_four(out, 8, *c)
    store_four(out, 12, *d)
    store_four(out, 16, *e)
    store_four(out, 20, *f)
    store_four(out, 24, *g)
    store_four(out, 28, *h)


@needs_compiler
def test_float64_is_found():
    code = compile_kernel(with_float64, types.void(FLOATS, FLOATS))
    assert code.float64 >= 3  # two conversions and a product
    assert code.opcodes["DMUL"] == 1
    doubles = types.float64[::1]
    assert compile_kernel(with_float64, types.void(doubles, doubles)).float64


@needs_compiler
def test_stack_and_spills_are_found():
    code = compile_kernel(with_a_local_array, types.void(FLOATS, FLOATS))
    assert code.stack == 4096
    assert code.memory("STL", "LDL")

    roomy = compile_kernel(with_32_live_values, types.void(FLOATS, FLOATS))
    assert roomy.spills == 0
    assert roomy.registers > 32
    tight = compile_kernel(with_32_live_values, types.void(FLOATS, FLOATS), max_registers=24)
    assert tight.registers <= 24
    assert min(tight.spill_stores, tight.spill_loads) > 0


@needs_compiler
def test_narrow_loads_are_found():
    code = compile_kernel(with_float64, types.void(types.uint8[::1], FLOATS))
    assert code.memory() == {"LDG.E.U8": 1, "STG.E": 1}


@needs_compiler
def test_the_options_of_a_kernel_hold():
    code = compile_kernel(divide, types.void(FLOATS, FLOATS))
    assert ".maxntid 64" in code.ptx
    assert "div.approx" in code.ptx
    assert "div.approx" not in compile_kernel(divide.py_func, types.void(FLOATS, FLOATS)).ptx


@needs_compiler
def test_a_kernel_compiles_for_several_gpus():
    for cc in [(8, 0), (9, 0), (12, 0)]:
        code = compile_kernel(sum_in_warp, types.void(FLOATS, FLOATS), cc)
        assert ".target sm_{}{}".format(*cc) in code.ptx
        assert code.opcodes["SHFL.DOWN"] == 5 * (1 + 2)


@needs_compiler
def test_the_table_lines_up():
    from tests.machine_code import table

    codes = [compile_kernel(kernel, types.void(FLOATS, FLOATS)) for kernel in (copy_by_four, with_float64)]
    header, *rows = table(codes).splitlines()
    end = header.index("float64") + len("float64")
    assert [row[end - 1] for row in rows] == ["0", str(codes[1].float64)]
    assert rows[0].endswith("  1 LDG.E.128, 1 STG.E.128")
