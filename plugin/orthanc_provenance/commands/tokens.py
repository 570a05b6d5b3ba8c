"""Makes, lists and revokes access tokens for research routes.

Works on the database of the index, while Orthanc runs or not, and asks nobody who you are: whoever may write
that file (or knows the database's URL) administers its tokens. So it also works where Orthanc's own
authentication is off, and nobody could log in to its REST API (which has the same at /provenance/api/tokens).

  orthanc-provenance tokens make --database /var/lib/orthanc/db-v6 --route research --name "Ada's notebook"
  orthanc-provenance tokens list --database /var/lib/orthanc/db-v6
  orthanc-provenance tokens revoke --database /var/lib/orthanc/db-v6 0123456789ab

A token is printed once, by "make", alone on standard output. It is sent as "Authorization: Bearer prov-…";
while Orthanc checks users itself ("AuthenticationEnabled": true) it refuses that header, and the token is
sent as "X-Provenance-Token: prov-…" beside the user and password of a user of Orthanc. Revoking one works
from the next request on.

Exit status: 0 if it was done, 1 if there is no such token, 2 for wrong usage or an unusable database.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..doors.tokens import DEFAULT_DAYS, MAX_DAYS, Tokens
from ..errors import ConfigurationError
from ..index.schema import open_engine, query, released, unavailable
from ..index.schema import tokens as table

_FILE = "provenance.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--database",
        required=True,
        metavar="WHERE",
        help=f'the file {_FILE}, the folder it is in, or the URL in "DatabaseUrl"',
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser("make", parents=[shared], help="make a token and print it")
    make.add_argument(
        "--route", required=True, help="the route that it opens, by its name in the configuration"
    )
    make.add_argument("--name", required=True, help="whom or what it is for, to be told from others later")
    make.add_argument(
        "--days",
        type=int,
        default=DEFAULT_DAYS,
        help=f"how long it is valid, 1 to {MAX_DAYS}; default: {DEFAULT_DAYS}",
    )
    listing = actions.add_parser("list", parents=[shared], help="list the tokens, newest first")
    listing.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    revoke = actions.add_parser("revoke", parents=[shared], help="end a token now")
    revoke.add_argument("id", help='its identifier, the first column of "list"')


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` ask for; returns the exit status. Raises ProvenanceError."""
    engine = _open(arguments.database)
    try:
        tokens = Tokens(engine)
        if arguments.action == "make":
            return _make(arguments, engine, tokens)
        if arguments.action == "revoke":
            return _revoke(arguments.id, tokens)
        return _list(arguments.format, tokens)
    finally:
        engine.dispose()


def _open(where: str) -> Engine:
    """The engine for a database that is there. Raises ConfigurationError and IndexUnavailable."""
    try:
        engine = open_engine(where if "://" in where else _file_url(Path(where)), Path())
    except (ArgumentError, ImportError) as problem:
        raise ConfigurationError(f"--database: {problem}") from problem
    if engine.dialect.name == "sqlite":
        # SQLite would make a file that is not there, and nobody would look for tokens in it.
        path = Path(engine.url.database or "")
        if not path.is_file():
            raise ConfigurationError(
                f"--database: there is no file {path}; the plugin makes it at its first start, in Orthanc's "
                '"IndexDirectory" or "StorageDirectory"'
            )
    try:
        # An index that an earlier version made has no tokens yet.
        table.create(engine, checkfirst=True)
    except SQLAlchemyError as problem:
        raise unavailable(engine, problem) from problem
    return engine


def _file_url(path: Path) -> str:
    return f"sqlite:///{(path / _FILE if path.is_dir() else path).absolute()}"


def _make(arguments: argparse.Namespace, engine: Engine, tokens: Tokens) -> int:
    text, token = tokens.make(arguments.name, arguments.route, arguments.days, f"command:{getpass.getuser()}")
    print(text)
    about = tokens.describe(token)
    _tell(f'token {token.id} for {token.name!r} opens the route "{token.route}" until {about["expires"]}')
    if not query(engine, released.select().where(released.c.route == token.route).limit(1)):
        _tell(f'nothing is released on a route "{token.route}" yet; is that how the configuration names it?')
    return 0


def _revoke(identifier: str, tokens: Tokens) -> int:
    token = tokens.revoke(identifier)
    if token is None:
        _tell(f'there is no token {identifier!r}; "tokens list" shows what there is')
        return 1
    _tell(f"token {token.id} for {token.name!r} is revoked")
    return 0


def _list(form: str, tokens: Tokens) -> int:
    for token in tokens.listed():
        about = tokens.describe(token)
        print(json.dumps(about) if form == "jsonl" else _line(about))
    return 0


def _line(about: dict[str, Any]) -> str:
    until = about["revoked"] or about["expires"]
    start = f"{about['id']}  {about['state']:<8} {until}  {about['route']:<12}"
    return f"{start} {about['name']} ({about['made_by']})"


def _tell(text: str) -> None:
    print(f"orthanc-provenance: {text}", file=sys.stderr)
