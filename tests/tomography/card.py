"""Stand-ins for cupy and cufinufft, which need a graphics card: numpy and finufft behind the same names.

Belongs here: what a card refuses (arrays that were not brought to it), what its libraries demand (types, contiguity).
Does not: expectations. On a machine with a card the same tests run with the libraries themselves.
"""

import sys
import types
from typing import Any

import finufft
import numpy as np
import pytest
import scipy.fft


class OnCard(np.ndarray):  # type: ignore[type-arg]
    """An array on the card: it takes none of numpy's own, and numpy's functions do not take it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **named: Any) -> Any:
        _all_on_card(*inputs, *(out or ()))
        named |= {} if out is None else {"out": tuple(_bare(one) for one in out)}
        found = getattr(ufunc, method)(*map(_bare, inputs), **named)
        return out[0] if out else found.view(OnCard)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of an array on the card")

    def __array_finalize__(self, _: Any) -> None:
        """Nothing is carried over."""

    def __setitem__(self, place: Any, value: Any) -> None:
        _all_on_card(value)
        np.ndarray.__setitem__(self, place, value)


def _bare(one: Any) -> Any:
    return one.view(np.ndarray) if isinstance(one, OnCard) else one


def _all_on_card(*arrays: Any) -> None:
    if any(isinstance(one, np.ndarray) and not isinstance(one, OnCard) for one in arrays):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")


class Plan:
    """cufinufft's, with what it checks."""

    def __init__(
        self, nufft_type: int, n_modes: tuple[int, int], *, eps: float, isign: int, dtype: str, **named: Any
    ) -> None:
        if max(n_modes) > 4000:
            raise RuntimeError("Error creating plan.")
        self._plan = finufft.Plan(nufft_type, n_modes, eps=eps, isign=isign, dtype=dtype, upsampfac=2.0, **named)

    def setpts(self, x: Any, y: Any) -> None:
        for one in (x, y):
            assert isinstance(one, OnCard)
            assert (one.dtype, one.flags.c_contiguous) == (np.float32, True)
        self._plan.setpts(_bare(x), _bare(y))

    def execute(self, data: Any, out: Any) -> Any:
        for one in (data, out):
            assert isinstance(one, OnCard)
            assert (one.dtype, one.flags.c_contiguous) == (np.complex64, True)
        self._plan.execute(_bare(data), out=_bare(out))
        return out


def put_in(monkeypatch: pytest.MonkeyPatch, *, cards: int = 1, transforms: int = 10**9) -> None:
    """From now on there is a card, or, with none, only its libraries. It fails after so many transforms."""
    left = iter(range(transforms))

    class Mortal(Plan):
        def execute(self, data: Any, out: Any) -> Any:
            if next(left, None) is None:
                raise RuntimeError("Error executing plan.")
            return super().execute(data, out)

    def asarray(one: Any) -> OnCard:
        return one if isinstance(one, OnCard) else np.array(one).view(OnCard)

    def copyto(to: OnCard, value: float, *, where: OnCard) -> None:
        _all_on_card(where)
        np.copyto(_bare(to), value, where=_bare(where))

    def asnumpy(one: Any) -> Any:
        assert isinstance(one, OnCard)
        return np.array(_bare(one))

    def fft(one: Any, axis: int, *, overwrite_x: bool) -> OnCard:
        assert isinstance(one, OnCard)
        found: OnCard = scipy.fft.fft(_bare(one), axis=axis, overwrite_x=overwrite_x).view(OnCard)
        return found

    cupy = types.ModuleType("cupy")
    vars(cupy).update(
        asarray=asarray,
        asnumpy=asnumpy,
        copyto=copyto,
        cuda=types.SimpleNamespace(is_available=lambda: cards > 0),
        empty=lambda shape, dtype: np.empty(shape, dtype).view(OnCard),
        stack=lambda arrays: np.stack([_bare(one) for one in arrays]).view(OnCard),
        zeros=lambda shape, dtype: np.zeros(shape, dtype).view(OnCard),
    )
    cupy_fft = types.ModuleType("cupyx.scipy.fft")
    vars(cupy_fft).update(fft=fft)
    cufinufft = types.ModuleType("cufinufft")
    vars(cufinufft).update(Plan=Mortal)
    for name, module in (("cupy", cupy), ("cupyx.scipy.fft", cupy_fft), ("cufinufft", cufinufft)):
        monkeypatch.setitem(sys.modules, name, module)
