"""Files of a folder, a ``.zip`` or a ``.tar.*``, read where they are: nothing is written to the disk."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from artclip import safety

Parts = tuple[str, ...]
_DEPTH = 6  # of folders in folders: deeper ones hold no CLASS/FILE that is meant


@dataclass(frozen=True)
class Files:
    """The files of a source, hidden ones left out.

    Attributes:
        folders: parts of the path of each folder.
        read: parts of the path of each file -> what gives its bytes.
    """

    folders: list[Parts]
    read: dict[Parts, Callable[[], bytes]]


def is_archive(path: Path) -> bool:
    """Whether a path names an archive that :func:`files_of` reads, by its ending."""
    name = path.name.lower()
    return name.endswith((".zip", ".tar", ".tgz", ".tbz2", ".txz")) or ".tar." in name


@contextmanager
def files_of(path: Path, wanted: Callable[[str], bool]) -> Iterator[Files]:
    """The files of a folder or an archive.

    Args:
        path: of it.
        wanted: of a file's name, whether its bytes will be asked for. A ``.tar`` is read once, from its beginning to
            its end, and the packed bytes of these files are in memory until they are asked for.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an archive that is not whole, or with a member that would lie outside of it, or is a link.
    """
    if path.is_dir():
        yield _of_folder(path)
    elif not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    elif path.name.lower().endswith(".zip"):
        with safety.archive(path) as archive:
            yield _of_zip(path, archive)
    else:
        yield _of_tar(path, wanted)


def _hidden(parts: Parts) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _of_folder(path: Path) -> Files:
    found = Files([], {})

    def walk(folder: Path, parts: Parts) -> None:
        for entry in sorted(folder.iterdir()):
            below = (*parts, entry.name)
            if _hidden(below[-1:]):
                continue
            if entry.is_dir():
                found.folders.append(below)
                if len(below) < _DEPTH:
                    walk(entry, below)
            else:
                found.read[below] = entry.read_bytes

    walk(path, ())
    return found


def _checked(path: Path, name: str) -> Parts:
    """Parts of the path of a member."""
    where = PurePosixPath(name.replace("\\", "/"))
    parts = tuple(part for part in where.parts if part != ".")
    if where.is_absolute() or ".." in parts or (parts and parts[0].endswith(":")):
        raise ValueError(f"{path} has the member {name!r}, which would lie outside of it; it is not read")
    return parts


def _of_zip(path: Path, archive: zipfile.ZipFile) -> Files:
    found = Files([], {})
    for member in archive.infolist():
        parts = _checked(path, member.filename)
        if _hidden(parts):
            continue
        if member.is_dir():
            found.folders.append(parts)
        else:
            found.read[parts] = _reader(path, archive, member)
    return found


def _reader(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{member.filename} in {path} cannot be read: {error}") from error  # as behind a password

    return read


def _of_tar(path: Path, wanted: Callable[[str], bool]) -> Files:
    found, total, packed = Files([], {}), 0, path.stat().st_size
    try:
        with tarfile.open(path, "r|*") as archive:  # as a stream: to go back in a packed one is to unpack it again
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # which it would keep
                parts = _checked(path, member.name)
                total += member.size
                safety.check_size(path, total, packed)
                if _hidden(parts) or not parts:
                    continue
                if member.isdir():
                    found.folders.append(parts)
                elif not member.isreg():
                    raise ValueError(
                        f"{path} has the member {member.name!r}, which is a link or no file; it is not read"
                    )
                elif parts in found.read:
                    raise ValueError(f"{path} has two members {member.name!r}; it is not read")
                else:
                    file = archive.extractfile(member) if wanted(parts[-1]) else None
                    found.read[parts] = (lambda data: lambda: data)(file.read() if file else b"")
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole archive ({error}); it may be cut off: write or fetch it again"
        ) from error
    return found
