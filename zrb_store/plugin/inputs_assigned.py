"""What the attempts of a zrb session assign to its inputs (`AssignedInputs`): it is stored, and undone, with them.

What an attempt has assigned is stored when it completes, and assigned again when its stored result is used. A step
does the same. Before the next attempt of a task in this process, what its last one has assigned is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from zrb_store import codec
from zrb_store.attempt import OpenAttempt, Step
from zrb_store.codec.json_text import dumps, loads
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.masking import MASK, mask_remembered, mask_texts, remember
from zrb_store.plugin.compat import DotDict
from zrb_store.plugin.inputs import MASKED, Secrets, to_store
from zrb_store.plugin.inputs_read import ABSENT, put
from zrb_store.plugin.queue import PLAIN
from zrb_store.records import JsonValue


class _Assigned(NamedTuple):
    owner: OpenAttempt | None  # an attempt or a step; None for what is not undone
    value: Any

    def is_stored_with(self, owner: OpenAttempt) -> bool:
        """Whether an attempt or a step has made it, or a step of the attempt that is not still open."""
        return self.owner is owner or (_is_of(self.owner, owner) and self.owner is not None and not self.owner.is_open)


class _Used(NamedTuple):
    """A value that a program may change in place."""

    owner: OpenAttempt
    name: str
    value: Any
    data: str  # encoded, before that


def _is_of(found: OpenAttempt | None, owner: OpenAttempt) -> bool:
    return found is owner or (isinstance(found, Step) and found.parent is owner)


class AssignedInputs:
    """What attempts have assigned to the inputs of a session, by name and in order.

    It is stored as an encoded dict, of each name a list of the value, which is empty if the input was deleted. A secret
    is masked. If that, or a value that cannot be encoded, is among them, `unstorable` is called.
    """

    def __init__(
        self,
        inputs: DotDict,
        secrets: Secrets,
        limit: int,
        unstorable: Callable[[OpenAttempt, Exception | str], object],
    ) -> None:
        self.inputs = inputs
        self._secrets = secrets
        self._limit = limit
        self._unstorable = unstorable
        self._history: dict[str, list[_Assigned]] = {}  # each begins with what was there before
        self._used: list[_Used] = []
        self._again: dict[str, int] = {}  # when attempts had ended whose values were assigned again

    def assign(self, name: str, value: Any, owner: OpenAttempt | None) -> None:
        """Assign to an input, or delete it, for an attempt or a step."""
        if name in self._secrets.names and value is not ABSENT:
            remember(str(value))
        history = self._history.setdefault(name, [_Assigned(None, self.inputs.get(name, ABSENT))])
        if history[-1].owner is owner:
            history.pop()
        history.append(_Assigned(owner, value))
        put(self.inputs, name, value)

    def assign_again(self, text: str, owner: OpenAttempt | None = None, *, ended: int | None = None) -> None:
        """Assign what is stored of a step, which its attempt then `owner` has, or of an attempt that had `ended` then.

        Attempts are used again in another order than they had ended: the one that had ended last has the last word.
        """
        found = codec.decode(text)
        for name, values in found.items() if isinstance(found, dict) else ():
            if not isinstance(values, list):  # an import may bring anything
                continue
            if ended is not None:
                if ended < self._again.get(name, 0):
                    continue
                self._again[name] = ended
            self.assign(name, values[0] if values else ABSENT, owner)

    def changeable(self, names: Iterable[str]) -> list[str]:
        """Return those of these names whose values can be changed in place."""
        return [name for name in names if not isinstance(self.inputs.get(name), PLAIN)]

    def note_use(self, names: Iterable[str], owner: OpenAttempt) -> None:
        """Note that an attempt or a step has read values that it may change in place."""
        for name in names:
            value = self.inputs.get(name)
            if not any(each.owner is owner and each.value is value for each in self._used):
                data = self._encoded(value)
                self._used += [] if data is None else [_Used(owner, name, value, data)]

    def to_store(self, owner: OpenAttempt) -> str | None:
        """Return what an attempt, or a step, that completes is to store; None if it has assigned nothing."""
        self._note_changed(owner, completed=True)
        found: dict[str, list[Any]] = {}
        refusal: Exception | str | None = None
        for name, history in list(self._history.items()):
            own = [each for each in history if each.is_stored_with(owner)]
            if not own:
                continue
            value = own[-1].value
            stored = {MASKED: MASK} if name in self._secrets.names else to_store(value, lambda: None)
            if value is not ABSENT and stored is not value:
                refusal = f"what it has assigned to input {name} is or contains a secret, which is not stored"
            found[name] = [] if value is ABSENT else [stored]
        if not found:
            return None
        try:
            text = codec.encode(found, limit=self._limit).data
        except (UnencodableValue, ValueTooLarge) as error:
            refusal = error
            known = {str(name): [self._lenient(value) for value in values] for name, values in found.items()}
            text = dumps(mask_texts(known, mask_remembered))
        if refusal is not None:
            self._unstorable(owner, refusal)
        return text

    def undo(self, owner: OpenAttempt) -> None:
        """Undo what an attempt and its steps, or a step, has assigned or changed in place."""
        self._note_changed(owner, completed=False)
        for name, history in list(self._history.items()):
            last = history[-1]
            history[:] = [each for each in history if not _is_of(each.owner, owner)]
            if history[-1] is not last:
                put(self.inputs, name, history[-1].value)

    def _note_changed(self, owner: OpenAttempt, *, completed: bool) -> None:
        """Let what an attempt or a step has changed in place count as assigned by it.

        If several change one value, the first to complete stores the changes of all, and the last to fail undoes them.
        """
        own = [each for each in self._used if _is_of(each.owner, owner)]
        self._used = [each for each in self._used if not _is_of(each.owner, owner)]
        for used in own:
            others = [each for each in self._used if each.value is used.value]
            now = self._encoded(used.value)
            if now == used.data or self.inputs.get(used.name) is not used.value or (others and not completed):
                continue
            before = codec.decode(used.data)
            history = self._history.setdefault(used.name, [_Assigned(None, used.value)])
            history[:] = [each._replace(value=before) if each.value is used.value else each for each in history]
            self.assign(used.name, used.value, used.owner)
            self._used = [each._replace(data=now or each.data) if each in others else each for each in self._used]

    def _lenient(self, value: Any) -> JsonValue:
        return loads(codec.encode(value, lenient=True, limit=self._limit).data)

    def _encoded(self, value: Any) -> str | None:
        try:
            return codec.encode(value, limit=self._limit).data
        except (UnencodableValue, ValueTooLarge):
            return None
