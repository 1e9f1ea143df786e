"""`CoordNet`: a network of one convolution over an image and its coordinates, one ReLU, one sum and one readout."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, canvas, flat, is_on_gpu, maps, pixel_array, result, write_back
from fastcoord._halves import loaded_type
from fastcoord._libraries import in_library, library_of
from fastcoord._numbers import gradient_of, real_numbers
from fastcoord.network import cpu, gradient
from fastcoord.network.formula import number_type

__all__ = ["CoordNet", "Gradients"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_PLANS = 8  # shapes of maps whose plans are kept


class Gradients(NamedTuple):
    """The gradients of a number with respect to what a network's outputs depend on, each shaped like it."""

    weight: Any
    bias: Any
    readout: Any
    offset: Any
    images: Any


@dataclass(frozen=True, eq=False)
class CoordNet:
    """A network that reads coordinates: one convolution over an image and its coordinate maps, ReLU, sum, readout.

    Equals, for a (C, H, W) image ``a`` with column indices ``X`` and row indices ``Y``::

        readout @ np.maximum(correlate([*a, X, Y], weight) + bias[:, None, None], 0).sum((1, 2)) + offset

    where `correlate` is "same" in size, has zeros beyond the border and adds up the channels; in one pass over the
    image, which stores no feature map.

    Parameters
    ----------
    weight : array (K, C + 2, kh, kw)
        Kernels of K features over the channels [image…, x, y]; x and y are the pixel's column and row, in pixels, and
        zero beyond the border like the image. kh and kw are odd. Cross-correlation, as in deep learning.
    bias : array (K,)
        Added to each feature before the ReLU.
    readout : array (M, K)
        From the features' sums to the outputs.
    offset : array (M,)
        Added to the outputs.

    Raises
    ------
    TypeError
        If a parameter does not consist of real numbers.
    ValueError
        If the shapes do not fit, there is no image channel, or kh or kw is even.

    Notes
    -----
    The parameters are copied, as float64, and cannot be changed; `dataclasses.replace` makes a changed network. A tap
    whose weight is zero in every feature takes no part, even where the pixel is infinite or NaN; nor does a feature in
    an output that reads it with weight zero.

    Source: F. Piekniewski, "Autopsy of a deep learning paper", 2018, whose network is `CoordNet.onehot_decoder`.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> net = fc.CoordNet(weight=[[[[1]], [[0]], [[0]]]], bias=[0], readout=[[1]], offset=[0])  # the sum of relu(pixel)
    >>> net(np.array([[1, -2], [3, 4]], np.float32))
    array([8.], dtype=float32)
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    readout: NDArray[np.float64]
    offset: NDArray[np.float64]
    _plans: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Copy and check the parameters."""
        shapes = {"weight": "(K, C + 2, kh, kw)", "bias": "(K,)", "readout": "(M, K)", "offset": "(M,)"}
        for name, shape in shapes.items():
            object.__setattr__(self, name, _parameter(name, shape, getattr(self, name)))
        features, channels, *kernel = self.weight.shape
        if features < 1 or channels < 3:
            raise ValueError(
                f"weight: expected shape (K, C + 2, kh, kw) with at least one feature and one image channel; "
                f"got {self.weight.shape}"
            )
        if any(extent % 2 == 0 for extent in kernel):
            raise ValueError(f"weight: expected a kernel of odd height and width; got {kernel[0]} × {kernel[1]}")
        outputs = len(self.offset)
        if outputs < 1:
            raise ValueError("offset: expected shape (M,) with at least one output; got (0,)")
        for name, wanted in (("bias", (features,)), ("readout", (outputs, features))):
            if getattr(self, name).shape != wanted:
                raise ValueError(f"{name}: expected shape {wanted}; got {getattr(self, name).shape}")

    @property
    def channels(self) -> int:
        """How many channels an image has, C."""
        return int(self.weight.shape[1]) - 2

    @classmethod
    def onehot_decoder(cls, height: int, width: int) -> "CoordNet":
        """The post's network for images of this size: x and y of the hot pixel of a one-hot image.

        Equals `decode.onehot(images).xy` for every image: ``x = W − Σ relu(W·a − X)``, ``y = H − Σ relu(H·a − Y)``.

        Examples
        --------
        >>> import numpy as np, fastcoord as fc
        >>> image = np.zeros((70, 100), np.float32)
        >>> image[5, 7] = 1
        >>> fc.CoordNet.onehot_decoder(70, 100)(image)
        array([7., 5.], dtype=float32)
        """
        height, width = canvas((height, width))
        weight = np.array([[width, -1, 0], [height, 0, -1]])[..., np.newaxis, np.newaxis]
        return cls(weight, np.zeros(2), -np.eye(2), np.array([width, height]))

    @classmethod
    def box_decoder(cls, height: int, width: int, size: int = 9, value: float = 128) -> "CoordNet":
        """A network for images of this size: x and y of the centre of a square of grey `value` on black.

        For x, the image's kernel is `size` × `size` times w, the least power of two for which w·value ≥ W, the bias is
        W − size²·value·w, and the kernel of the x channel is −1 in the centre. Where the whole square is under the
        kernel the response is W − x. Where a row or a column of it is missing, that is at least size·value·w ≥ W less,
        and no response. The same holds for y, with H.

        Parameters
        ----------
        height, width : int
            Of the images, in pixels.
        size : int
            Odd; of the square, in pixels.
        value : float
            Of the square's pixels, positive; in uint8 images the grey level.

        Notes
        -----
        Exact, to the last bit, for every position where the square is wholly in the image, if `value` is an integer and
        size²·max(value, 2·W, 2·H) < 2²⁴, and wherever else the sums are exact in the type of the result; the error of
        others is some units in the last place of size²·max(W, H). For 9×9 squares of 128 on 64×64 pixels the weights
        are W/128 and the bias is −80·W. A square that the border clips gives (W, H), as an image without one does. Of
        squares that are darker, brighter, larger or smaller the answer is no position.

        Examples
        --------
        >>> import numpy as np, fastcoord as fc
        >>> image = np.zeros((64, 64), np.uint8)
        >>> image[20 - 4 : 20 + 5, 30 - 4 : 30 + 5] = 128
        >>> fc.CoordNet.box_decoder(64, 64, size=9, value=128)(image)
        array([30., 20.], dtype=float32)
        """
        height, width = canvas((height, width))
        if not isinstance(size, (int, np.integer)):
            raise TypeError(f"size: expected an integer; got {size!r}")
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size: expected an odd number of pixels; got {size}")
        if not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"value: expected a number; got {value!r}")
        if not 0 < value < np.inf:
            raise ValueError(f"value: expected a finite number greater than 0; got {value!r}")
        extents = np.array([width, height])
        grey = float(value)
        gain = 2.0 ** np.ceil(np.log2(extents / grey))
        weight = np.zeros((2, 3, size, size))
        weight[:, 0] = gain[:, np.newaxis, np.newaxis]
        weight[[0, 1], [1, 2], size // 2, size // 2] = -1
        return cls(weight, extents - size**2 * gain * grey, -np.eye(2), extents)

    def __call__(self, images: Any, *, axes: tuple[int, int] = (-2, -1), out: Any = None) -> Any:
        """The outputs of the network for each image.

        Equals, for a (C, H, W) image ``a`` (`correlate`: "same" size, zeros beyond the border, channels added up)::

            readout @ np.maximum(correlate([*a, X, Y], weight) + bias[:, None, None], 0).sum((1, 2)) + offset

        Parameters
        ----------
        images : array (..., C, H, W), or (..., H, W) where C is 1
            bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or nested lists),
            PyTorch or JAX on the CPU, or on a GPU, but for halves; with any strides: it is read in place (but copied if
            its strides are no whole elements). Not modified. Where the network has one image channel there is no
            channel axis: one of length 1 counts as part of the batch.
        axes : two ints
            Which axes are height and width; (1, 2) for NHWC. Of the remaining axes, in their order, the last is the
            channels, where C is not 1, and the others are the batch.
        out : array
            Where to write: an array as this function would return, sharing no memory with `images`; on a GPU it is
            contiguous. Arrays of JAX cannot be written.

        Returns
        -------
        array (..., M), of the library of `images` and on its device
            float32; float64 for float64 images.

        Raises
        ------
        TypeError
            If the type of an array or of `axes` is none of these, if arrays are of two libraries or devices, or if a
            tensor requires grad.
        ValueError
            If there are too few axes, H or W is 0, the number of channels is not C, or `out` does not fit.

        Notes
        -----
        Source: F. Piekniewski, "Autopsy of a deep learning paper", 2018. The sums keep what rounding takes from them.
        The bits of a result do not depend on the number of threads; on a GPU they repeat.

        The first call for a shape of maps on a GPU copies the network's tables there and waits for that; other calls do
        not wait.

        Examples
        --------
        >>> import numpy as np, fastcoord as fc
        >>> images = np.zeros((3, 48, 64), np.float32)
        >>> images[:, 5, 7] = 1
        >>> fc.CoordNet.onehot_decoder(48, 64)(images).shape
        (3, 2)
        """
        if is_on_gpu(images):
            from fastcoord.network import cuda

            seen = cuda.seen(images)
            read, batch = self._read(seen, axes)
            plan_of = functools.partial(self._plan, read, seen.dtype, cuda.plan)
            return cuda.network(read, batch, plan_of, images, seen, out)
        library = library_of(images)
        images = pixel_array("images", images, halves=True)
        read, batch = self._read(images, axes)
        shape = (*batch, len(self.offset))
        dtype = _DOUBLE if images.dtype == _DOUBLE else _SINGLE
        given = result("out", out, shape, dtype, images, library=library)
        written = flat(given)
        if written.size:
            cpu.network(read, self.channels, self._plan(read, images.dtype, cpu.plan), written)
        write_back(written, given)
        if library is None:
            return given
        if out is None:
            return in_library(library, given)
        library.written(out)
        return out

    def vjp(self, grad: Any, images: Any, *, axes: tuple[int, int] = (-2, -1)) -> Gradients:
        """The gradients of ``(grad * net(images)).sum()``, in one pass over the images.

        Equals, where ``f`` are the features of an image before the ReLU, ``g`` is its row of `grad` and ``under`` gives
        the image and coordinates under a tap::

            d = np.where(f > 0, (readout.T @ g)[:, None, None], 0)
            weight += [(d * under(tap)).sum((1, 2)) for tap in taps];  bias += d.sum((1, 2))
            readout += np.outer(g, np.maximum(f, 0).sum((1, 2)));      offset += g

        and ``images`` is `d` correlated with the mirrored weights.

        Parameters
        ----------
        grad : array (..., M)
            The gradient with respect to the outputs; real numbers, in an array of the library of `images` or in nested
            lists. On a GPU a contiguous array on the device of `images`.
        images : array (..., C, H, W), or (..., H, W) where C is 1
            As for the network itself. Not modified.
        axes : two ints
            Which axes are height and width, as for the network itself.

        Returns
        -------
        Gradients, of arrays of the library of `images`
            weight (K, C + 2, kh, kw), bias (K,), readout (M, K), offset (M,) and images, of the shape of `images`; all
            float32, or float64 for float64 images: float32 for float16 and bfloat16 images too.

        Raises
        ------
        TypeError
            If the type of an array or of `axes` is none of these, if arrays are of two libraries or devices, or if a
            tensor requires grad.
        ValueError
            If the shapes do not fit.

        Notes
        -----
        At 0 the ReLU's gradient is 0. A response that is NaN lets the gradient pass. The features of four kernels, for
        some rows of a map at a time, are all that is stored; on a GPU, where there are two passes, those of a tile.

        Examples
        --------
        >>> import numpy as np, fastcoord as fc
        >>> image = np.zeros((4, 6), np.float32)
        >>> image[2, 3] = 1
        >>> fc.CoordNet.onehot_decoder(4, 6).vjp([1, 0], image).images[2]
        array([ 0.,  0.,  0., -6.,  0.,  0.], dtype=float32)
        """
        if is_on_gpu(images):
            from fastcoord.network import cuda, gradient_cuda

            seen = cuda.seen(images)
            read, batch = self._read(seen, axes)
            plan_of = functools.partial(self._plan, read, seen.dtype, gradient_cuda.gradient_plan)
            shapes = self.weight.shape, self.bias.shape, self.readout.shape, self.offset.shape
            return Gradients(*gradient_cuda.vjp(read, batch, shapes, plan_of, grad, images, seen, axes))
        if is_on_gpu(grad):
            raise TypeError("grad: expected an array on the CPU, as images is; got one on a GPU")
        library = library_of(images)
        images = pixel_array("images", images, halves=True)
        read, batch = self._read(images, axes)
        wanted = (*batch, len(self.offset))
        given = gradient_of("grad", grad, wanted, library, "images")
        dtype = _DOUBLE if images.dtype == _DOUBLE else _SINGLE
        of_images = np.zeros((*read.batch, read.height, read.width), number_type(loaded_type(images.dtype)))
        parameters = self.weight, self.bias, self.readout, self.offset
        rows = given.reshape(-1, len(self.offset))
        found = gradient.vjp(read, self.channels, parameters, rows, of_images.reshape(-1))
        weight, bias, readout, offset = (array.astype(dtype) for array in found)
        moved = np.moveaxis(of_images.astype(dtype, copy=False), (-2, -1), axes)
        gradients = Gradients(weight, bias, readout, offset, moved)
        return gradients if library is None else in_library(library, gradients)

    def _read(self, images: NDArray[Any], axes: Any) -> tuple[Maps, tuple[int, ...]]:
        """How a kernel reaches the channels of `images`, and the shape of the batch."""
        read = maps("images", images, axes)
        channels = self.channels
        if channels == 1:
            return read, read.batch
        if not read.batch or read.batch[-1] != channels:
            raise ValueError(f"images: expected shape (..., {channels}, H, W); got {images.shape} with axes {axes}")
        return read, read.batch[:-1]

    def _plan(self, read: Maps, dtype: np.dtype[Any], make: Callable[..., Any], device: int | None = None) -> Any:
        """The plan of the CPU's or a GPU's kernel for maps of this shape and type, which `make` makes.

        It is kept, as it takes longer than a small image.
        """
        number = number_type(loaded_type(dtype))
        key = (make, device, read.height, read.width, number)
        planned = self._plans.get(key)
        if planned is None:
            planned = make(self.weight, self.bias, self.readout, self.offset, read.height, read.width, number)
            while len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = planned
        return planned

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes: no plans, which may lie on a GPU."""
        return {**self.__dict__, "_plans": {}}


def _parameter(name: str, shape: str, given: Any) -> NDArray[np.float64]:
    """A read-only copy of a parameter, whose shape has as many axes as `shape` names."""
    array = real_numbers(name, shape, given)
    if array.ndim != len(shape.strip("(,)").split(",")):
        raise ValueError(f"{name}: expected shape {shape}; got {array.shape}")
    copy = np.array(array, np.float64)
    copy.flags.writeable = False
    return copy
