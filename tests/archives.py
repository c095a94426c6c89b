"""Zip archives of models, changed by tests."""

import zipfile


def rewritten(source, path, change, extra=()):
    """The archive at ``source``, written to ``path`` with each member as ``change(name, data)``, and with more."""
    with zipfile.ZipFile(source) as file:
        members = [(name, change(name, file.read(name))) for name in file.namelist()]
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (*members, *extra):
            file.writestr(name, data)
    return path
