"""The command line around the template."""

__version__ = "0.1.0.dev0"
