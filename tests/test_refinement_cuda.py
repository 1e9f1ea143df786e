"""`decode.argmax` between the pixels, on a GPU: in the simulator and as sm_90 machine code."""

import numpy as np
import pytest
from numba import config, types
from numba.np.numpy_support import from_dtype

import fastcoord as fc
from fastcoord import _decode_cuda, _lanes
from fastcoord import _refinement as refinement
from fastcoord.decode._argmax import cuda as argmax
from fastcoord.results import Status
from tests import peer_conventions
from tests.agreement import assert_agrees
from tests.test_cuda import FORMS, LAYOUT, WORDS, Foreign, choose, on_host, placement_types
from tests.test_refinement import REFINED, gaussians, noisy

in_simulator = pytest.mark.simulator
needs_compiler = pytest.mark.skipif(bool(config.ENABLE_CUDASIM), reason="the simulator replaces the compiler")
methods = pytest.mark.parametrize("refine", refinement.METHODS)


def agrees(heatmaps, **options):
    decoded = on_host(fc.decode.argmax(Foreign(heatmaps), **options))
    assert_agrees(REFINED, decoded, (heatmaps,), options)
    return decoded


@in_simulator
@methods
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_the_reference_in_the_simulator(monkeypatch, refine, form):
    choose(monkeypatch, form)
    if form != "warps":
        monkeypatch.setattr(_decode_cuda, "THREADS", 2 * _lanes.WARP)
    agrees(noisy(5, (24, 20), noise=0.01), refine=refine)
    agrees(noisy(3, (24, 20), noise=0.05, seed=4)[:, ::-1, 1:], refine=refine, threshold=0.9)
    for shape in ((1, 1), (1, 7), (4, 5)):
        agrees(noisy(1, shape), refine=refine)
    if form == "warps":
        agrees(noisy(2, (17, 18), "float64"), refine=refine)
        agrees((noisy(2, (17, 18)).clip(0, 1) * 255).astype(np.uint8), refine=refine)


@in_simulator
@methods
def test_edges_in_the_simulator(refine):
    flat = np.stack([np.full((19, 20), value, np.float32) for value in (1, 0, -2, np.inf, 1e-33)])
    agrees(flat, refine=refine, sigma=1)
    for bad in (np.nan, np.inf, -np.inf):
        heatmaps = gaussians([[9.3, 8.4]] * 3, (19, 20), dtype="float32")
        for heatmap, (row, column) in zip(heatmaps, ((8, 9), (8, 10), (3, 3)), strict=True):
            heatmap[row, column] = bad
        agrees(heatmaps, refine=refine, nan="ignore")
    for size, options in ((3, {"blur": 5, "sigma": 1}), (37, {"blur": 19, "sigma": 5})):
        agrees(noisy(2, (40, 40)), refine=refine, **options)
        assert size


@in_simulator
@pytest.mark.parametrize(
    ("library", "refine"), [(library, refine) for library, known in refinement.COMPATIBLE.items() for refine in known]
)
def test_conventions_of_other_libraries_in_the_simulator(library, refine):
    shape = (15, 14)
    strong = noisy(4, shape, noise=0.01, seed=9)
    edges = gaussians([[0.3, 0.2], [1.1, 1], [12.8, 13], [2, 7], [1, 7], [12, 7], [7, 0.4]], shape, 1.5, "float32")
    empty = np.stack([np.zeros(shape), np.full(shape, -1.0)]).astype(np.float32)
    heatmaps = np.concatenate([strong, strong[:2] * np.float32(1e-3), strong[:1] * np.float32(90), edges, empty])
    decoded = on_host(fc.decode.argmax(Foreign(heatmaps), refine=refine, compat=library))
    for heatmap, xy, score, status in zip(heatmaps, decoded.xy, decoded.score, decoded.status, strict=True):
        wanted, peak = peer_conventions.decoded(heatmap, library, refine)
        assert score == peak
        assert bool(status & Status.EMPTY) == (peak <= 0)
        np.testing.assert_allclose(xy, wanted, rtol=0, atol=2e-4)


def kernel_types(dtype, working):
    pixels, number = types.CPointer(from_dtype(np.dtype(dtype))), types.float64 if dtype == "float64" else types.float32
    counts, integer = (types.int64, types.int64), types.int64
    given = (types.CPointer(number), integer, integer, integer, number, number)
    working, out = from_dtype(np.dtype(working)), types.CPointer(number)
    options = working, types.boolean, number, *given, *placement_types(out)
    return types.void(pixels, LAYOUT, *counts, *options, out, out, WORDS)


KERNELS = [
    *((f"{refine}", argmax.refining("warps", 4, refine, None), "float32", "float32") for refine in refinement.METHODS),
    ("dark, blocks", argmax.refining("blocks", 4, "dark", None), "float32", "float32"),
    ("gaussian uint8", argmax.refining("warps", 16, "gaussian", None), "uint8", "int32"),
    ("dark_udp mmpose", argmax.refining("warps", 4, "dark_udp", "mmpose"), "float32", "float32"),
    ("mmpose", argmax.refining("warps", 4, None, "mmpose"), "float32", "float32"),
    ("gaussian float64", argmax.refining("warps", 2, "gaussian", None), "float64", "float64"),
]


@needs_compiler
def test_kernels_compile_to_what_they_should(capsys):
    from tests.machine_code import compile_kernel, table  # imports the compiler, which the simulator replaces

    codes = [compile_kernel(kernel, kernel_types(*given), name=name) for name, kernel, *given in KERNELS]
    with capsys.disabled():
        print(f"\n\nsm_90 machine code\n{table(codes)}")
    for code, (name, _kernel, dtype, _working) in zip(codes, KERNELS, strict=True):
        assert (code.stack, code.spills) == (0, 0), name
        assert bool(code.float64) == (dtype == "float64"), name
        assert not code.memory("ATOM", "ATOMG", "ATOMS", "RED", "REDG"), name
        assert code.registers <= (96 if dtype != "float64" else 128), name  # 20 and 16 warps on a multiprocessor
        if dtype == "float32":
            assert code.memory()["LDG.E.128"] >= 4, name
