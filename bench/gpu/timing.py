"""How a time is taken on a GPU: between two events on the stream, round many calls.

Calls that are compared with memory's bandwidth visit as many buffers as no cache holds. Short ones are recorded in a
graph: what is timed then is the GPU's work alone, not how fast Python asks for it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

DEVICE = "cuda"
Call = Callable[[], Any]
CACHE = 4 * (64 << 20)  # bytes that buffers which are visited in turn make together, at least: four times the L2


def buffers_for(nbytes: int) -> int:
    """How many buffers of so many bytes are visited in turn."""
    return max(2, -(-CACHE // nbytes)) if nbytes < CACHE else 1


def run_all(calls: Sequence[Call]) -> None:
    for call in calls:
        call()


def recorded(calls: Sequence[Call]) -> Call:
    """One replay of all the calls, as a graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run_all(calls)  # compiles, and allocates what a library keeps
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run_all(calls)
    return graph.replay


def seconds(calls: Sequence[Call], budget: float, in_graph: bool, least: int = 5, most: int = 101) -> list[float]:
    """Seconds of one call, for each round of all of them."""
    run_all(calls)
    torch.cuda.synchronize()
    one_round = recorded(calls) if in_graph else lambda: run_all(calls)
    one_round()
    torch.cuda.synchronize()
    pairs: list[tuple[Any, Any]] = []
    start = time.perf_counter()
    while len(pairs) < least or (len(pairs) < most and time.perf_counter() - start < budget):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        one_round()
        last.record()
        last.synchronize()
        pairs.append((first, last))
    return [1e-3 * first.elapsed_time(last) / len(calls) for first, last in pairs]


def host_seconds(call: Call, calls: int = 200, rounds: int = 9) -> list[float]:
    """Seconds of one call on the host, which does not wait for the GPU, for each round of so many."""
    call()
    torch.cuda.synchronize()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        taken.append((time.perf_counter() - start) / calls)
        torch.cuda.synchronize()
    return taken
