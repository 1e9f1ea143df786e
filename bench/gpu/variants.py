"""``python -m bench.gpu.variants``: what shares of the lanes cost, and where the host's time for a call goes."""

import argparse
import cProfile
import functools
import importlib
import io
import pstats
from typing import Any

import torch

import fastcoord as fc
from bench.gpu import table
from bench.gpu.__main__ import host_calls
from bench.gpu.timing import buffers_for, seconds
from fastcoord import _decode_cuda, _recorded
from fastcoord._decode_cuda import Share
from fastcoord._lanes import WARP

BLOCKS = [Share("blocks", threads, 1, threads) for threads in (64, 96, 128, 192, 256)]
WARPS = [Share("warps", threads, 1, WARP) for threads in (128, 256)]
WORKS = (("D1", (*WARPS, *BLOCKS)), ("D2", (*WARPS, *BLOCKS)), ("eight D2", (*WARPS, *BLOCKS)))
PARTS = [Share("parts", 256, parts, parts * 256) for parts in (264, 528, 1056, 2112, 4224, 8448)]


def shares(dtypes: list[str]) -> None:
    """Microseconds of each decoder with each share."""
    chosen = _decode_cuda.share
    modules = {name: importlib.import_module(f"fastcoord.decode._{name}.cuda") for name in ("argmax", "onehot")}
    for name, make in (("argmax", table.random_maps), ("onehot", table.one_hot_maps)):
        for dtype in dtypes:
            for label, tried in (*WORKS, ("one", PARTS)):
                shape, kind = table.SHAPES[label], getattr(torch, dtype)
                one = functools.reduce(lambda a, b: a * b, shape) * kind.itemsize
                inputs = [make(shape, kind) for _ in range(buffers_for(one))]
                found = {}
                for share in (None, *tried):
                    modules[name].share = chosen if share is None else lambda *_counts, share=share: share
                    _recorded._thread.recorded.clear()
                    try:
                        found[share] = _microseconds(getattr(fc.decode, name), inputs)
                    except Exception as error:
                        print(f"FAILED {name} {label} {dtype} {share}: {type(error).__name__}: {error}"[:300])
                modules[name].share = chosen
                _recorded._thread.recorded.clear()
                shown = ", ".join(f"{_title(share)} {microseconds:.1f}" for share, microseconds in found.items())
                print(f"{name}, {label}, {dtype}: {shown} µs", flush=True)
                del inputs
                torch.cuda.empty_cache()


def _microseconds(function: Any, inputs: list[Any]) -> float:
    outs = [function(each) for each in inputs]
    calls = [functools.partial(function, each, out=out) for each, out in zip(inputs, outs, strict=True)]
    times = sorted(seconds(calls, 0.03, True, least=7, most=25))
    return 1e6 * times[len(times) // 2]


def _title(share: Share | None) -> str:
    return "chosen" if share is None else f"{share.form} {share.parts if share.form == 'parts' else share.threads}"


def profile() -> None:
    """The functions of Python that a call spends its time in."""
    for title, call, goal in host_calls():
        if goal is None or "box" in title:
            continue
        call()
        torch.cuda.synchronize()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(500):
            call()
        profiler.disable()
        torch.cuda.synchronize()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(9)
        print(f"{title}: 500 calls")
        print("\n".join(line for line in text.getvalue().splitlines()[7:] if line.strip()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.variants", description=__doc__)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "uint8"])
    given = parser.parse_args()
    profile()
    shares(given.dtypes)


if __name__ == "__main__":
    main()
