"""The rendered application, for the documents that change it."""

from tests.render.conftest import nobodys_settings, template  # noqa: F401  (fixtures)
