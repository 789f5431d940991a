"""A new project: what `copier copy` renders, put in place whole or not at all."""

import difflib
import io
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from amorce.errors import AnswerError, DestinationError, TemplateError, ToolError

# The oldest one that knows `_envops: {undefined: jinja2.StrictUndefined}`.
COPIER_MINIMUM = (9, 15)

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|git\+|gh:|gl:", re.IGNORECASE)
_REFUSED_ANSWER = re.compile(
    r"Validation error for question '(?P<name>\w+)': (?P<why>.*)", re.DOTALL
)


@dataclass(frozen=True)
class NewProject:
    """A project that was rendered.

    Attributes:
        path: Where it is.
        version: The template's version as Git describes it, None where it is not in Git.
        notes: What the person should know about this render, one sentence each.
    """

    path: Path
    version: str | None
    notes: tuple[str, ...]


def checkout() -> str:
    """Return the address of the template that this installation of amorce belongs to.

    Raises:
        TemplateError: amorce was installed without its template.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "copier.yml").is_file():
        raise TemplateError(
            "This amorce was installed without its template: "
            "say where the template is with --template or AMORCE_TEMPLATE."
        )
    return str(root)


def create(
    destination: Path,
    template: str,
    answers: Mapping[str, Any],
    *,
    defaults: bool,
    vcs_ref: str | None = None,
) -> NewProject:
    """Render a template into a destination that does not exist yet, or is an empty directory.

    The project is rendered beside its destination and renamed into place, so a render that is
    interrupted, killed or refused leaves nothing half-written there.

    Args:
        destination: Where the project goes; missing parents are created.
        template: What `copier copy` takes: a directory or a Git address.
        answers: The answers that are known already, by question.
        defaults: Take the default of every other question instead of asking.
        vcs_ref: The template's tag, branch or commit; its newest tag when None.

    Raises:
        AnswerError: An answer was refused, or there is no terminal to ask on.
        DestinationError: The destination is in use, or cannot be written.
        TemplateError: The template is not there, or cannot be rendered.
        ToolError: Git is missing, or Copier is too old.
    """
    _check_tools()
    _check_template(template)
    if not defaults and not sys.stdin.isatty():
        raise AnswerError(
            "There is no terminal to ask the questions on: add --defaults, "
            "and --data NAME=VALUE for each answer that differs."
        )
    with _destination_errors(destination):
        destination = destination.resolve()
        _check_free(destination)
        with _staging(destination) as staged:
            project = _render(template, staged, answers, defaults=defaults, vcs_ref=vcs_ref)
            destination.parent.mkdir(parents=True, exist_ok=True)
            staged.rename(destination)
    return NewProject(destination, project.version, project.notes)


def _check_tools() -> None:
    if shutil.which("git") is None:
        raise ToolError("git is missing: install it (Debian: apt-get install git) and try again.")
    found = metadata.version("copier")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < COPIER_MINIMUM:
        raise ToolError(
            f"Copier {found} is too old: install {'.'.join(map(str, COPIER_MINIMUM))} or newer "
            "(pip install --upgrade copier)."
        )


def _check_template(template: str) -> None:
    # Copier would take any directory for a template and copy all of it.
    if _REMOTE.match(template):
        return
    path = Path(template).expanduser()
    if not path.exists():
        raise TemplateError(f"There is no template at {template}: check the path or the address.")
    is_repository = template.endswith(".git")
    if path.is_dir() and not is_repository and not any(path.glob("copier.y*ml")):
        raise TemplateError(f"{template} is not a template: it has no copier.yml.")


def _check_free(destination: Path) -> None:
    if destination == Path.cwd():
        # Renaming over it would leave the person's shell in a directory that is gone.
        raise DestinationError(
            "The destination is the directory you are in: go one level up and name it from there."
        )
    if not destination.exists():
        return
    if not destination.is_dir():
        raise DestinationError(f"{destination} is a file: choose another destination.")
    if any(destination.iterdir()):
        raise DestinationError(
            f"{destination} is not empty: choose another destination, or empty it first."
        )


@contextmanager
def _destination_errors(destination: Path) -> Iterator[None]:
    """Say what the system refused at or around the destination."""
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{destination} cannot be written ({error.strerror or error}): "
            "mend that, or choose another destination."
        ) from error


@contextmanager
def _staging(destination: Path) -> Iterator[Path]:
    """Yield a path of the same name and file system, removed in the end with all that is in it."""
    anchor = next(parent for parent in destination.parents if parent.exists())
    holder = Path(tempfile.mkdtemp(prefix=".amorce-", dir=anchor))
    try:
        # The last part stays the same: a template may use `_folder_name`.
        yield holder / destination.name
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _render(
    template: str,
    staged: Path,
    answers: Mapping[str, Any],
    *,
    defaults: bool,
    vcs_ref: str | None,
) -> NewProject:
    import copier
    from copier.errors import CopierWarning

    said = io.StringIO()
    with (
        _copier_errors(said),
        warnings.catch_warnings(record=True) as caught,
        redirect_stderr(said),
    ):
        worker = copier.run_copy(
            template,
            staged,
            data=dict(answers),
            vcs_ref=vcs_ref,
            defaults=defaults,
            quiet=True,
        )
        unknown = [
            _unknown_answer(name, worker.template.questions_data)
            for name in answers
            if name not in worker.template.questions_data
        ]
    # A person who has just answered every question keeps the result of that work.
    if unknown and defaults:
        raise AnswerError(unknown[0])
    notes = [str(each.message) for each in caught if issubclass(each.category, CopierWarning)]
    return NewProject(staged, worker.template.commit, (*notes, *unknown))


def _unknown_answer(name: str, questions: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, questions, n=1)
    return f"There is no question {name}" + (f": did you mean {close[0]}?" if close else ".")


@contextmanager
def _copier_errors(said: io.StringIO) -> Iterator[None]:
    """Turn what Copier, Jinja and Git raise into one sentence."""
    from copier.errors import (
        CopierError,
        InteractiveSessionError,
        UnsafeTemplateError,
        UnsupportedVersionError,
    )
    from jinja2.exceptions import TemplateError as JinjaError
    from plumbum import ProcessExecutionError

    try:
        yield
    except KeyboardInterrupt:  # at a question, Copier's is one of its own errors too
        raise
    except InteractiveSessionError as error:
        raise AnswerError(
            "The terminal was closed before the last question: answer again, or add --defaults."
        ) from error
    except UnsupportedVersionError as error:
        raise ToolError(f"{error} Upgrade it (pip install --upgrade copier).") from error
    except UnsafeTemplateError as error:
        raise TemplateError(
            "This template wants to run code of its own (tasks or extensions), which amorce does "
            "not allow: read it, then use `copier copy --trust` if you trust it."
        ) from error
    except ProcessExecutionError as error:
        reason = _last_line(str(error.stderr)).removeprefix("fatal: ")
        raise TemplateError(f"Git could not fetch the template: {reason}") from error
    except (CopierError, JinjaError) as error:
        reason = _last_line(said.getvalue()) or _one_line(error)
        file = getattr(error, "name", None) or "The template"
        raise TemplateError(f"{file} cannot be rendered: {reason}") from error
    except ValueError as error:
        if refused := _REFUSED_ANSWER.fullmatch(str(error)):
            raise AnswerError(f"{refused['name']}: {_one_line(refused['why'])}") from error
        if str(error).startswith("Unknown revision"):
            raise TemplateError(
                f"{error} in the template: name one of its tags, branches or commits."
            ) from error
        raise AnswerError(f"An answer was refused: {_one_line(error)}") from error


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
