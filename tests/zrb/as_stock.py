"""Operations on `ctx.xcom` to be compared with stock zrb: `perform` returns the result of each.

This runs inside a task, in the environment of one release.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections import deque
from typing import Any

from zrb import Xcom
from zrb.dot_dict.dot_dict import DotDict

# Each line is executed after the lines above it. It has statements and an expression, whose value is compared. `x` is
# `ctx.xcom`, and `q` is its queue `w`.
QUEUE = r"""
q.push(1), q.append(2), q.appendleft(0), q.extend([3, 4]), q.extendleft([-1, -2]), q.insert(2, "in"), q
q.copy()
q + deque([5])
q + q
deque([5]) + q
Xcom([5]) + q
q * 2
2 * q
copy.copy(q)
copy.deepcopy(q)
pickle.loads(pickle.dumps(q))
q == deque(q), deque(q) == q, q == list(q), q != Xcom(q), q < deque([9]), q >= q.copy()
q.copy().peek(), q.copy().push(9), q
q + [1]
q * "a"
q[1:2]
q[99]
q.__class__, isinstance(q, Xcom), isinstance(q, deque), bool(q), len(q)
str(q), repr(q), f"{q}", format(q)
list(reversed(q)), q.count(3), q.index(3), 3 in q, 77 in q
q.index(77)
q.remove(77)
q.remove(3), q
q.rotate(2), q
q.reverse(), q
q.__iadd__([7]), q
q.__imul__(2), q
q.pop(), q.popleft(), q.popright(), q
q.pop(0)
q.__setitem__(0, "zero"), q
q.__delitem__(0), q
q.clear(), q, bool(q)
q.pop()
q.peek()
q.popright()
q.get(), q.get(5), q.get(default_value=6)
q.set(1), q.push(2), q.set(3), q
q.maxlen
hash(q)
sorted(q), sum(q), max(q), [*q], tuple(q), set(q), dict(enumerate(q))
json.dumps(list(q))
json.dumps(q)
iter(q).__class__.__name__ != "", next(iter(q))
q.unknown
q.__len__(), q.__contains__(3)
deque(q), Xcom(q), Xcom(q) == q
q.extend(q), q
q.extend(5)
q += [8]; q
q *= 2; q
del q[0]; q
q[0] = 5; q
NAN = float("nan"); q.push(NAN); (NAN in q, q.count(NAN), q.index(NAN), q[-1] is NAN)
q.remove(NAN), q
"""

NAMES = r"""
"a" in x, "w" in x, x.get("a"), x.get("a", 5), x.get(key="a") if 0 else None
x["a"] = Xcom([1]); x["a"], x.a, "a" in x, x.get("a")
x.a.push(2); x["a"], len(x["a"])
del x["a"]; ("a" in x, x.get("a"), "a" in x.keys(), "a" in list(x), names(x))
x["a"] = Xcom([1]); x["a"]
x.pop("a"), "a" in x, names(x)
x.pop("a")
x.pop("a", 7)
x.pop("a", None)
x.b = Xcom([1, 2]); x.b, x["b"]
del x.b; ("b" in x, names(x))
del x.b
del x["b"]
x.setdefault("c", Xcom([4])), x["c"], x.setdefault("c", 5)
x.setdefault("d"), x["d"]
x.setdefault("d2", {}).update(k=1), x["d2"]
x.update({"e": Xcom([1])}, f=2); x["e"], x["f"]
x.update([("g", 3)]), x["g"]
x.update(h=Xcom()), x["h"]
x |= {"i": Xcom([9])}; x["i"], x.i
(x | {"j": 1}).__class__.__name__, "j" in x, (x | {"j": 1})["i"], (x | {"j": 1})["j"]
({"j": 1} | x)["i"], ({"j": 1} | x)["j"]
names(x), len(x) == len(list(x)), bool(x)
sorted(x.keys()) == sorted(x), [n for n in x.keys() if n in "cdefghi"]
list(zip(x.keys(), x.values())) == list(x.items()), list(reversed(x.keys())) == list(x.keys())[::-1]
[(k, v) for k, v in x.items() if k in "ei"], [v for v in x.values() if v == Xcom([9])]
{k: v for k, v in dict(x).items() if k in "cdei"}
{k: v for k, v in {**x}.items() if k in "cdei"}
x.copy().__class__.__name__, x.copy()["i"], x.copy() is x, x.copy() == x
x.copy()["i"].push(10), x["i"]
y = x.copy(); del y["i"]; "i" in x, "i" in y
x == dict(x), dict(x) == x, x != {}, x == 5
x["i"] = x["i"]; x["i"], x.update(x), x["i"], x.__ior__(x)["i"]
list(reversed(x)) == list(x)[::-1]
x.fromkeys(["a"], 1).__class__.__mro__[-3:], isinstance(x, DotDict), isinstance(x, dict)
copy.copy(x).__class__.__mro__[-3:], copy.copy(x)["i"]
copy.deepcopy(x.get("i"))
x["k"] = x["i"]; x["k"].push(11), x["i"], x["k"]
x["i"] is x["i"], x["k"] is x["i"], x.i is x["i"]
del x["k"]; x["i"], "k" in x
x.popitem()
"popped" if x.popitem() else "", len(x) == len(list(x))
[(x.update({name: Xcom()}), getattr(x, name), x.pop(name)) for name in ("queue", "seed", "names", "put", "owner")]
x._hidden = Xcom([1]); list(x._hidden), x["_hidden"][0], x.pop("_hidden"), hasattr(x, "_hidden")
"""

KEYS = r"""
x[1] = "one"; x[1], 1 in x, x.get(1), x.pop(1), 1 in x
x[(1, 2)] = Xcom([1]); x[(1, 2)].push(2), x[(1, 2)], (1, 2) in x, x.get((1, 2)), (1, 2) in list(x)
del x[(1, 2)]; (1, 2) in x
x[None] = Xcom([1]); x[None].pop(), x[None], None in x, x.setdefault(None, 4)
x[1.5] = Xcom([1]); x[1.5], 1.5 in x
x[b"b"] = Xcom([1]); x[b"b"], b"b" in x, x.pop(b"b"), b"b" in x
x[True] = Xcom([1]); x[1], 1 in x
x["nul\0"] = Xcom([1]); x["nul\0"], "nul\0" in x, x.get("nul\0")
x["\ud800"] = Xcom([1]); x["\ud800"], "\ud800" in x
x["l" * 3000] = Xcom([1]); x["l" * 3000], "l" * 3000 in x, x.pop("l" * 3000), "l" * 3000 in x
x[""] = Xcom([1]); x[""], "" in x
5 in x, "\0" in x, "l" * 4000 in x, x.get(5), x.get("\0", 1), x.get("l" * 4000), None in x
[] in x
x[[]]
x.get([])
x[[]] = 1
del x[77]
x.pop(77)
x.pop(77, 1), x.setdefault(78, 1), x[78]
"""

IN_MEMORY = r"""
x["plain"] = "text"; x.plain, x["plain"].upper(), "plain" in x, x.get("plain"), x.pop("plain"), "plain" in x
x["was"] = "text"; x["was"] = Xcom([1]); x["was"]
x["was"] = "text"; x["was"], x.get("was")
x["was"] = Xcom(); x["was"], len(x["was"])
x.__class__ = 5
mine = Xcom([1]); x["mine"] = mine; mine.push(2), x["mine"], mine
x["mine"].push(3), mine, len(mine), list(mine), mine[-1], mine.pop(), x["mine"], bool(mine)
x["both"] = x["two"] = Xcom([1]); x["both"].push(2), x["two"]
x["special"] = Special([1]); x["special"].push(2), x["special"].last(), x["special"].__class__.__name__
x["special"] = Xcom([5]); x["special"], x["special"].__class__.__name__
"""

CALLBACKS = r"""
calls = []; x["cb"] = Xcom(); listen(x["cb"], calls); x["cb"].push(1), x["cb"].append(1), x["cb"].appendleft(1), calls
calls.clear(), x["cb"].extend([2, 3]), calls
calls.clear(), x["cb"].extendleft([2, 3]), calls
calls.clear(), x["cb"].extend([]), calls
calls.clear(), x["cb"].insert(1, 2), calls
calls.clear(), x["cb"].__setitem__(0, 2), calls
calls.clear(), x["cb"].remove(2), calls
calls.clear(), x["cb"].pop(), calls
calls.clear(), x["cb"].popleft(), calls
calls.clear(), x["cb"].popright(), calls
calls.clear(), x["cb"].set(1), calls
calls.clear(), x["cb"].__delitem__(0), calls
calls.clear(), x["cb"].__iadd__([1, 2]), calls
calls.clear(), x["cb"].rotate(), calls
calls.clear(), x["cb"].reverse(), calls
calls.clear(), x["cb"].__imul__(2), calls
calls.clear(), x["cb"].clear(), calls
calls.clear(), x["cb"].copy().push(1), calls
mine = x["cb"]; del x["cb"]; x["cb"] = Xcom(); calls.clear(), x["cb"].push(1), calls
made = Xcom(); listen(made, calls); x["made"] = made; calls.clear(), made.push(1), x["made"].push(2), x["made"], calls
x["cbs"] = Xcom([1, 2]); calls.clear(), listen(x["cbs"], calls), x["cbs"].popright(), x["cbs"].push(4), calls
"""

END = r"""
x.__missing_attribute__
x.get("a", default=5)
x.pop()
x.clear(); (len(x), list(x), "w" in x, "i" in x, names(x), x.get("w"), bool(x), x == {})
x.popitem()
x["w"] = Xcom([1]); x["w"], names(x)
x.clear(), x
"""

# Different from stock zrb, which raises KeyError: a missing queue reads as an empty one.
MISSING = r"""
x["no"], "no" in x, len(x["no"])
x.never, "never" in x, x.get("nothing"), "nothing" in x
x["pushed"].push(1), x["pushed"].get(), x.also.append(2), x["also"]
x[5].push(1), x[5], 5 in x
x["nul\0"].push(1), x["nul\0"]
x[None, 1].extend([1, 2]), x[None, 1].pop()
x["gone"].push(1); del x["gone"]; x["gone"], "gone" in x
x._hidden
x["{0}".format("no")].peek()
"""


class Special(Xcom):
    """A queue class that a user has defined."""

    def last(self) -> Any:
        """Return the newest value."""
        return self[-1]


def names(x: Any) -> list[Any]:
    """Return the names in `ctx.xcom` except that of the task."""
    return sorted((name for name in x if name != "main"), key=repr)


def listen(queue: Any, calls: list[str]) -> None:
    """Record each call of a callback. Releases of zrb have different names for the methods that add callbacks."""
    for kind in ("push", "pop"):
        add = getattr(queue, f"append_{kind}_callback", None) or getattr(queue, f"add_{kind}_callback")
        add(lambda kind=kind: calls.append(kind))


def shown(value: Any) -> str:
    """Format a value with its type, or each of several values."""
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    if isinstance(value, deque | Xcom):
        return f"{value.__class__.__name__}{list(value)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(name)}: {shown(one)}' for name, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return repr(value)[:100]


def answer(operation: str, known: dict[str, Any]) -> str:
    """Return the formatted value of an operation, or its exception."""
    statements, _, last = operation.rpartition("; ")
    try:
        exec(statements, known)  # noqa: S102 - the operations above
        try:
            expression = compile(last, "operation", "eval")
        except SyntaxError:
            exec(last, known)  # noqa: S102
            return "-"
        return shown(eval(expression, known))  # noqa: S307
    except Exception as error:  # noqa: BLE001 - what is compared
        # Users read the text of this one: it says that a queue is empty.
        return f"IndexError: {error}" if type(error) is IndexError else type(error).__name__


def perform(x: Any, *groups: str) -> list[str]:
    """Do groups of operations to a `ctx.xcom`, and return a line with the result of each."""
    x["w"] = Xcom([])
    known = {**globals(), "copy": copy, "json": json, "pickle": pickle, "DotDict": DotDict, "x": x, "q": x["w"]}
    results = [f"{line}  =>  {answer(line, known)}" for group in groups for line in group.strip().splitlines()]
    return [line.encode("utf-8", "backslashreplace").decode() for line in results]


STOCK = (QUEUE, NAMES, KEYS, IN_MEMORY, CALLBACKS, END)
