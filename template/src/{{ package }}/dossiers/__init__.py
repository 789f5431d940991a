"""The dossier: a case file that a citizen opens and an agent processes.

The example business object. Copy this folder for the next one, and delete it when it has served.
"""
