"""A file of lines that is bounded: when it is full, it is renamed, and another one begins.

Whole batches are written, and bytes are counted: the `RotatingFileHandler` of the standard library
writes and flushes each line by itself, goes by characters, and knows no header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from supervisor.recording import HEADER, is_header


class RotatingFile:
    """Lines of a trace below their header, in `path`; `path.1` is the last one that was full,
    `path.2` the one before.

    A trace that stands in `path` is gone on with; what is none is left alone. The file may be moved
    away at any time, and another process may write to it as well.

    Attributes:
        path: the newest file.
        written: how many lines have been written whole.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self.written = 0
        self._header = HEADER.encode()
        self._max_bytes = max_bytes
        self._files = files
        self._file: FileIO | None = None
        self._size = 0

    def open(self) -> None:
        """Open it, and take out a line at its end that was cut off.

        Raises:
            OSError: it cannot be opened.
            FileExistsError: it holds something else.
        """
        self._open()
        assert self._file is not None
        self._size = _whole_lines(self._file)
        self._begin()

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, in as many files as it takes.

        Raises:
            OSError: they cannot all be written; `written` says how many have been.
        """
        self._open()
        for batch in self._batches(lines):
            if self._size + sum(map(len, batch)) > self._max_bytes:
                self._rename()
                self._open()
            self._append(b"".join(batch))

    def close(self) -> None:
        """Close it; it may be opened again."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # what it could not write has been told before
                file.close()

    def _open(self) -> None:
        """Open it, if it is not open, or another one stands in its place by now."""
        if self._file is not None and not self._is_there(self._file):
            self.close()
        if self._file is None:
            self._check()
            self._file = FileIO(str(self.path), "ab+")
        self._size = os.fstat(self._file.fileno()).st_size
        self._begin()

    def _begin(self) -> None:
        """Write the header, if there is nothing yet."""
        if self._size == 0:
            self._append(self._header)
            self.written -= 1

    def _check(self) -> None:
        """See what is there by that name: it may be of another version, or nobody's business."""
        first = _first_line(self.path)
        if self._header.startswith(first):  # nothing, or all of it
            return
        if not is_header(first.decode(errors="replace")):
            raise FileExistsError(f"{self.path} is there already, and is no trace")
        self._rename()

    def _batches(self, lines: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Divide lines into what fits into the file as it is, and into further ones."""
        batch: list[bytes] = []
        room = self._max_bytes - self._size
        for line in lines:
            if len(line) > room:
                if batch:
                    yield batch
                batch, room = [], self._max_bytes - len(self._header)
            batch.append(line)
            room -= len(line)
        if batch:
            yield batch

    def _append(self, text: bytes) -> None:
        """Write that, or as many of its lines as can be written."""
        assert self._file is not None
        done = 0
        try:
            while done < len(text):
                done += self._file.write(memoryview(text)[done:])
        except OSError:
            done = text.rfind(b"\n", 0, done) + 1
            with suppress(OSError):
                self._file.truncate(self._size + done)
            self.close()
            raise
        finally:
            self.written += text.count(b"\n", 0, done)
            self._size += done

    def _rename(self) -> None:
        """Let this file be the last full one, and forget the oldest."""
        self.close()
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self._files))]
        with suppress(FileNotFoundError):
            if self._files == 1:
                self.path.unlink()
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)

    def _is_there(self, file: FileIO) -> bool:
        """Whether the open file is the one that stands there under its name."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(4096)
    except FileNotFoundError:
        return b""


def _whole_lines(file: FileIO) -> int:
    """Cut off what stands behind the last end of a line, and return the size."""
    size = file.seek(0, os.SEEK_END)
    end = size
    while end > 0:
        begin = max(0, end - 4096)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        file.truncate(end)
    return end
