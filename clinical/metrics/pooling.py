"""Pooling over hospitals, and the plain arrays in which counts travel."""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import DTypeLike, NDArray


class Addable(Protocol):
    """Counts that pool by addition."""

    def __add__(self, other: Self, /) -> Self: ...


Pooled = TypeVar("Pooled", bound=Addable)


def pool(parts: Iterable[Pooled]) -> Pooled:
    """Add the counts of several hospitals.

    Guarantee:
        Exact and independent of the order: every number is an integer. Replicate b of the pool is the sum of the
        hospitals' replicates b, which is the bootstrap stratified by hospital.

    Raises:
        ValueError: There is nothing to pool, or the parts differ in codes, rules or replicates.
    """
    listed = list(parts)
    if not listed:
        raise ValueError("nothing to pool: no hospital sent counts")
    return reduce(operator.add, listed)


def take(arrays: Mapping[str, NDArray[Any]], name: str, *, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Take one array of counts out of a message.

    Args:
        arrays: The message.
        name: The array's name.
        dtype: The integer type wanted.
        shape: The shape wanted; -1 fits any length.

    Raises:
        ValueError: It is missing, misshapen, of another type, or holds a negative count.
    """
    if name not in arrays:
        raise ValueError(f"counts lack the array {name!r}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in {-1, have} for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != np.dtype(dtype):
        raise ValueError(f"counts {name!r} must be {np.dtype(dtype)} {shape}, not {array.dtype} {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"counts {name!r} hold a negative number")
    return array


def check_alike(kind: str, one: object, other: object) -> None:
    """Refuse to add counts whose layouts differ.

    Raises:
        ValueError: The layouts differ.
    """
    if one != other:
        raise ValueError(f"cannot pool {kind} of {one} with {kind} of {other}: the hospitals counted different things")
