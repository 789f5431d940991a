"""The commands: parse, call, print."""

import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from amorce import __version__
from amorce.errors import AmorceError, AnswerError


class _Commands(click.Group):
    """A group whose commands end with one sentence, never a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().invoke(ctx)
        except AmorceError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nInterrupted: nothing was written.", err=True)
            ctx.exit(128 + signal.SIGINT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Start a service for Cloud Pi Native that runs, is tested and meets its requirements."""


@main.command()
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--data", "pairs", multiple=True, metavar="NAME=VALUE", help="Answer one question.")
@click.option(
    "--data-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Answer the questions named in this YAML file; --data goes before it.",
)
@click.option("--defaults", is_flag=True, help="Take the default of every other question.")
@click.option(
    "--vcs-ref",
    metavar="REF",
    help="Tag, branch or commit of the template; its newest tag, or HEAD without one.",
)
@click.option(
    "--template",
    metavar="SRC",
    envvar="AMORCE_TEMPLATE",
    show_envvar=True,
    help="Directory or Git address of the template; the checkout amorce runs from by default.",
)
def new(
    destination: Path,
    pairs: tuple[str, ...],
    data_file: Path | None,
    defaults: bool,
    vcs_ref: str | None,
    template: str | None,
) -> None:
    """Render a new project into DESTINATION, which must not exist or be empty."""
    from amorce.rendering.new import checkout, create

    answers = {**_read_answers(data_file), **dict(_split(pair) for pair in pairs)}
    project = create(
        destination, template or checkout(), answers, defaults=defaults, vcs_ref=vcs_ref
    )
    for note in project.notes:
        click.echo(f"Note: {note}", err=True)
    version = f" from template {project.version}" if project.version else ""
    click.echo(f"Created {project.path}{version}.")
    click.echo(f"Next: cd {shlex.quote(str(destination))} && make install test run")


def _split(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not (name and equals):
        raise AnswerError(f"--data {pair}: write it as NAME=VALUE.")
    return name, value


def _read_answers(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise AnswerError(f"--data-file {path} cannot be read as YAML: {reason}") from error
    if not isinstance(answers, dict):
        raise AnswerError(f"--data-file {path}: write one `question: answer` a line.")
    return answers
