"""CUDA calls that are recorded and made again, without a GPU: what would be launched, and with which addresses."""

import struct
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _decode_cuda, _draw_cuda, _launch, _libraries, _recorded
from fastcoord.results import Decoded

torch = pytest.importorskip("torch")


def compiled(kernel, arguments):
    codes = "".join(_recorded._type(argument)[1] for argument in arguments)
    packed = "".join(code + f"{8 - struct.calcsize('<' + code)}x" for code in codes)
    return _recorded.Compiled(kernel, struct.Struct("<" + packed))


@pytest.fixture
def launches(monkeypatch):
    """Tensors of the CPU as if they were on a GPU; the list of what was launched: kernel, grid and parameters."""
    launched = []

    def submit(function, blocks, threads, stream, parameters):
        launch = next(launch for launch in made if launch.where == parameters)
        launched.append((function, blocks, threads, stream, bytes(launch.parameters)))
        return 0

    made = []
    start = _recorded.Launch.__init__

    def begin(self, *arguments):
        start(self, *arguments)
        made.append(self)

    monkeypatch.setattr(_recorded.Launch, "__init__", begin)
    monkeypatch.setattr(_recorded, "submit", submit)
    monkeypatch.setattr(_recorded, "compiled", compiled)
    monkeypatch.setattr(type(_libraries.library_of(torch.zeros(1))), "is_on_gpu", lambda library, array: True)
    monkeypatch.setattr(_launch, "stream_of", lambda array: 7)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: None, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda number: 7, raising=False)
    for module in (_decode_cuda, _draw_cuda):
        monkeypatch.setattr(module, "require_cuda", lambda: None)
        monkeypatch.setattr(module, "device_of", lambda array: nullcontext())
        monkeypatch.setattr(module, "described", lambda name, array: array.detach().resolve_neg().numpy())
    monkeypatch.setattr(_launch, "described", lambda name, array: array.detach().resolve_neg().numpy())
    monkeypatch.setattr(_launch, "_device_number", lambda array: None)
    _recorded._thread.recorded.clear()
    yield launched
    _recorded._thread.recorded.clear()


def maps(offset=0, dtype=torch.float32):
    memory = torch.zeros(3 * 48 * 64 + 64, dtype=dtype)
    first = (-memory.data_ptr() // memory.element_size()) % 16 + offset
    return memory[first : first + 3 * 48 * 64].view(3, 48, 64)


CALLS = {
    "argmax": lambda images, **out: fc.decode.argmax(images, threshold=0.5, **out),
    "onehot": lambda images, **out: fc.decode.onehot(images, **out),
    "soft_argmax": lambda images, **out: fc.decode.soft_argmax(images, covariance=True, **out),
    "center_of_mass": lambda images, **out: fc.decode.center_of_mass(images, **out),
    "box": lambda images, **out: fc.encode.box(images[:, 0, :2], shape=(48, 64), size=5, return_weight=True, **out),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("large", [False, True], ids=["", "in parts"])
def test_a_call_that_is_made_again_launches_what_it_would(launches, monkeypatch, name, large):
    if large:
        monkeypatch.setattr(_decode_cuda, "BLOCK_GROUPS", 0)
        monkeypatch.setattr(_decode_cuda, "PART", 1 << 9)
    call, first, second = CALLS[name], maps(), maps()
    out = call(first)
    count = len(launches)
    assert count == 1 + (large and name != "box")
    call(first, out=out)
    assert len(_recorded._thread.recorded) == 2
    kept = call(second)  # made again
    assert call(second, out=kept) is kept  # made again
    assert len(_recorded._thread.recorded) == 2
    _recorded._thread.recorded.clear()
    launches_again = launches[3 * count :]
    call(second, out=kept)
    kernels = [launch[:4] for launch in launches[-count:]]
    assert [launch[:4] for launch in launches_again] == kernels
    if not large:  # else kept states, whose memory is new each time, are between
        assert launches_again == launches[-count:]


def test_what_is_not_the_same_is_recorded_anew(launches):
    images = maps()
    for options in ({}, {"threshold": 0.5}, {"nan": "ignore"}, {"axes": (-1, -2)}, {"grid": fc.grid.half}):
        fc.decode.argmax(images, **options)
    fc.decode.argmax(images[:2])
    fc.decode.argmax(images.transpose(1, 2))
    fc.decode.argmax(maps(1))  # other bytes before the first multiple of 16
    fc.decode.argmax(maps(dtype=torch.float64))
    assert len(_recorded._thread.recorded) == 9
    for grid, options in ((SimpleNamespace(batch=(3,)), "crops"), (None, None), (None, ["not", "hashable"])):
        assert _recorded.recall(options, grid, images, None, lambda: "called") == "called"
    assert _recorded.recall("argmax", None, np.zeros((2, 2)), None, lambda: "called") == "called"
    assert len(_recorded._thread.recorded) == 9


def test_arrays_that_overlap_are_refused_also_when_a_call_is_made_again(launches):
    images = maps()
    out = fc.decode.argmax(images)
    fc.decode.argmax(images, out=out)
    inside = out._replace(score=images.view(-1)[:3])
    with pytest.raises(ValueError, match=r"out\.score: expected memory of its own"):
        fc.decode.argmax(images, out=inside)


def test_a_launch_that_fails_says_so(launches, monkeypatch):
    images = maps()
    fc.decode.argmax(images)
    monkeypatch.setattr(_recorded, "submit", lambda *launch: 700)
    for _ in range(2):
        with pytest.raises(_recorded.LaunchError, match="could not be launched: CUDA_ERROR_ILLEGAL_ADDRESS"):
            fc.decode.argmax(images)
        _recorded._thread.recorded.clear()


def test_calls_of_a_thread_are_few(launches, monkeypatch):
    monkeypatch.setattr(_recorded, "MOST", 3)
    for count in range(1, 9):
        fc.decode.argmax(maps()[:1].expand(count, -1, -1))
        assert len(_recorded._thread.recorded) <= 3


def test_members_of_out_are_told_apart(launches):
    found = fc.decode.argmax(maps())
    given = Decoded(torch.zeros(3, 2), torch.zeros(3), None, torch.zeros(3, dtype=torch.int32))
    assert fc.decode.argmax(maps(), out=given) is given
    with pytest.raises(TypeError, match=r"out"):
        fc.decode.argmax(maps(), out=Decoded(found.xy, None, found.score, found.status))


def test_autograd_is_told_what_is_written(launches):
    given = Decoded(torch.zeros(3, 2), torch.zeros(3), None, torch.zeros(3, dtype=torch.int32))
    versions = []
    for _ in range(3):
        fc.decode.argmax(maps(), out=given)
        versions.append([member._version for member in given if member is not None])
    assert versions == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


def test_zeros_of_both_signs_are_two_values(launches):
    points = torch.zeros(3, 2)
    for value in (0.0, -0.0, float("nan"), float("nan")):
        fc.encode.box(points, shape=(48, 64), value=value)
    assert len(_recorded._thread.recorded) == 3


def test_a_lazy_negative_is_recorded_by_itself(launches):
    negative = torch.complex(torch.zeros(3, 48, 64), torch.zeros(3, 48, 64)).conj().imag
    plain = torch.complex(torch.zeros(3, 48, 64), torch.zeros(3, 48, 64)).imag
    fc.decode.argmax(plain)
    keys = set(_recorded._thread.recorded)
    assert negative.is_neg()
    assert negative.stride() == plain.stride()
    fc.decode.argmax(negative)
    assert len(_recorded._thread.recorded) == len(keys) + 1
