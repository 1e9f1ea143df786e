"""What a CUDA kernel compiles to, found without a GPU or a driver.

`compile_kernel` goes the way of a launch, through Numba, NVVM and nvJitLink, and nvdisasm lists the instructions. So a
test can ask for registers, spills, instructions in float64, and the width of each load and store.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cuda.bindings import nvjitlink
from cuda.pathfinder import find_nvidia_binary_utility
from numba import cuda


@dataclass(frozen=True)
class MachineCode:
    """One compiled kernel. Stack and spills are bytes a thread, shared memory (but the dynamic) bytes a block."""

    name: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    ptx: str = field(repr=False)
    sass: str = field(repr=False)

    @property
    def opcodes(self) -> Counter[str]:
        """How often each instruction occurs, with its modifiers; without the padding."""
        opcodes = Counter(_INSTRUCTION.findall(self.sass))
        del opcodes["NOP"]
        return opcodes

    @property
    def instructions(self) -> int:
        return self.opcodes.total()

    @property
    def spills(self) -> int:
        """Bytes stored and loaded because the registers do not suffice."""
        return self.spill_stores + self.spill_loads

    @property
    def float64(self) -> int:
        """Instructions that compute with or convert float64, in the PTX or in the machine code, whichever has more."""
        in_sass = sum(count for opcode, count in self.opcodes.items() if _FLOAT64.search(opcode))
        return max(in_sass, len(_FLOAT64_IN_PTX.findall(self.ptx)))

    def memory(self, *operations: str) -> dict[str, int]:
        """How often each width of access occurs, as `{"LDG.E.128": 4, "STG.E": 1}`: of all memory, or of e.g. "LDG"."""
        accesses: Counter[str] = Counter()
        for opcode, count in self.opcodes.items():
            operation, *modifiers = opcode.split(".")
            if operation in (operations or _MEMORY):
                accesses[".".join([operation, *(modifier for modifier in modifiers if modifier in _WIDTHS)])] += count
        return dict(sorted(accesses.items()))


_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)")
_FLOAT64 = re.compile(r"^D(?:ADD|FMA|MMA|MNMX|MUL|SET|SETP)\b|\bF64\b|64H\b")
_FLOAT64_IN_PTX = re.compile(r"^\s*(?:@!?%p\d+\s+)?[a-z][\w.]*\.f64\b", re.MULTILINE)
# Generic, global, local and shared memory. "E" only says that addresses have 64 bits.
_MEMORY = {"LD", "ST", "LDG", "STG", "LDL", "STL", "LDS", "STS", "ATOM", "ATOMG", "ATOMS", "RED", "REDG"}
_WIDTHS = {"E", "U8", "S8", "U16", "S16", "64", "128"}


def compile_kernel(
    function: Callable[..., None],
    signature: Any,
    cc: tuple[int, int] = (9, 0),
    *,
    name: str | None = None,
    **options: Any,
) -> MachineCode:
    """The machine code of a kernel for arguments of these types.

    Parameters
    ----------
    function
        A kernel: a `cuda.jit` function, whose options hold, or the plain Python function.
    signature
        Numba types: `types.void(types.float32[::1], …)` or a tuple of the arguments' types.
    cc
        The GPU's compute capability.
    name
        For the table; the function's name unless said.
    options
        In place of those of `cuda.jit`: `fastmath`, `launch_bounds`, `max_registers`.
    """
    options = {**getattr(function, "targetoptions", {}), **options}
    python_function = getattr(function, "py_func", function)
    with _device(cc):
        code, _returned = cuda.compile(
            python_function,
            signature,
            device=False,
            abi="numba",
            cc=cc,
            output="ltoir",  # as `cuda.jit` does: the machine code is not that of the PTX of `cuda.compile_ptx`
            fastmath=bool(options.get("fastmath")),
            launch_bounds=options.get("launch_bounds"),
        )
    flags = ["-lto", "-arch=sm_{}{}".format(*cc)]
    if options.get("max_registers"):
        flags.append(f"-maxrregcount={options['max_registers']}")
    ptx, _log = _link(code, [*flags, "-ptx"])
    cubin, log = _link(code, [*flags, "-Xptxas=-v"])
    usage = _USAGE.findall(log)
    frames = _FRAME.findall(log)  # the kernel's, and those of functions that are not inlined
    if not usage or not frames:
        raise RuntimeError(f"nvJitLink does not say what the kernel uses:\n{log}")
    stack, spill_stores, spill_loads = (sum(map(int, sizes)) for sizes in zip(*frames, strict=True))
    return MachineCode(
        name=name or python_function.__name__,
        registers=max(int(registers) for registers, _shared in usage),
        stack=stack,
        spill_stores=spill_stores,
        spill_loads=spill_loads,
        shared=max(int(shared or 0) for _registers, shared in usage),
        ptx=ptx.decode(),
        sass=_disassemble(cubin),
    )


_USAGE = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@contextmanager
def _device(cc: tuple[int, int]) -> Iterator[None]:
    """A current device that need not exist: Numba asks it for its compute capability when a kernel calls a function."""
    device = SimpleNamespace(compute_capability=cc)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        yield


def _link(code: bytes, flags: list[str]) -> tuple[bytes, str]:
    """What nvJitLink makes of the code, and its remarks."""
    linker = nvjitlink.create(len(flags), flags)
    try:
        try:
            nvjitlink.add_data(linker, nvjitlink.InputType.LTOIR, code, len(code), "kernel")
            nvjitlink.complete(linker)
        except nvjitlink.nvJitLinkError as error:
            error.add_note(_read(linker, "error_log").decode())
            raise
        return _read(linker, "linked_ptx" if "-ptx" in flags else "linked_cubin"), _read(linker, "info_log").decode()
    finally:
        nvjitlink.destroy(linker)


def _read(linker: int, what: str) -> bytes:
    buffer = bytearray(getattr(nvjitlink, f"get_{what}_size")(linker))
    getattr(nvjitlink, f"get_{what}")(linker, buffer)
    return bytes(buffer)


def _disassemble(cubin: bytes) -> str:
    nvdisasm = find_nvidia_binary_utility("nvdisasm")
    if nvdisasm is None:
        raise RuntimeError("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [nvdisasm, "--print-code", path]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def table(codes: Iterable[MachineCode]) -> str:
    """The kernels, one a line, with their registers, bytes, instructions and memory accesses."""
    rows = [("kernel", "registers", "stack", "spills", "shared", "instructions", "float64", "loads and stores")]
    for code in codes:
        numbers = (code.registers, code.stack, code.spills, code.shared, code.instructions, code.float64)
        accesses = ", ".join(f"{count} {operation}" for operation, count in code.memory().items())
        rows.append((code.name, *map(str, numbers), accesses))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers, accesses in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, accesses]))
    return "\n".join(lines)
