"""Writes the Homebrew formula of a release: python -m dev.homebrew_formula dist/gossipcontrol-X.tar.gz --url URL."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click

FORMULA = Path(__file__).parents[1] / "deploy" / "homebrew" / "gossipcontrol.rb"


def formula(archive: Path, url: str) -> str:
    """The formula with the address and the checksum of this source archive; Homebrew reads the version in the URL."""
    if not re.fullmatch(r"gossipcontrol-.+\.tar\.gz", archive.name):
        raise click.UsageError(f"{archive.name} is not gossipcontrol-VERSION.tar.gz")
    if not re.fullmatch(rf'https://[^\s"#]+/{re.escape(archive.name)}', url):
        raise click.UsageError(f"{url} is not an https address that ends in {archive.name}")
    text = FORMULA.read_text(encoding="utf-8")
    for name, value in (("url", url), ("sha256", hashlib.sha256(archive.read_bytes()).hexdigest())):
        text = re.sub(rf'^  {name} ".*"$', f'  {name} "{value}"', text, flags=re.MULTILINE)
    return re.sub(r"\A(#.*\n)+", "# Written by dev/homebrew_formula.py.\n", text)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", required=True, help="Where the archive is published.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), default=FORMULA, show_default=True)
def main(archive: Path, url: str, to: Path) -> None:
    """Write the formula for this archive."""
    to.write_text(formula(archive, url), encoding="utf-8")
    click.echo(to)


if __name__ == "__main__":
    main()
