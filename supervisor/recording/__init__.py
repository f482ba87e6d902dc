"""What a circuit's machine was told, as a file, and the same played again for a post-mortem.

May know machines and policies; watches a circuit's actor without knowing circuits.

    recording   the last messages of one circuit; format, how they are written and read
    replay      the same, played again
"""

from supervisor.recording.format import needed
from supervisor.recording.recording import Recording
from supervisor.recording.replay import RecordingError, Replay, replay_file

__all__ = ["Recording", "RecordingError", "Replay", "needed", "replay_file"]
