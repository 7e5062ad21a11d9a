"""Several methods at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any


@contextmanager
def chain(pipe: Any, patches: Sequence[Callable[[Any], AbstractContextManager[Any]]]) -> Iterator[None]:
    """Every patch active inside the context, entered in the given order and left in the reverse."""
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch(pipe))
        yield
