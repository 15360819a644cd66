"""Writes the Homebrew formula of a release: python -m dev.homebrew_formula dist/gossipcontrol-X.tar.gz."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click

FORMULA = Path(__file__).parents[1] / "deploy" / "homebrew" / "gossipcontrol.rb"


def formula(archive: Path) -> str:
    """The formula with the version and the checksum of this source archive."""
    found = re.fullmatch(r"gossipcontrol-(.+)\.tar\.gz", archive.name)
    if found is None:
        raise click.UsageError(f"{archive.name} is not gossipcontrol-VERSION.tar.gz")
    text = FORMULA.read_text(encoding="utf-8")
    text = re.sub(r"(releases/gossipcontrol-)[^\"]+(\.tar\.gz)", rf"\g<1>{found[1]}\g<2>", text)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return re.sub(r'sha256 "[0-9a-f]{64}"', f'sha256 "{digest}"', text)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), default=FORMULA, show_default=True)
def main(archive: Path, to: Path) -> None:
    """Write the formula for this archive."""
    to.write_text(formula(archive), encoding="utf-8")
    click.echo(to)


if __name__ == "__main__":
    main()
