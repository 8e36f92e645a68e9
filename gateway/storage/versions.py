"""The version of the tables in a database: what an earlier gateway made gets what has come since, its rows stay.

Only additions are known: a table, a column that may be empty or has a default, an index. So every step can be done
again, and a gateway that died half-way through finds its way when it starts next, in databases whose DDL is part of a
transaction (PostgreSQL) and in those where it is not (SQLite).
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, delete, insert, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateColumn

from gateway.errors import GatewayError

TRIES = 3  # two gateways that start at once stand in each other's way once

_ours = MetaData()
versions = Table(
    "schema_versions",
    _ours,
    Column("name", String(64), primary_key=True),  # of a set of tables that change together
    Column("version", Integer, nullable=False),
)


def bring_up(engine: Engine, metadata: MetaData, name: str, version: int) -> None:
    """Have the tables of `metadata`, called `name`, as they are in this version.

    Raises GatewayError for tables of a newer gateway, SQLAlchemyError for what the database will not do.
    """
    for last in (*[False] * (TRIES - 1), True):
        try:
            with engine.begin() as connection:
                _bring_up(connection, metadata, name, version)
            return
        except DatabaseError:
            if last:
                raise


def _bring_up(connection: Connection, metadata: MetaData, name: str, version: int) -> None:
    _ours.create_all(connection)
    known = connection.execute(select(versions.c.version).where(versions.c.name == name)).scalar()
    if known is not None and known > version:
        raise GatewayError(
            f"[storage] url: the {name} there are of a newer gateway (version {known}, and this one knows {version})"
        )
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        _complete(connection, table)
    if known != version:
        connection.execute(delete(versions).where(versions.c.name == name))
        connection.execute(insert(versions).values(name=name, version=version))


def _complete(connection: Connection, table: Table) -> None:
    """Add the columns and indexes that the table does not have."""
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    quoted = connection.dialect.identifier_preparer.format_table(table)
    for column in table.columns:
        if column.name not in present:
            words = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quoted} ADD COLUMN {words}")
    for index in table.indexes:
        index.create(connection, checkfirst=True)
