"""The data sets: the paper's squares in the order of its code, and nothing random about them."""

import numpy as np
import pytest

import fastcoord as fc
from fastcoord.datasets import NotSoClevr, Squares, not_so_clevr

small = pytest.mark.small

COUNTS = {None: (3136, 0), "uniform": (2368, 768), "quadrant": (2407, 729)}


@pytest.fixture(scope="module", params=COUNTS, ids=str)
def split(request):
    return request.param


@pytest.fixture(scope="module")
def parts(split):
    return not_so_clevr(split)


def released(split):
    """(train, validation) centres by the loops of the released code, with NumPy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(20202)  # noqa: NPY002
        train, validation = [], []
        for x in range(4, 60):
            for y in range(4, 60):
                if split == "uniform":
                    is_kept = np.random.random() < 0.25  # noqa: NPY002
                else:
                    is_kept = x / 64 > 0.5 and y / 64 > 0.5
                (validation if is_kept else train).append((x, y))
        ordered = []
        for part in (train, validation):
            np.random.seed(10101)  # noqa: NPY002
            order = np.random.permutation(len(part))  # noqa: NPY002
            ordered.append(np.array(part)[order])
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return ordered


@small
def test_counts_types_and_names(parts, split):
    assert type(parts) is NotSoClevr
    assert parts._fields == ("train", "validation")
    for part, count in zip(parts, COUNTS[split], strict=True):
        assert type(part) is Squares
        assert part._fields == ("images", "onehots", "locations")
        assert [(a.shape, a.dtype.name, a.flags.writeable) for a in part] == [
            ((count, 64, 64), "uint8", True),
            ((count, 64, 64), "uint8", True),
            ((count, 2), "float32", True),
        ]


@small
def test_each_square_is_in_one_part(parts):
    centres = np.concatenate([part.locations for part in parts])
    assert sorted(map(tuple, centres.tolist())) == [(x, y) for x in range(4, 60) for y in range(4, 60)]


@small
def test_images_are_the_squares(parts):
    for part in parts:
        for image, onehot, (x, y) in zip(*part[:2], part.locations.astype(int), strict=True):
            assert image.sum() == 81 * 128
            assert (image[y - 4 : y + 5, x - 4 : x + 5] == 128).all()
            assert onehot.sum() == 1
            assert onehot[y, x] == 1


@small
def test_maps_decode_exactly(parts):
    for part in parts:
        decoded = fc.decode.onehot(part.onehots)
        np.testing.assert_array_equal(decoded.xy, part.locations)
        assert (decoded.status == 0).all()
        # the square's middle, from where its rows and columns begin
        begins = np.stack([part.images.any(axis=along).argmax(axis=-1) for along in (1, 2)], axis=-1)
        np.testing.assert_array_equal(begins + 4, part.locations)


@small
@pytest.mark.parametrize("split", ["uniform", "quadrant"])
def test_order_is_that_of_the_released_code(split):
    for part, centres in zip(not_so_clevr(split), released(split), strict=True):
        np.testing.assert_array_equal(part.locations, centres)


def test_all_are_in_order_without_a_split():
    locations = not_so_clevr().train.locations
    np.testing.assert_array_equal(locations[:57], [*((4, y) for y in range(4, 60)), (5, 4)])
    np.testing.assert_array_equal(locations[-1], (59, 59))


def test_quadrant():
    train, validation = not_so_clevr("quadrant")
    assert (validation.locations > 32).all()
    assert (train.locations <= 32).any(axis=1).all()


def test_every_call_gives_the_same_in_new_memory(split):
    first, second = not_so_clevr(split), not_so_clevr(split)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert not np.shares_memory(a, b)


def test_the_global_generator_is_not_touched(split):
    before = np.random.get_state()  # noqa: NPY002
    not_so_clevr(split)
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@small
@pytest.mark.parametrize("split", ["Uniform", "", "train", 1, False, ("uniform",), np.array(["uniform"]), []], ids=repr)
def test_another_split_is_refused(split):
    with pytest.raises(ValueError, match="split: expected None, 'uniform' or 'quadrant'; got "):
        not_so_clevr(split)
