"""TODO"""

from supervisor.recording.recording import Recording
from supervisor.recording.replay import RecordingError, Replay, replay_file

__all__ = ["Recording", "RecordingError", "Replay", "replay_file"]
