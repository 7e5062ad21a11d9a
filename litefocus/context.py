"""Context managers: they say when they were never entered, and in which thread; one replaces a single method."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

# Held while a model is changed and changed back, never during a forward. Reentrant: a context that the garbage
# collector ends may end in the middle of another change.
CHANGING = threading.RLock()


class Entered:
    """A context on a model that is entered: what comes back when it is left, and the thread that entered it."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.thread = threading.get_ident()


# By model and method, "" for the whole of it; the innermost last. Not in the models, whose copies are inside none.
_ENTERED: WeakKeyDictionary[Any, dict[str, list[Entered]]] = WeakKeyDictionary()


def refuse_other_threads(model: Any) -> None:
    """Raise RuntimeError where another thread is inside a context on the model: its run would change."""
    if any(entered.thread != threading.get_ident() for entered in _ENTERED.get(model, {}).get("", ())):
        raise RuntimeError(
            "this UNet is inside a LiteFocus context of another thread, whose run would change: inject_lite_focus() "
            "once before the threads start, or give each thread a copy of its own"
        )


def enter(model: Any, before: Any, method: str = "") -> Entered:
    """Note a context on the model, whose end shall bring `before` back."""
    entered = Entered(before)
    _ENTERED.setdefault(model, {}).setdefault(method, []).append(entered)
    return entered


def leave(model: Any, entered: Entered, method: str = "") -> bool:
    """Forget it; whether its `before` comes back now. Else an inner context goes on, and brings it back in the end."""
    contexts = _ENTERED[model][method]
    inner = contexts[contexts.index(entered) + 1 :]
    contexts.remove(entered)
    if inner:
        inner[0].before = entered.before
    return not inner


class _Context(AbstractContextManager[Value], Generic[Value]):
    """What a call returns: does nothing until it is entered."""

    _entered = True  # until __init__ is through: one that an interrupt cut short has no name to warn with

    def __init__(self, name: str, manager: AbstractContextManager[Value]) -> None:
        self._name = name
        self._manager = manager
        self._entered = False

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: what was made is neither the pipeline nor a decorator."""
        raise TypeError(
            f"{self._name}(...) is a context, neither the pipeline nor a decorator: write `with {self._name}(...):` "
            f"and call the pipeline inside"
        )

    def __enter__(self) -> Value:
        if self._entered:
            raise RuntimeError(f"this {self._name}(...) was entered before, and serves once: call {self._name} again")
        self._entered = True
        return self._manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._manager.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        state = "entered" if self._entered else "nothing is changed before it is entered"
        return f"<context of {self._name}, for `with {self._name}(...):`; {state}>"

    def __del__(self) -> None:
        if not self._entered:
            warnings.warn(
                f"{self._name}(...) was never entered, so it changed nothing: write `with {self._name}(...):`",
                stacklevel=2,
            )


def entered_context(
    function: Callable[Arguments, Iterator[Value]],
) -> Callable[Arguments, AbstractContextManager[Value]]:
    """`contextlib.contextmanager`, whose result warns if it is thrown away without having been entered."""
    make = contextmanager(function)

    @wraps(function)
    def context(*args: Arguments.args, **kwargs: Arguments.kwargs) -> AbstractContextManager[Value]:
        return _Context(function.__name__, make(*args, **kwargs))

    return context


@contextmanager
def replaced(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """`owner.name` is `wrap(owner.name)` inside the context.

    Contexts nest. One that is left before another that was entered inside it acts until that one is left, too.
    """
    with CHANGING:
        had, before = name in vars(owner), getattr(owner, name)
        setattr(owner, name, wrap(before))
        entered = enter(owner, (had, before), name)
    try:
        yield
    finally:
        with CHANGING:
            if leave(owner, entered, name):
                had, before = entered.before
                setattr(owner, name, before) if had else delattr(owner, name)
