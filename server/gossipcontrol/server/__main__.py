"""The command ``gossipcontrol-server``."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from gossipcontrol.server.config import Config, ConfigError, overrides, read_config
from gossipcontrol.system.printable import printable
from gossipcontrol.system.quiet import quiet_grpc
from gossipcontrol.system.stream import write_utf8

LOST = 75
"""Exit code of a replica that another has replaced: EX_TEMPFAIL of sysexits.h, for it is to be started again."""

if TYPE_CHECKING:
    from gossipcontrol.server.access.authority import Authority
    from gossipcontrol.server.access.table import Table


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "path", type=click.Path(path_type=Path), help="TOML file; GOSSIPCONTROL_* wins over it.")
@click.version_option(package_name="gossipcontrol")
@click.pass_context
def main(context: click.Context, path: Path | None) -> None:
    """Serve GossipControl until SIGTERM or SIGINT."""
    write_utf8()
    quiet_grpc()
    if context.invoked_subcommand is None:
        sys.exit(_serve(_read(path), lambda: read_config(path)))


@main.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Explain every mistake in a configuration FILE; exit with 1 if there is one."""
    from gossipcontrol.server.memory_limit import check_memory

    config = _read(path)
    mistake = check_memory(config)
    if mistake:
        click.echo(printable(mistake), err=True)
        sys.exit(1)
    hidden: list[str] = []
    for one in overrides(path):
        click.echo(printable(f"{one.key} = {one.value!r} comes from the environment: {one.variable}"))
        hidden += [f"{mistake} (in the file; the environment hides it)" for mistake in one.mistakes]
    if hidden:
        click.echo(printable("\n".join(hidden)), err=True)
        sys.exit(1)
    table = _read_table(config)
    if table is not None:
        from gossipcontrol.server.access.explanation import explain_table

        for line in explain_table(table):
            click.echo(printable(line))
    click.echo(f"{printable(str(path))}: no mistakes")


@main.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_context
def backup(context: click.Context, target: Path) -> None:
    """Copy the state to FILE, also while the service runs; exit with 1 if that fails."""
    # Imported late, so that `check` starts fast.
    from gossipcontrol.server.state.backup import BackupError, back_up

    try:
        size = back_up(_state_path(context), target)
    except BackupError as error:
        _fail(error)
    click.echo(f"{printable(str(target))}: {size} bytes")


@main.command()
@click.argument("backup_path", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_context
def restore(context: click.Context, backup_path: Path) -> None:
    """Put the backup FILE in the place of the state; the service must be stopped. The old file stays beside it."""
    from gossipcontrol.server.state.backup import KEPT, BackupError
    from gossipcontrol.server.state.backup import restore as put_back

    path = _state_path(context)
    had_state = path.exists()
    try:
        size = put_back(backup_path, path)
    except BackupError as error:
        _fail(error)
    before = f"; the old file is {path.name}{KEPT}" if had_state else ""
    click.echo(printable(f"{path}: restored, {size} bytes{before}"))


@main.command("check-state")
@click.argument("path", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.pass_context
def check_state(context: click.Context, path: Path | None) -> None:
    """Verify the state file, or a backup FILE, without changing it; exit with 1 if it is damaged."""
    from gossipcontrol.server.state.check import CheckError, check

    path = path or _state_path(context)
    try:
        found = check(path)
    except CheckError as error:
        _fail(error)
    click.echo(printable(f"{path}: intact"))
    click.echo(f"schema        {found.version}")
    click.echo(f"bytes         {found.bytes}")
    click.echo(f"log frames    {found.frames}")
    for table, rows in found.rows.items():
        click.echo(f"{f'rows {table}':<14}{rows}")
    if not found.rows:
        click.echo("An earlier version wrote it, without checksums: only its structure was checked.")


@main.group()
def access() -> None:
    """The table of identities: who may call what."""


@access.command("explain")
@click.option("--identity", required=True, help="Name of a row, or the name in a certificate.")
@click.option("--rpc", required=True, help="Name of the call, such as Rejoin.")
@click.option("--node", default="", help="The node that the call names.")
@click.option("--host", default="", help="The host that it names.")
@click.option("--store", default="", help="The store that it names.")
@click.pass_context
def access_explain(context: click.Context, identity: str, rpc: str, node: str, host: str, store: str) -> None:
    """Say whether a call would be allowed, and by which row; exit with 1 if not."""
    from gossipcontrol.server.access.explanation import UnknownCall, explain_call
    from gossipcontrol.server.access.identity import Scope

    table = _read_table(_read(context.find_root().params["path"]))
    if table is None:
        raise click.UsageError("the configuration names no access.identities; give --config before the command")
    found = table.by_name(identity)
    if found is None:
        raise click.UsageError(printable(f"no row is named {identity}, and none has such a certificate"))
    try:
        allowed, why = explain_call(found, rpc, {Scope.NODES: node, Scope.HOSTS: host, Scope.STORES: store})
    except UnknownCall as error:
        raise click.UsageError(printable(str(error))) from error
    click.echo(printable(f"{'allowed' if allowed else 'denied'}: {why}"))
    sys.exit(0 if allowed else 1)


@main.group()
def certs() -> None:
    """A small private authority, so that a hub and its clients trust each other."""


@certs.command("init")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", "hosts", multiple=True, required=True, help="Name or address by which clients reach the hub.")
@click.option("--port", type=click.IntRange(1, 65535), default=7443, show_default=True)
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Life of its certificate.")
def certs_init(directory: Path, hosts: tuple[str, ...], port: int, days: int) -> None:
    """Make an authority, the hub's certificate, a configuration and a table of identities in DIRECTORY."""
    authority = _authority(directory)
    from gossipcontrol.server.access.authority import AuthorityError
    from gossipcontrol.server.access.hub import found_hub

    try:
        configuration = found_hub(authority, hosts, port, days)
    except AuthorityError as error:
        _fail(error)
    click.echo(printable(f"gossipcontrol-server --config {configuration}"))


@certs.command("issue")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(path_type=Path, file_okay=False))
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Life of the certificate.")
def certs_issue(directory: Path, name: str, days: int) -> None:
    """Make a client's certificate and key: NAME.crt and NAME.key in DIRECTORY."""
    authority = _authority(directory)
    from gossipcontrol.server.access.authority import AUTHORITY, AuthorityError

    try:
        authority.issue(name, days)
    except AuthorityError as error:
        _fail(error)
    for variable, path in (
        ("AUTHORITY", authority.path(AUTHORITY, "crt")),
        ("CERTIFICATE", authority.path(name, "crt")),
        ("KEY", authority.path(name, "key")),
    ):
        click.echo(printable(f"GOSSIPCONTROL_TLS_{variable}={path}"))


@certs.command("revoke")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(path_type=Path, file_okay=False))
@click.argument("name")
def certs_revoke(directory: Path, name: str) -> None:
    """Put a client's certificate on the revocation list; a running hub follows within a second."""
    authority = _authority(directory)
    from gossipcontrol.server.access.authority import AuthorityError

    try:
        authority.revoke(name)
    except AuthorityError as error:
        _fail(error)
    click.echo(printable(f"{name} is revoked in {authority.revoked_path}"))


@main.command()
def token() -> None:
    """Print a new bearer token, and the row's key with its digest, which stands in the table of identities."""
    import secrets

    from gossipcontrol.server.access.table import digest_of

    made = secrets.token_urlsafe(32)
    click.echo(made)
    click.echo(f'tokens = [{{ sha256 = "{digest_of(made)}" }}]')


def _read_table(config: Config) -> Table | None:
    """The table of identities; None: the configuration names none."""
    from gossipcontrol.server.access.table import TableError, read_table

    if not config.access.identities:
        return None
    try:
        return read_table(Path(config.access.identities))
    except TableError as error:
        for mistake in error.mistakes:
            click.echo(printable(mistake), err=True)
        sys.exit(1)


def _authority(directory: Path) -> Authority:
    """The authority in a directory; its module needs the extra ``tls``."""
    try:
        from gossipcontrol.server.access.authority import Authority
    except ImportError as error:
        _fail(ImportError(f"certificates need the package {error.name}: pip install 'gossipcontrol[tls]'"))
    return Authority(directory.absolute())


def _state_path(context: click.Context) -> Path:
    """The state file of the configuration."""
    config = _read(context.parent.params["path"] if context.parent else None)
    if config.state.backend == "etcd":
        raise click.UsageError("state.backend is etcd: there is no state file; see `etcdctl snapshot save`")
    if config.state.backend == "memory":
        raise click.UsageError("state.backend is memory: there is no state file")
    return Path(config.state.path)


def _fail(error: Exception) -> NoReturn:
    click.echo(f"gossipcontrol-server: {printable(str(error))}", err=True)
    sys.exit(1)


def _read(path: Path | None) -> Config:
    try:
        return read_config(path)
    except ConfigError as error:
        for mistake in error.mistakes:
            click.echo(printable(mistake), err=True)
        sys.exit(1)


def _serve(config: Config, read: Callable[[], Config]) -> int:
    # Imported late, so that `check` starts fast.
    from gossipcontrol.server.errors import OwnershipLost, StartError
    from gossipcontrol.server.observe.log import make_logger
    from gossipcontrol.server.process import serve
    from gossipcontrol.server.runtime.event_loop import new_event_loop

    with suppress(OSError, RuntimeError):  # standard error may be no file
        faulthandler.enable()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(config, make_logger(config.log), read))
    except StartError as error:
        click.echo(f"gossipcontrol-server: {printable(str(error))}", err=True)
        return 1
    except OwnershipLost as error:
        click.echo(f"gossipcontrol-server: {printable(str(error))}; started again, this one stands by", err=True)
        return LOST
    return 0


if __name__ == "__main__":
    main()
