"""All rows of a database, to compare one with another."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import MetaData, select

from app.storage.database import Database

Contents = dict[str, list[dict[str, Any]]]


def contents(database: Database, *, without: Collection[str] = ()) -> Contents:
    """Table -> rows, of the tables as they are in the database, whatever the code has of them."""
    with database.read() as session:
        found = MetaData()
        found.reflect(session.connection())
        rows = {
            table.name: [dict(row._mapping) for row in session.execute(select(table))]
            for table in found.sorted_tables
            if table.name not in without
        }
    return {name: sorted(all_rows, key=repr) for name, all_rows in rows.items()}


def narrowed(wide: Contents, to: Contents) -> Contents:
    """`wide` with the tables and columns of `to` alone."""
    columns = {name: set(rows[0]) if rows else set() for name, rows in to.items()}
    return {
        name: sorted(({key: row[key] for key in row if key in columns[name]} for row in wide[name]), key=repr)
        for name in to
    }
