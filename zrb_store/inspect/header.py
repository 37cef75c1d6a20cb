"""What `list` and `show` share of a session, and its inputs as readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zrb_store import codec
from zrb_store.db.transaction import Executor
from zrb_store.masking import mask_named
from zrb_store.queries import lease
from zrb_store.records import JsonObject, JsonValue, RunRecord, SessionRecord, pick


def header(session: SessionRecord) -> JsonObject:
    """Return the part of a session that `list --format json` and `show --format json` share."""
    return {
        **pick(session, "name", "project", "status", "task", "path"),
        "inputs": inputs_of(session),
        **pick(session, "created_at", "ended_at", "parent", "forked_from", "pinned"),
    }


def as_seen(executor: Executor, session: SessionRecord, runs: Sequence[RunRecord], moment: int) -> SessionRecord:
    """Return a session with the status that readers see. A stale one has no end."""
    status = lease.status_of(executor, session.status, runs[-1] if runs else None, moment)
    return replace(session, status=status, ended_at=None if status == "stale" else session.ended_at)


def inputs_of(session: SessionRecord | RunRecord) -> JsonValue:
    """Return the inputs of a session or a run, in which secrets are masked: a dict, unless they are damaged."""
    return mask_named(codec.to_json(session.inputs)) if session.inputs else {}
