"""Statements that are written out once and go to the driver itself, for what somebody waits for: having SQLAlchemy
build them, look them up and read their rows takes longer than what they do. Everything else asks SQLAlchemy, over the
same connections.

On PostgreSQL a transaction goes through a pipeline: it waits where an answer is read and for the commit, and not for
each of its statements. Statements are prepared by psycopg when they have been used a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError

_SPOKEN = {"sqlite": ("sqlite://", "named"), "postgresql": ("postgresql+psycopg://", "pyformat")}


def written(statement: Any, dialect: str) -> str:
    """A statement in the words of a driver, sqlite3's or psycopg's, its parameters by name. Values that stand in it are
    left out: it is made of columns and of bindparam alone.
    """
    url, style = _SPOKEN[dialect]
    spoken: Callable[..., Any] = make_url(url).get_dialect()
    return str(statement.compile(dialect=spoken(paramstyle=style)))


def driver(connection: Connection) -> Any:
    """The driver's own connection: `execute(text, parameters)` is answered by a cursor, for both drivers."""
    return connection.connection.dbapi_connection


@contextmanager
def told(connection: Connection) -> Iterator[None]:
    """What the driver raises meanwhile is raised as SQLAlchemy would raise it."""
    own, dialect = driver(connection), connection.dialect
    try:
        yield
    except dialect.loaded_dbapi.Error as error:
        gone = dialect.is_disconnect(error, own, None)
        base = dialect.loaded_dbapi.Error
        raise DBAPIError.instance(
            None, None, error, base, hide_parameters=True, connection_invalidated=gone, dialect=dialect
        ) from error


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of it or nothing, and on the disk when this ends. What fails is raised as `told` does, and leaves a
    connection that has to be closed: nothing is rolled back here.
    """
    own, is_sqlite = driver(connection), connection.dialect.name == "sqlite"
    with told(connection), nullcontext() if is_sqlite else own.pipeline():
        if is_sqlite:
            own.execute("BEGIN IMMEDIATE")  # it waits for other writers here, and not halfway
        yield
        own.commit()
