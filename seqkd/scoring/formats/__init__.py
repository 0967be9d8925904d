"""Reading references and hypotheses of every format: who spoke, when, and how sure the recogniser was.

========== ========================================================================================================
``text``    Kaldi's ``id words``
``trn``     sclite's ``words (id)``; may hold ``{alternatives / like these}`` and ``word;tags``
``stm``     NIST's ``file channel speaker begin end [<labels>] words``: references by time
``ctm``     NIST's ``file channel begin duration word [confidence]``: by time, to go with ``stm`` or ``ctm``
``seglst``  a JSON list of ``{"session_id", "words", "speaker", "start_time", "end_time"}``
``jsonl``   a line an utterance, ``{"id", "text"}`` and maybe ``speaker``, ``duration``, ``confidences``, ``nbest``
``nemo``    NeMo's manifests, ``{"audio_filepath", "text"}`` and maybe ``duration``, ``offset``, ``pred_text``
``csv``     a heading that names an id and a transcript, as ``path`` and ``sentence``; tabs, commas or semicolons
``lines``   lines of words without ids
========== ========================================================================================================

The content decides which it is, or the user does; what stays open is an error. Files may be packed by gzip, and ``-``
is standard input.
"""

from seqkd.scoring.formats.objects import read_jsonl, read_nbest, read_nemo, read_seglst
from seqkd.scoring.formats.read import read_hypotheses, read_references
from seqkd.scoring.formats.reading import Reading, read_lines
from seqkd.scoring.formats.text import read_plain, read_table, read_text, read_trn, write_text, write_trn
from seqkd.scoring.formats.timed import read_ctm, read_stm
from seqkd.scoring.formats.transcripts import Segment, Transcripts

__all__ = [
    "Reading",
    "Segment",
    "Transcripts",
    "read_ctm",
    "read_hypotheses",
    "read_jsonl",
    "read_lines",
    "read_nbest",
    "read_nemo",
    "read_plain",
    "read_references",
    "read_seglst",
    "read_stm",
    "read_table",
    "read_text",
    "read_trn",
    "write_text",
    "write_trn",
]
