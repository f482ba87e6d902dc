"""Files of traces, read and written: CSV, or compressed CSV, one file or several."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from supervisor.recording.trace import (
    COLUMNS,
    Call,
    Trace,
    TraceError,
    call_in,
    check_header,
    row_of,
    trace_of,
)

HEADER: Final = ",".join(COLUMNS) + "\n"

CALENDAR: Final = 1e8
"""Seconds from which on times are taken for those of the calendar, since 1970."""

_COMPRESSED: Final = b"\x1f\x8b"
"""How gzip's files begin, whatever they are called."""

_DIGITS: Final = 6
"""Of the seconds of a calendar, after the point: a float has no more."""


def read_trace(*files: Path) -> Trace:
    """Return the trace in one or more CSV files; lines and files may stand in any order.

    Of calls that ask at the same time, those of a later line are later, and those of a file that
    is given later. Times of the calendar are told from the trace's first second on.

    Raises:
        OSError: a file cannot be read.
        TraceError: a file is no trace.
    """
    title = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    trace = trace_of(title, (call for file in files for call in _calls_in(file)))
    return trace if trace.begin < CALENDAR else _since(math.floor(trace.begin), trace)


def write_trace(trace: Trace, file: Path) -> None:
    """Write a trace as `read_trace` reads it.

    Raises:
        OSError: the file cannot be written.
    """
    with file.open("w", encoding="utf-8", newline="") as lines:
        lines.writelines([HEADER, *lines_of(trace.calls)])


def lines_of(calls: Iterable[Call]) -> list[str]:
    """Return the lines of calls as they stand in a file below the header, each with its end."""
    lines: list[str] = []
    csv.writer(_Lines(lines), lineterminator="\n").writerows(map(row_of, calls))
    return lines


class _Lines:
    """Takes what a `csv.writer` writes, which is a line at a time."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, line: str) -> None:
        self._lines.append(line)


def is_header(line: str) -> bool:
    """Whether a line names columns of a trace, if not all that there are in this version."""
    try:
        check_header(line.strip().split(","))
    except ValueError:
        return False
    return True


def _calls_in(file: Path) -> list[Call]:
    with _opened(file) as lines:
        reader = csv.reader(lines, strict=True)
        try:
            return list(_calls(reader))
        except UnicodeDecodeError as error:
            raise TraceError(f"{file}: is not UTF-8 text ({error})") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TraceError(f"{file}: cannot be decompressed ({error})") from None
        except (csv.Error, TypeError, ValueError) as error:
            raise TraceError(f"{file}, line {max(1, reader.line_num)}: {error}") from None


@contextmanager
def _opened(file: Path) -> Generator[TextIO]:
    with file.open("rb") as stream:
        packed = stream.peek(2)[:2] == _COMPRESSED
        plain = gzip.GzipFile(fileobj=stream) if packed else stream
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as lines:
            yield lines


def _since(second: int, trace: Trace) -> Trace:
    """Return the same trace by times that begin with a second of the calendar."""
    calls = (replace(call, at=round(call.at - second, _DIGITS)) for call in trace.calls)
    return Trace(trace.title, tuple(calls), since=second)


def _calls(rows: Iterator[list[str]]) -> Iterator[Call]:
    header = [name.strip() for name in next(rows, ())]
    check_header(header)
    for cells in rows:
        if not "".join(cells).strip() and len(cells) <= 1:
            continue
        if len(cells) != len(header):
            raise ValueError(f"there are {len(cells)} cells, but {len(header)} columns")
        given = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield call_in({name: cell for name, cell in given.items() if cell})
