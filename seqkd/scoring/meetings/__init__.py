"""Error rates of meetings, where several people speak and nobody knows which output stream is whose."""

from seqkd.scoring.meetings.rates import MEASURES, MeetingRate, SessionRate, meeting_rate
from seqkd.scoring.meetings.turns import Turn, read_turns

__all__ = ["MEASURES", "MeetingRate", "SessionRate", "Turn", "meeting_rate", "read_turns"]
