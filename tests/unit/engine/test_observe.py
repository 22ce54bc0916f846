"""Several observers as one."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from pydbsync.engine.observe import Observer, Observers

TOLD = [name for name in vars(Observer) if not name.startswith("_")]


@pytest.mark.parametrize("name", TOLD)
def test_each_of_several_observers_is_told_everything_in_their_order(name: str) -> None:
    told: list[tuple[int, tuple[Any, ...], dict[str, Any]]] = []

    def observer(number: int) -> Observer:
        made = Observer()
        setattr(made, name, lambda *arguments, **named: told.append((number, arguments, named)))
        return made

    parameters = list(inspect.signature(getattr(Observer(), name)).parameters.values())
    arguments = tuple(each.name for each in parameters if each.kind is not each.KEYWORD_ONLY)
    named = {each.name: each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    getattr(Observers([observer(1), observer(2)]), name)(*arguments, **named)
    assert told == [(1, arguments, named), (2, arguments, named)]
