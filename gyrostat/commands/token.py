"""`gyrostat token`: makes, lists and revokes the tokens of a backend."""

import argparse
from typing import Any

from gyrostat.commands import add_backend, client_of
from gyrostat.wire.scopes import SCOPES

HELP = "Make, list and revoke tokens of a backend; its own, or one with the scope admin, is needed for that."


def configure(parser: argparse.ArgumentParser) -> None:
    """What to do, and where."""
    add_backend(parser, "admin")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a token; it is printed once")
    create.add_argument("name", help="whose it is, or what for")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        required=True,
        help="read to look, ingest to train and send, run to start and steer, admin everything; may be repeated",
    )
    create.add_argument("--days", type=int, help="how long it is good (default: for ever)")
    actions.add_parser("list", help="show the tokens, without their text")
    actions.add_parser("revoke", help="refuse a token from now on").add_argument("id", help="as the list has it")


def run(options: argparse.Namespace) -> int:
    """Does it, and prints what became of it."""
    with client_of(options) as client:
        if options.action == "create":
            print(client.create_token(options.name, options.scope, days=options.days)["token"])
        elif options.action == "list":
            print(_table(client.tokens()))
        else:
            client.revoke_token(options.id)
            print(f"{options.id} is revoked")
    return 0


def _table(tokens: list[dict[str, Any]]) -> str:
    rows = [("id", "scopes", "expires", "last used", "name")]
    rows += [
        (
            token["id"],
            ",".join(token["scopes"]),
            (token["expires_at"] or "never")[:10],
            (token["last_used_at"] or "never")[:16].replace("T", " "),
            token["name"],
        )
        for token in tokens
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
