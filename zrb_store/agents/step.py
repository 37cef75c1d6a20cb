"""Which step of an agent an attempt is of, as its attributes say."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol, Self

from zrb_store.names import numbered, quoted


class OfKind(Protocol):
    """An attempt of a step, or what is to be one."""

    @property
    def kind(self) -> str: ...

    @property
    def attributes(self) -> str | None: ...


class AgentStep(NamedTuple):
    """Which step of an agent an attempt is of. Its attributes are these, without those that have their defaults."""

    agent: str = ""  # the name of an agent of `durable`; zrb's have none
    run: int = 1  # which run of the agent it is, in its task
    number: int = 1  # of a request or a prompt in this run; of a call, which one with its id
    tool: str = ""
    call: str = ""  # the id that the model gave to the call; the ids, of what answered several

    @classmethod
    def of(cls, attempt: OfKind) -> Self:
        """Return what the attributes of an agent's step say."""
        found: dict[str, Any] = json.loads(attempt.attributes or "{}")
        defaults = cls._field_defaults.items()
        return cls(**{name: found[name] for name, default in defaults if type(found.get(name)) is type(default)})

    def encoded(self) -> str | None:
        """Return the attributes to store, as JSON."""
        found = {name: own for name, own in self._asdict().items() if own != self._field_defaults[name]}
        return json.dumps(found) if found else None

    @property
    def label(self) -> str:
        """The run of the agent as people read it, such as `desk~2`; empty for an agent of zrb."""
        return numbered(quoted(self.agent, unless='[^"~:]+'), self.run) if self.agent else ""
