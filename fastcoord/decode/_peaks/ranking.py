"""The strongest peaks so far: a short list in its order, or a heap, whose root is the weakest, of many.

A peak is a value and the position of its first pixel, of a plateau −1 minus that.
"""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import load, store
from fastcoord._vector import convert, out_of_line, select, splat
from fastcoord.decode._peaks.formula import is_stronger

LIST = 16  # places of the list that a vector holds; so many are before it
LONGEST = 64  # places that are a list; more are a heap


@inlined
def ranking_size(slots: int) -> int:
    """How many elements `slots` places take, with LIST before them."""
    return LIST + (slots + LIST - 1) // LIST * LIST


@inlined
def emptied(kept: Any, base: int, slots: int, lowest: Any) -> None:
    """No peaks: where they are to be all is as low as no peak is."""
    for slot in range(0, slots, LIST):
        store(kept, base + slot, splat(lowest, LIST))


@inlined
def weakest(kept: Any, base: int, slots: int) -> Any:
    """The value of the weakest of as many peaks as there are places."""
    return kept[base if slots > LONGEST else base + slots - 1]


@inlined
def push(kept: Any, positions: Any, base: int, found: int, slots: int, value: Any, position: int) -> int:
    """Put in a peak that comes behind those of the same value; how many there are then, at most `slots`.

    If there are so many already, the weakest goes; it is weaker. Before a list stands a value that nothing exceeds, so
    that no branch depends on where the peak comes: to look for its place one by one took 1.25 times as long for a
    map of noise.
    """
    if slots > LONGEST:
        place_in_heap(kept, positions, base, found, slots, value, position)
        return found + 1 if found < slots else slots
    values, places = splat(value, LIST), splat(convert(position, positions[base]), LIST)
    at = base + min(found, slots - 1) // LIST * LIST
    while at >= base:
        here, previous = load(kept, at, LIST), load(kept, at - 1, LIST)
        moves, comes = here < values, previous < values
        place_here, place_before = load(positions, at, LIST), load(positions, at - 1, LIST)
        store(kept, at, select(moves, select(comes, previous, values), here))
        store(positions, at, select(moves, select(comes, place_before, places), place_here))
        at -= LIST
    return found + 1 if found < slots else slots


@inlined
def _first_pixel(position: int) -> int:
    return position if position >= 0 else -1 - position


@inlined
def _sift(kept: Any, positions: Any, base: int, size: int, value: Any, position: int) -> None:
    """Put a peak in the root's place, and what is weaker above it."""
    slot = 0
    while 2 * slot + 1 < size:
        child = 2 * slot + 1
        left, right = base + child, base + child + 1
        if child + 1 < size and is_stronger(
            kept[left], _first_pixel(positions[left]), kept[right], _first_pixel(positions[right])
        ):
            child += 1
        to = base + child
        if not is_stronger(value, _first_pixel(position), kept[to], _first_pixel(positions[to])):
            break
        kept[base + slot], positions[base + slot] = kept[to], positions[to]
        slot = child
    kept[base + slot], positions[base + slot] = value, position


@outlined
def place_in_heap(kept: Any, positions: Any, base: int, found: int, slots: int, value: Any, position: int) -> None:
    """`push`, into a heap."""
    out_of_line()
    if found == slots:
        _sift(kept, positions, base, slots, value, position)
        return
    slot = found
    while slot > 0:
        above = base + (slot - 1) // 2
        if not is_stronger(kept[above], _first_pixel(positions[above]), value, _first_pixel(position)):
            break
        kept[base + slot], positions[base + slot] = kept[above], positions[above]
        slot = (slot - 1) // 2
    kept[base + slot], positions[base + slot] = value, position


@outlined
def ranked(kept: Any, positions: Any, base: int, found: int, slots: int) -> None:
    """Put the peaks in their order, the strongest first."""
    out_of_line()
    if slots > LONGEST:
        for end in range(found - 1, 0, -1):
            value, position = kept[base + end], positions[base + end]
            kept[base + end], positions[base + end] = kept[base], positions[base]
            _sift(kept, positions, base, end, value, position)
