"""Traces as files: what is read, what is refused and why, and what is written."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from supervisor.policy.outcomes import Failure, Outcome
from supervisor.recording import (
    COLUMNS,
    Call,
    TraceError,
    is_header,
    read_trace,
    trace_of,
    write_trace,
)

FILE = Path("trace.csv")
HEADER = "at,outcome,duration\n"
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


def read(text: str) -> tuple[Call, ...]:
    FILE.write_text(text)
    trace = read_trace(FILE)
    assert trace.title == "trace.csv"
    return trace.calls


def test_the_three_columns_that_are_needed() -> None:
    """They may stand in any order, and so may the lines; blank lines and spaces do not matter."""
    assert read("at,outcome,duration\n1,failed,0.5\n") == (Call(1.0, Outcome.FAILED, 0.5),)
    assert read(" duration , at,outcome\n\n inf , 2,succeeded\n0, 0.5 ,ignored\n1,1,cancelled") == (
        Call(0.5, Outcome.IGNORED, 0.0),
        Call(1.0, Outcome.CANCELLED, 1.0),
        Call(2.0, Outcome.SUCCEEDED, math.inf),
    )


def test_all_columns() -> None:
    """A cell that is left empty is as if its column were not there."""
    calls = read(
        ",".join(COLUMNS) + "\n"
        "0,failed,1,rate limit,2,3,4,5.5,yes,6,0.25,search,\n"
        "1,failed,1,,,,,,,,,,\n"
        '2,failed,1,"a, ""b""",,,,,no,0.5,,,\n'
        "3,refused,,,,,,,,,,search,half_open\n"
    )
    assert calls == (
        Call(0, FAILED, 1, Failure("rate limit", 2, 3, 4.0, 5.5), True, 6.0, 0.25, "search"),
        Call(1.0, Outcome.FAILED, 1.0),
        Call(2.0, Outcome.FAILED, 1.0, Failure('a, "b"'), False, 0.5),
        Call(3.0, None, 0.0, circuit="search", reason="half_open"),
    )


def test_a_file_from_a_spreadsheet() -> None:
    """Its mark of the encoding, and its line ends, are no part of the header."""
    FILE.write_bytes(b"\xef\xbb\xbfat,outcome,duration\r\n1,failed,0.5\r\n")
    assert read_trace(FILE).calls == (Call(1.0, Outcome.FAILED, 0.5),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: columns must be named in the first line; missing: at, outcome, duration"),
        ("at,duration\n", "line 1: columns must be named in the first line; missing: outcome"),
        ("1,failed,2\n", "line 1: unknown column '1'; there are at, outcome, duration, kind,"),
        ("at,outcome,duration,at\n", "line 1: column at is there more than once"),
        ("at,outcome,duration\n1,failed\n", "line 2: there are 2 cells, but 3 columns"),
        ("at,outcome,duration\n1,failed,2,3\n", "line 2: there are 4 cells, but 3 columns"),
        ('at,outcome,duration\n1,failed,"2\n', "line 2: unexpected end of data"),
        ("at,outcome,duration\n1,failed,2\n\n1,broken,2\n", "line 4: outcome must be one of"),
        ("at,outcome,duration\n1,,2\n", "cancelled, refused, got ''"),
        ("at,outcome,duration\n,failed,2\n", "line 2: at must be 0 or more and at most 1e+10"),
        ("at,outcome,duration\nnow,failed,2\n", "(seconds), got 'now'"),
        ("at,outcome,duration\n-1,failed,2\n", "(seconds), got '-1'"),
        ("at,outcome,duration\ninf,failed,2\n", "(seconds), got 'inf'"),
        ("at,outcome,duration\nnan,failed,2\n", "(seconds), got 'nan'"),
        ("at,outcome,duration\n1760000000000,failed,2\n", "(seconds), got '1760000000000'"),
        ("at,outcome,duration\n1,failed,-2\n", "duration must be 0 or more and at most 1e+10"),
        ("at,outcome,duration\n1,failed,1e11\n", "(seconds), or inf, got '1e11'"),
        ("at,outcome,duration,kind\n1,succeeded,2,x\n", "kind is for failures only, and this call"),
        ("at,outcome,duration,weight\n1,ignored,2,1\n", "this call ignored, got '1'"),
        ("at,outcome,duration,kind\n1,failed,2,a\tb\n", "a failure's kind must have 1 to 255"),
        ("at,outcome,duration,weight\n1,failed,2,-1\n", "weight must be at least 0, got -1"),
        (
            "at,outcome,duration,weight\n1,failed,2,1.5\n",
            "weight must be a whole number, got '1.5'",
        ),
        ("at,outcome,duration,threshold\n1,failed,2,1\n", "threshold needs a kind"),
        ("at,outcome,duration,kind,threshold\n1,failed,2,x,0\n", "threshold must be at least 1"),
        ("at,outcome,duration,recovery_timeout\n1,failed,2,0\n", "recovery_timeout must be more"),
        ("at,outcome,duration,retry_after\n1,failed,2,soon\n", "retry_after must be a number of"),
        (
            "at,outcome,duration,retry\n1,failed,2,maybe\n",
            "retry must be true or false, got 'maybe'",
        ),
        ("at,outcome,duration,wait\n1,failed,2,0\n", "wait must be more than 0 and finite"),
        (
            "at,outcome,duration,wait\n1,failed,2,long\n",
            "wait must be a number of seconds, got 'lo",
        ),
        ("at,outcome,duration\n1,refused,2\n", "duration is not known of a call that was refused"),
        ("at,outcome,duration,kind\n1,refused,,x\n", "and this call was refused, got 'x'"),
        (
            "at,outcome,duration,waited\n1,refused,,2\n",
            "waited is not known of a call that was refused, got '2'",
        ),
        (
            "at,outcome,duration,reason\n1,failed,2,open\n",
            "reason is for calls that were refused, and this one failed, got 'open'",
        ),
        ("at,outcome,duration,waited\n1,failed,2,-1\n", "waited must be 0 or more and at most"),
        ("at,outcome,duration,circuit\n1,failed,2,a\tb\n", "a circuit's name must have 1 to 255"),
    ],
)
def test_damaged_files(text: str, complaint: str) -> None:
    """The line, the column and the value are told."""
    with pytest.raises(TraceError) as caught:
        read(text)
    assert str(caught.value).startswith("trace.csv, line ")
    assert complaint in str(caught.value)


def test_what_is_no_trace_at_all() -> None:
    """Bytes, and a header alone."""
    FILE.write_bytes(b"at,outcome,duration\n\xff\n")
    with pytest.raises(TraceError, match=r"^trace.csv: is not UTF-8 text \("):
        read_trace(FILE)
    with pytest.raises(TraceError, match=r"^trace.csv: there are no calls in it$"):
        read("at,outcome,duration\n")
    with pytest.raises(FileNotFoundError):
        read_trace(Path("missing.csv"))


def test_blank_lines_at_the_end() -> None:
    """They are no calls, whatever spaces are in them."""
    assert len(read(HEADER + "1,failed,0.5\n\n  \n\t\n")) == 1


def test_a_line_that_was_cut_off() -> None:
    """It is told by its number, also behind others that are blank."""
    with pytest.raises(TraceError, match=r"^trace.csv, line 4: there are 2 cells, but 3 columns$"):
        read(HEADER + "1,failed,0.5\n\n2,fai")


def test_several_files() -> None:
    """They are one trace, in the order of time; each has a header, and its own lines' numbers."""
    FILE.write_text(HEADER + "3,failed,0.5\n")
    older, other = Path("trace.csv.1"), Path("trace.csv.2")
    older.write_text(HEADER + "1,succeeded,0.5\n2,failed,0.5\n")
    other.write_text("outcome,duration,at\nfailed,0.5,2\n")
    trace = read_trace(FILE, older, other)
    assert trace.title == "trace.csv and 2 more"
    assert [call.at for call in trace.calls] == [1.0, 2.0, 2.0, 3.0]
    other.write_text(HEADER + "1,failed\n")
    with pytest.raises(TraceError, match=r"^trace.csv.2, line 2: there are 2 cells"):
        read_trace(FILE, older, other)


def test_compressed_files() -> None:
    """They are known by how they begin; one that was cut off is no trace."""
    packed = gzip.compress((HEADER + "1,failed,0.5\n" * 500).encode())
    FILE.write_bytes(packed)
    assert len(read_trace(FILE).calls) == 500
    for damaged in (packed[:-12], packed[:30] + b"x" * 40, packed[:-8] + b"12345678"):
        FILE.write_bytes(damaged)
        with pytest.raises(TraceError, match=r"^trace.csv: cannot be decompressed \("):
            read_trace(FILE)


def test_times_of_the_calendar() -> None:
    """They are told from the first second on, to the microsecond."""
    FILE.write_text(HEADER + "1760000001.25,failed,0.5\n1760000000.123456,succeeded,0.5\n")
    trace = read_trace(FILE)
    assert trace.since == 1760000000
    assert [call.at for call in trace.calls] == [0.123456, 1.25]
    FILE.write_text(HEADER + "12,failed,0.5\n")
    assert read_trace(FILE).since is None


def test_what_is_written_is_read() -> None:
    """All that a call has, and no digits that no clock tells."""
    calls = (
        Call(0.1, FAILED, 1 / 3, Failure("a, b", 2, 3, 4.0, 5.5), True, 6.0, 0.25, "search"),
        Call(1.0, SUCCEEDED, math.inf),
        Call(2.0, None, 0.0, retry=True, circuit="größer", reason="open"),
    )
    write_trace(trace_of("kept", calls), FILE)
    first, *others = read_trace(FILE).calls
    assert first.duration == 0.333333333
    assert tuple(others) == calls[1:]
    assert FILE.read_text(encoding="utf-8").splitlines()[1:] == [
        '0.1,failed,0.333333333,"a, b",2,3,4.0,5.5,true,6.0,0.25,search,',
        "1.0,succeeded,inf,,,,,,,,,,",
        "2.0,refused,,,,,,,true,,,größer,open",
    ]


def test_what_is_a_header() -> None:
    """Columns of a trace, of another version as well."""
    assert is_header("at,outcome,duration\n")
    assert is_header(",".join(COLUMNS))
    assert not is_header("at,outcome\n")
    assert not is_header("the diary of somebody\n")
