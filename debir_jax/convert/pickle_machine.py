"""Programs of pickles as data: opcode by opcode, of which those are known that put numbers, texts, lists, dictionaries
and what a reader names together. A program that names anything else is refused; nothing is looked up, imported or
called.
"""

from collections.abc import Callable, Mapping
import dataclasses
import pickletools
from typing import Any, Protocol, runtime_checkable

_IGNORED = ("PROTO", "FRAME")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_WITH_VALUE = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES",
               "SHORT_BINBYTES", "BINBYTES8")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class NamesOtherObjectsError(ValueError):
  """A program names an object that its reader does not know; the message is its name."""


@dataclasses.dataclass(frozen=True)
class Name:
  """What a program names: a class or a function, which is not looked up."""

  text: str


@runtime_checkable
class Unfinished(Protocol):
  """What a program gives a state after it was made."""

  def finish(self, state: Any) -> None:
    """Takes the state."""


def name_of(value: Any) -> str:
  """How a program calls something, for messages."""
  return value.text.replace(" ", ".") if isinstance(value, Name) else repr(value)


class PickleMachine:
  """Reads a program for Python's pickle machine as data, on a stack of values. Nothing is looked up or called but what
  it is made with.

  Args:
    makers: what calls of the names that a program may use are replaced by.
    find: what stands for a persistent name.
  """

  def __init__(self, makers: Mapping[str, Callable], find: Callable[..., Any] | None = None):
    self._makers, self._find = makers, find
    self._stack, self._marks, self._memo = [], [], {}
    self._steps = {
        "MARK": lambda _: self._marks.append(len(self._stack)),
        "EMPTY_DICT": lambda _: self._push({}), "EMPTY_LIST": lambda _: self._push([]),
        "TUPLE": lambda _: self._push(tuple(self._to_mark())),
        "GLOBAL": lambda text: self._push(Name(text)), "STACK_GLOBAL": self._stack_global,
        "BINPUT": self._keep, "LONG_BINPUT": self._keep, "MEMOIZE": lambda _: self._keep(len(self._memo)),
        "BINGET": lambda key: self._push(self._memo[key]), "LONG_BINGET": lambda key: self._push(self._memo[key]),
        "BINPERSID": self._find_persistent, "REDUCE": self._reduce, "BUILD": self._build,
        "SETITEM": lambda _: self._set_items(self._last(2)), "SETITEMS": lambda _: self._set_items(self._to_mark()),
        "APPEND": lambda _: self._stack[-2].append(self._stack.pop()),
        "APPENDS": lambda _: self._append(self._to_mark())}

  def run(self, program: bytes) -> Any:
    for opcode, value, _ in pickletools.genops(program):
      name = opcode.name
      if name == "STOP":
        return self._stack.pop()
      if name in _CONSTANTS or name in _WITH_VALUE:
        self._push(_CONSTANTS.get(name, value))
      elif name in _TUPLES:
        self._push(tuple(self._last(_TUPLES[name])))
      elif name in self._steps:
        self._steps[name](value)
      elif name not in _IGNORED:
        raise NamesOtherObjectsError(f"opcode {name}")
    raise ValueError("it ends too early")

  def _push(self, value):
    self._stack.append(value)

  def _keep(self, key):
    self._memo[key] = self._stack[-1]

  def _last(self, count) -> list:
    if len(self._stack) < count:
      raise IndexError("nothing is left on the stack")
    start = len(self._stack) - count
    values, self._stack[start:] = self._stack[start:], []
    return values

  def _to_mark(self) -> list:
    return self._last(len(self._stack) - self._marks.pop())

  def _set_items(self, values):
    self._of_kind(dict).update(zip(values[::2], values[1::2]))

  def _append(self, values):
    self._of_kind(list).extend(values)

  def _of_kind(self, kind):
    if not isinstance(self._stack[-1], kind):
      raise TypeError(f"expected a {kind.__name__}, found a {type(self._stack[-1]).__name__}")
    return self._stack[-1]

  def _stack_global(self, _):
    self._push(Name(" ".join(self._last(2))))

  def _reduce(self, _):
    function, arguments = self._last(2)
    make = self._makers.get(function.text if isinstance(function, Name) else None)
    if make is None:
      raise NamesOtherObjectsError(name_of(function))
    self._push(make(*arguments))

  def _build(self, _):
    state = self._stack.pop()
    if isinstance(self._stack[-1], Unfinished):
      self._stack[-1].finish(state)  # Else attributes, as of an OrderedDict: not needed.

  def _find_persistent(self, _):
    if self._find is None:
      raise NamesOtherObjectsError("persistent objects")
    self._push(self._find(*self._stack.pop()))
