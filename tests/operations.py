"""The table of operations: it drives the agreement tests, the contract tests and the benchmarks.

A new operation is one line in `OPERATIONS`, and, if no other shares its form, a function that adapts its reference.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastcoord as fc
from fastcoord.decode._argmax import reference as argmax_reference
from fastcoord.decode._argmax.reference import argmax as decode_argmax
from fastcoord.decode._center_of_mass.reference import center_of_mass as decode_center_of_mass
from fastcoord.decode._onehot.reference import onehot as decode_onehot
from fastcoord.decode._peaks.reference import peaks as decode_peaks
from fastcoord.decode._simcc.reference import simcc as decode_simcc
from fastcoord.decode._soft_argmax.reference import soft_argmax as decode_soft_argmax
from fastcoord.encode._box.reference import box as encode_box
from fastcoord.encode._gaussian.reference import gaussian as encode_gaussian
from fastcoord.encode._offsets.reference import offsets as encode_offsets
from fastcoord.encode._onehot.reference import onehot as encode_onehot
from fastcoord.encode._simcc.reference import simcc as encode_simcc
from fastcoord.encode._splat.reference import splat as encode_splat
from fastcoord.network.reference import network
from tests import cases, cases_gaussian, cases_offsets, cases_peaks, cases_simcc, cases_splat
from tests.cases import Case


@dataclass(frozen=True)
class Operation:
    """One public function, and what it is checked against."""

    name: str  # in fastcoord
    function: Callable[..., Any]
    # The answer for a case's arguments and options, as a tuple of arrays in the order of the result's members (None
    # where there is none), computed in the floating-point type `working`.
    reference: Callable[..., tuple[Any, ...]]
    cases: Callable[[], Iterator[Case]]
    exact: frozenset[str] = frozenset()  # members of the result that hold no rounding: compared with ==
    has_points_outside: bool = False  # an encoder: only points that are not finite are missing
    members: tuple[int, ...] = ()  # an encoder of several maps for each point: how many
    is_general: bool = False  # on the CPU: float16 and bfloat16 too, and tensors of PyTorch and arrays of JAX

    def exact_with(self, options: dict[str, Any]) -> frozenset[str]:
        """The members that hold no rounding in a call with these options.

        A grid rounds coordinates: once where there is an fma, twice in uncompiled runs.
        """
        return self.exact if options.get("grid") is None else self.exact - {"xy"}

    @property
    def room(self) -> str:
        """What form the arguments and the result have: `decode` or `encode` those of maps, `simcc`, or `CoordNet`."""
        return "simcc" if self.name.endswith(".simcc") else self.name.split(".")[0]

    @property
    def argument(self) -> str:
        """The name of the first argument."""
        return next(iter(inspect.signature(self.function).parameters))

    def __str__(self) -> str:
        return self.name


def members(result: Any) -> dict[str, Any]:
    """A result's arrays (or None) by name, whether it is one array or a named tuple."""
    return result._asdict() if hasattr(result, "_asdict") else {"maps": result}


def decoder(reference):
    """A reference for (..., H, W) maps, which computes in `dtype`, for the maps of a case."""

    @functools.wraps(reference)
    def adapted(maps, *, axes=(-2, -1), grid=None, working, **options):
        maps = np.moveaxis(np.asarray(maps), axes, (-2, -1))
        xy, *others = reference(maps, dtype=working, **options)
        if grid is not None:
            xy = cases.in_grid(grid, xy, *maps.shape[-2:])
        return xy, *others

    return adapted


def peak_decoder(reference):
    """As `decoder`, for a reference that finds several points; the steps between the pixels are those of argmax."""

    @functools.wraps(reference)
    def adapted(maps, *, axes=(-2, -1), grid=None, refine=None, sigma=2.0, blur=11, working, **options):
        maps = np.moveaxis(np.asarray(maps), axes, (-2, -1))
        if refine == "quarter":
            options["step"] = argmax_reference._quarter
        elif refine is not None:
            options["step"] = functools.partial(argmax_reference._fitted, refine=refine, sigma=sigma, blur=blur)
        xy, *others = reference(maps, dtype=working, **options)
        if grid is not None:
            xy = np.moveaxis(cases.in_grid(grid, np.moveaxis(xy, -2, 0), *maps.shape[-2:]), 0, -2)
        return xy, *others

    return adapted


def encoder(reference):
    """A reference that returns (..., H, W) maps and weights, for the points of a case."""

    @functools.wraps(reference)
    def adapted(points, *, axes=(-2, -1), return_weight=False, grid=None, working, **options):
        if options.get("dtype") == "bfloat16":  # NumPy knows the name only where ml_dtypes was imported
            options["dtype"] = cases.half_type("bfloat16")
        points = np.asarray(points)
        if grid is not None:
            points = cases.in_pixels(grid, points, *options["shape"])
        maps, weight = reference(points, **options)
        return (np.moveaxis(maps, (-2, -1), axes), weight)[: 1 + return_weight]

    return adapted


def rounding_encoder(reference):
    """As `encoder`, for a reference that computes in `working`."""

    @functools.wraps(reference)
    def adapted(points, *, working, **options):
        return encoder(functools.partial(reference, working=working))(points, working=working, **options)

    return adapted


def axes_decoder(reference):
    """As `decoder`, for the bins of two axes."""

    @functools.wraps(reference)
    def adapted(x_axes, y_axes, *, grid=None, working, **options):
        x_axes, y_axes = np.asarray(x_axes), np.asarray(y_axes)
        xy, *others = reference(x_axes, y_axes, dtype=working, **options)
        if grid is not None:
            height, width = (round(axes.shape[-1] / options.get("split_ratio", 2.0)) for axes in (y_axes, x_axes))
            xy = cases.in_grid(grid, xy, height, width)
        return xy, *others

    return adapted


def label_encoder(reference):
    """As `rounding_encoder`, of labels of two axes."""

    @functools.wraps(reference)
    def adapted(points, *, return_weight=False, grid=None, working, **options):
        if options.get("dtype") == "bfloat16":
            options["dtype"] = cases.half_type("bfloat16")
        points = np.asarray(points)
        if grid is not None:
            points = cases.in_pixels(grid, points, *options["shape"])
        x, y, weight = reference(points, working=working, **options)
        return x, y, weight if return_weight else None

    return adapted


def networked(net):
    """The reference of a network of one image channel, for the images of a case."""

    def adapted(images, *, axes=(-2, -1), working):
        maps = np.moveaxis(np.asarray(images), axes, (-2, -1))[..., None, :, :]
        return (network(maps, net.weight, net.bias, net.readout, net.offset, dtype=working),)

    return adapted


def _small_weights(*shape):
    """Multiples of 1/64 from −8/64 to 8/64: sums in which little cancels, far from the ends of float32."""
    return np.random.default_rng(7).integers(-8, 9, size=shape) / 64


# Of each kind of kernel one: with taps beyond the centre (three features of 3×3), and without
NETWORKS = {
    "taps": fc.CoordNet(_small_weights(3, 3, 3, 3), [0.5, -0.25, 0], [[1, 0, 0.5], [0, -1, 0]], [0.25, 3]),
    "onehot": fc.CoordNet.onehot_decoder(9, 20),
}

# Left out, since each costs seconds: a reference of three feature maps of 16 million pixels, and types whose pixels the
# kernel without taps loads as the one with taps does
_LEFT_OUT = {
    "taps": ("large, uint8, one hot",),
    "onehot": ("type uint16,", "type int16,", "type int32,"),
}


def _images_for(name):
    return (case for case in cases.images() if not case.name.startswith(_LEFT_OUT[name]))


_exact = frozenset({"maps", "weight"})

OPERATIONS = (
    Operation(
        *(
            "decode.onehot",
            fc.decode.onehot,
            decoder(decode_onehot),
            cases.images_and_grids,
            frozenset({"score", "status"}),
        ),
        is_general=True,
    ),
    Operation(
        *("decode.argmax", fc.decode.argmax, decoder(decode_argmax), cases.heatmaps),
        frozenset({"xy", "score", "status"}),
        is_general=True,
    ),
    Operation(
        *("decode.peaks", fc.decode.peaks, peak_decoder(decode_peaks), cases_peaks.peaks),
        frozenset({"score", "status", "count"}),
        is_general=True,
    ),
    Operation(
        *("decode.simcc", fc.decode.simcc, axes_decoder(decode_simcc), cases_simcc.axes),
        frozenset({"score", "status"}),
    ),
    Operation("decode.soft_argmax", fc.decode.soft_argmax, decoder(decode_soft_argmax), cases.logits, is_general=True),
    Operation(
        *("decode.center_of_mass", fc.decode.center_of_mass, decoder(decode_center_of_mass), cases.masses),
        is_general=True,
    ),
    Operation(
        "encode.onehot", fc.encode.onehot, encoder(encode_onehot), cases.points_and_grids, _exact, is_general=True
    ),
    Operation("encode.box", fc.encode.box, encoder(encode_box), cases.squares, _exact, is_general=True),
    Operation(
        *("encode.gaussian", fc.encode.gaussian, rounding_encoder(encode_gaussian), cases_gaussian.gaussians),
        frozenset({"weight"}),
        has_points_outside=True,
        is_general=True,
    ),
    Operation(
        *("encode.simcc", fc.encode.simcc, label_encoder(encode_simcc), cases_simcc.labels),
        frozenset({"weight"}),
        has_points_outside=True,
    ),
    Operation(
        *("encode.offsets", fc.encode.offsets, rounding_encoder(encode_offsets), cases_offsets.offsets),
        frozenset({"weight"}),
        has_points_outside=True,
        members=(2,),
    ),
    Operation(
        *("encode.splat", fc.encode.splat, encoder(encode_splat), cases_splat.splats, frozenset({"weight"})),
        is_general=True,
    ),
    *(
        Operation(
            f"CoordNet.{name}", net.__call__, networked(net), functools.partial(_images_for, name), is_general=True
        )
        for name, net in NETWORKS.items()
    ),
)
# Those that are functions of fastcoord: `fastcoord compile` knows which kernels they have
FUNCTIONS = tuple(operation for operation in OPERATIONS if operation.room != "CoordNet")
