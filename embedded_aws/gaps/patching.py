"""How a closure is put into moto."""

from collections.abc import Callable
from functools import wraps
from typing import Any


def add(owner: type, name: str, function: Callable[..., Any] | property) -> None:
    """Give `owner` a method or property it lacks. Raises RuntimeError when moto has it by now."""
    if hasattr(owner, name):
        raise RuntimeError(f"moto now has {owner.__name__}.{name}: delete ours")
    setattr(owner, name, function)


def replace(owner: type, name: str, function: Callable[..., Any] | property) -> None:
    """Put `function` in the place of a method or property. Raises AttributeError when moto no longer has it."""
    getattr(owner, name)
    setattr(owner, name, function)


def wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    """Put `wrapper(original, self, …)` around a method. Raises AttributeError when moto no longer has it."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, wrapped)
