"""What is kept of circuits and calls in files, and read again.

What a circuit's machine was told, and the same played again for a post-mortem; and traces, which
are calls for whatever policy. May know machines and policies; watches a circuit's actor without
knowing circuits.

    recording   the last messages of one circuit; format, how they are written and read
    replay      the same, played again
    trace       calls as they come and end; traces, files of them
"""

from supervisor.recording.format import needed
from supervisor.recording.recording import Recording
from supervisor.recording.replay import RecordingError, Replay, replay_file
from supervisor.recording.trace import (
    COLUMNS,
    LATEST,
    NEEDED,
    OUTCOMES,
    Call,
    Trace,
    TraceError,
    trace_of,
)
from supervisor.recording.traces import HEADER, is_header, lines_of, read_trace, write_trace

__all__ = [
    "COLUMNS",
    "HEADER",
    "LATEST",
    "NEEDED",
    "OUTCOMES",
    "Call",
    "Recording",
    "RecordingError",
    "Replay",
    "Trace",
    "TraceError",
    "is_header",
    "lines_of",
    "needed",
    "read_trace",
    "replay_file",
    "trace_of",
    "write_trace",
]
