"""What can go wrong, in words for the person, with an exit code for each class."""


class AmorceError(Exception):
    """Something the person can mend. Its text is one sentence that says how."""

    exit_code = 1


class AnswerError(AmorceError):
    """An answer was refused, or there is nobody to give one."""

    exit_code = 3


class DestinationError(AmorceError):
    """The destination cannot take the project."""

    exit_code = 4


class TemplateError(AmorceError):
    """The template is not there, or cannot be rendered."""

    exit_code = 5


class ToolError(AmorceError):
    """A program that amorce relies on is missing or too old."""

    exit_code = 6
