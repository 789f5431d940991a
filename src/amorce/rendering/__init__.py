"""Rendering through Copier's Python API; nothing of Copier is re-implemented."""
