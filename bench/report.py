"""Tables for the README, from stored figures.

``python -m bench.report`` prints them; ``--write README.md`` puts each between its markers, ``<!-- table: NAME -->``
and ``<!-- end -->``; ``--check README.md`` fails where the file differs from the stored figures. NAME is an operation
(``decode.onehot``), ``refinements``, ``networks``, ``latency``, ``startup`` or ``goals``, or for a GPU ``gpu``,
``gpu-bandwidth`` or ``gpu-latency``; ``NAME MACHINE`` takes the figures of one machine, and without it the tables of
all machines follow each other. ``accuracy`` is what ``python -m bench.accuracy`` found.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import goals, results
from bench.accuracy import __main__ as accuracy
from bench.gpu import tables as gpu
from bench.machine import RESULTS
from bench.throughput import ALLOCATING, OUT
from bench.workloads import ONE_HOT, PEAKS, RANDOM, SHAPES

Results = dict[str, Any]

_MARKED = re.compile(r"(<!-- table: (?P<name>[^\n]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
MISSED = "missed"
ACCURACY = RESULTS / "accuracy" / "refinements.json"
# What the README opens with: heatmaps, then bitmaps
PROOF = (
    ("decode.argmax", "D4", RANDOM),
    ("decode.argmax dark", "D4", PEAKS),
    ("decode.soft_argmax", "D4", RANDOM),
    ("decode.center_of_mass", "D4", RANDOM),
    *((operation, "N1", ONE_HOT) for operation in ("decode.onehot", "encode.onehot", "encode.box")),
)


def caption(found: Results) -> str:
    """One line that says where and how the figures were measured."""
    machine = found["machine"]
    if "gpu" in machine:
        return gpu.caption(machine)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    return (
        f"{machine['cpu']} ({machine['target']}), {machine['threads']} threads ({machine['threading_layer']}), "
        f"load {machine['load']:.1f} before, {machine['date']}, `{machine['command']}`, "
        f"revision {machine['revision']}; Python {machine['python']}, {versions}."
    )


def throughput(found: Results, *operations: str) -> str:
    """A row for each workload; times are medians of the same rounds, the spread half of what lies between quartiles.

    Of several operations each row begins with the last word of its own.
    """
    rows = [row for row in _of_kind(found, "throughput") if row["operation"] in operations]
    if not rows:
        return ""
    shapes = list(SHAPES)
    rows.sort(key=lambda row: (shapes.index(row["workload"]), row["dtype"], row["content"]))
    peers = list(dict.fromkeys(name for row in rows for name in row["peers"]))
    scaled = {name for row in rows for name, peer in row["peers"].items() if peer["scaled_by"] != 1}
    head = ["maps", "pixels", "ms", "spread", "GB/s", "ceiling, ms", "of the ceiling", "goal", "allocating, ms"]
    body = []
    for row in rows:
        given, new = row["operations"][OUT], row["operations"][ALLOCATING]
        wanted = goals.fraction(row)
        reached = given["fraction_of_ceiling"]
        body.append(
            [
                "×".join(map(str, row["shape"])),
                row["dtype"] + ("" if row["content"] == "one-hot" else f", {row['content']}"),
                _ms(given["median"]),
                f"{(given['q3'] - given['q1']) / given['median'] / 2:.0%}",
                f"{given['gigabytes_per_second']:.1f}",
                f"{_ms(row['ceiling']['median'])} ({row['ceiling']['best']})",
                f"{reached:.2f}",
                "" if wanted is None else _verdict(reached >= wanted, f"{wanted:.2f}"),
                _ms(new["median"]),
                *(_times(row["peers"].get(name), given["median"]) for name in peers),
            ]
        )
    if len(operations) > 1:
        head.insert(0, "")
        body = [[row["operation"].split()[-1], *cells] for row, cells in zip(rows, body, strict=True)]
    titles = [f"{name}{'*' if name in scaled else ''}" for name in peers]
    note = "\n\n\\* timed on a few of the images, and scaled." if scaled else ""
    return _table([*head, *titles], body) + note


def proof(found: Results) -> str:
    """A row for each operation on float32 maps, and for each network: what the README opens with."""
    body = []
    rows = {(row["operation"], row["workload"], row["content"]): row for row in _of_kind(found, "throughput")
            if row["dtype"] == "float32"}  # fmt: skip
    for chosen in PROOF:
        row = rows.get(chosen)
        if row is not None:
            given = row["operations"][OUT]
            rivals = ", ".join(f"{name} {_times(peer, given['median'])}" for name, peer in row["peers"].items())
            maps = "×".join(map(str, row["shape"]))
            fraction = f"{given['fraction_of_ceiling']:.0%} of the ceiling"
            body.append([f"`{row['operation']}`", maps, _ms(given["median"]), fraction, rivals])
    for row in _of_kind(found, "network"):
        if "times PyTorch" in row["goals"]:
            figures = row["figures"]
            fraction = f"{figures['of the multiply-adds']:.0%} of all multiply-adds"
            rival = f"PyTorch {_digits(figures['times PyTorch'])}×"
            body.append(["`CoordNet`", row["title"], _ms(row["times"]["network"]["median"]), fraction, rival])
    return _table(["", "maps, float32", "ms", "of what the machine can do", "others take"], body) if body else ""


def latency(found: Results) -> str:
    """Microseconds of one call."""
    rows = [[name, f"{1e6 * times['median']:.2f}"] for name, times in _calls(found, "latency").items()]
    return _table(["one 64×64 image, float32", "µs a call"], rows) if rows else ""


def startup(found: Results) -> str:
    """Seconds from before the first import."""
    rows = [[name, f"{times['median']:.2f}"] for name, times in _calls(found, "startup").items()]
    return _table(["in a new process", "s"], rows) if rows else ""


def networks(found: Results) -> str:
    """A row for each network: its time, and each figure beside its goal."""
    rows = list(_of_kind(found, "network"))
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    body = []
    for row in rows:
        figures = (_network_figure(row, name) if name in row["figures"] else "" for name in names)
        body.append([row["title"], _ms(row["times"]["network"]["median"]), *figures])
    return _table(["`CoordNet`, float32", "ms", *names], body)


def _network_figure(row: dict[str, Any], name: str) -> str:
    figure, wanted = row["figures"][name], row["goals"].get(name)
    shown = _digits(figure)
    return shown if wanted is None else _verdict(figure >= wanted, f"{shown} (goal {wanted:g})")


def all_goals(found: Results) -> str:
    """Every goal beside what was measured."""
    body = []
    rows = list(_of_kind(found, "throughput"))
    for goal in goals.FRACTIONS:
        for label in goal.labels:
            for dtype in goal.dtypes:
                size = "×".join(map(str, SHAPES[label]))
                title = f"`{goal.operation}`, {size} {dtype} {goal.content}, fraction of the ceiling"
                row = next((r for r in rows if goal.applies(r) and (r["workload"], r["dtype"]) == (label, dtype)), None)
                reached = None if row is None else row["operations"][OUT]["fraction_of_ceiling"]
                is_met = reached is not None and reached >= goal.at_least
                shown = "not measured" if reached is None else _verdict(is_met, f"{reached:.2f}")
                body.append([title, f"≥ {goal.at_least:.2f}", shown])
    for limit in goals.LIMITS:
        figure = limit.measured(_calls(found, limit.benchmark))
        is_met = figure is not None and figure <= limit.at_most
        shown = "not measured" if figure is None else _verdict(is_met, f"{figure:.2f} {limit.unit}")
        body.append([limit.title, f"≤ {limit.at_most:g} {limit.unit}", shown])
    for row in _of_kind(found, "network"):
        for name, wanted in row["goals"].items():
            figure = row["figures"].get(name)
            shown = "not measured" if figure is None else _verdict(figure >= wanted, _digits(figure))
            body.append([f"`CoordNet`, {row['title']}, {name}", f"≥ {wanted:g}", shown])
    return _table(["", "goal", "measured"], body)


def tables(found: Results) -> dict[str, str]:
    """All tables of one machine, by name."""
    if "gpu" in found["machine"]:
        of_gpu = gpu.tables(list(found["benchmarks"].values()))
        return {name: f"{_table(*table)}\n\n{caption(found)}" for name, table in of_gpu.items()}
    operations = dict.fromkeys(row["operation"] for row in _of_kind(found, "throughput"))
    refined = [operation for operation in operations if operation.startswith("decode.argmax ")]
    made = {operation: throughput(found, operation) for operation in operations if operation not in refined}
    drawn = ("encode.gaussian", "encode.splat", "encode.offsets")
    targets = [operation for operation in operations if operation.startswith(drawn)]
    bins = [operation for operation in operations if operation.endswith(".simcc")]
    made |= {
        "targets": throughput(found, *targets) if targets else "",
        "simcc": throughput(found, *bins) if bins else "",
        "proof": proof(found),
        "refinements": throughput(found, *refined),
        "networks": networks(found),
        "latency": latency(found),
        "startup": startup(found),
        "goals": all_goals(found),
    }
    return {name: f"{table}\n\n{caption(found)}" for name, table in made.items() if table}


def filled(text: str, machines: Sequence[Results]) -> str:
    """`text` with the tables between its markers."""
    made = {found["machine"]["name"]: tables(found) for found in machines}

    def body(marked: re.Match[str]) -> str:
        name, _, machine = marked["name"].partition(" ")
        if name == "accuracy":
            return f"{marked[1]}\n{accuracy.table(results.load(ACCURACY)['rows'])}\n\n{marked[4]}"
        wanted = [machine] if machine else list(made)
        chosen = [made[each][name] for each in wanted if name in made.get(each, {})]
        if not chosen:
            known = sorted({name for each in made.values() for name in each})
            raise KeyError(f"table {marked['name']!r}: expected one of {known} of {sorted(made)}")
        return f"{marked[1]}\n{(chr(10) * 2).join(chosen)}\n\n{marked[4]}"

    return _MARKED.sub(body, text)


def _of_kind(found: Results, kind: str) -> Iterable[dict[str, Any]]:
    return (row for row in found["benchmarks"].values() if row["kind"] == kind)


def _calls(found: Results, kind: str) -> dict[str, Any]:
    key = {"latency": "calls", "startup": "starts"}[kind]
    return {name: times for row in _of_kind(found, kind) for name, times in row[key].items()}


def _verdict(is_met: bool, shown: str) -> str:
    return shown if is_met else f"**{shown} {MISSED}**"


def _ms(seconds: float) -> str:
    return _digits(1e3 * seconds)


def _times(peer: dict[str, Any] | None, median: float) -> str:
    return "" if peer is None else f"{_digits(peer['median'] / median)}×"


def _digits(number: float) -> str:
    """Three digits, but no exponent."""
    for limit, places in ((1, 3), (10, 2), (100, 1)):
        if number < limit:
            return f"{number:.{places}f}"
    return f"{number:.0f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    text = ["---" if i < 2 else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, text, *body))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Tables from stored figures.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="put the tables into FILE")
    action.add_argument("--check", type=Path, metavar="FILE", help="fail if FILE differs from the stored figures")
    parser.add_argument("--results", type=Path, nargs="+", help="stored figures (default: all of bench/results)")
    given = parser.parse_args(arguments)
    machines = [results.load(path) for path in given.results or results.stored()]
    path = given.write or given.check
    if path is None:
        for found in machines:
            print("\n\n".join(f"## {name}\n\n{table}" for name, table in tables(found).items()))
        return 0
    before = path.read_text()
    after = filled(before, machines)
    if given.write:
        path.write_text(after)
        return 0
    sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), "stored"))
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
