"""Stores for programs that need many of them, one after the other."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psycopg
import sqlalchemy as sa

from zrb_store.db import migrate


class Places(Protocol):
    """A factory of prepared stores. Creating one deletes the one before."""

    def new(self, *, empty: bool = False) -> str:
        """Return the location of the next store."""


class Files:
    """SQLite files in one folder."""

    def __init__(self, folder: Path, prepare: Callable[[str], None]) -> None:
        self._prepare = prepare
        self._folder = folder
        self._numbers = itertools.count()
        self._prepare(str(folder / "template.db"))

    def new(self, *, empty: bool = False) -> str:
        for old in self._folder.glob("[0-9]*"):
            old.unlink()
        path = self._folder / f"{next(self._numbers)}.db"
        if not empty:
            shutil.copy(self._folder / "template.db", path)
        return str(path)


class Schemas:
    """Schemas of a PostgreSQL server."""

    def __init__(self, url: str, name: str, prepare: Callable[[str], None]) -> None:
        self._prepare = prepare
        self._url, self._name = url, name
        self._numbers = itertools.count(1)
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}_0")
        engine = sa.create_engine(f"{url}&options=-csearch_path%3D{name}_0", poolclass=sa.NullPool)
        with engine.connect() as bind:
            self._tables = migrate.statements(bind).replace(f"{name}_0.", "")

    def new(self, *, empty: bool = False) -> str:
        number = next(self._numbers)
        with psycopg.connect(self._url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {self._name}_{number - 1} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {self._name}_{number}".encode())
            if not empty:
                connection.execute(f"SET search_path = {self._name}_{number}; {self._tables}".encode())
        location = f"{self._url}&options=-csearch_path%3D{self._name}_{number}"
        if not empty:
            self._prepare(location)
        return location
