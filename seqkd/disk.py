"""What a full, read-only or forbidden disk means to a user, in one sentence, however the fault was raised."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_ADVICE = {
    errno.ENOSPC: "make room, and run it again to carry on",
    errno.EDQUOT: "make room in your quota, and run it again to carry on",
    errno.EFBIG: "the limit of file sizes (ulimit -f) is too low: raise it, and run it again to carry on",
    errno.EROFS: "name another directory, or mount it for writing",
    errno.EACCES: "name another directory, or get the right to it",
    errno.EPERM: "name another directory, or get the right to it",
    errno.ENAMETOOLONG: "use shorter names or ids",
    errno.ENOTDIR: "a file is where a directory should be: name another directory",
    errno.EIO: "the disk may be damaged: see what the system says of it",
    errno.ESTALE: "the file server has lost the directory: mount it again, and run it again to carry on",
}
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# Libraries in Rust and C++ give words in place of numbers.
_WORDS = re.compile(r"\(os error (\d+)\)|PytorchStreamWriter failed|iostream error|file write failed")


def disk_fault(error: BaseException) -> str | None:
    """Say what is wrong with the disk, if that is what an error comes from: which file, what, and what to do."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _ADVICE:
            name = one.filename2 or one.filename
            done = "written" if one.errno in _WRITING else "read or written"
            return f"{name or 'a file'} cannot be {done} ({one.strerror}); {_ADVICE[one.errno]}"
        found = _WORDS.search(str(one)) if not isinstance(one, OSError) else None
        if found and (found[1] is None or int(found[1]) in _ADVICE):
            what = " ".join(str(one).split())
            return f"a file cannot be written ({what[:200]}); {_ADVICE[int(found[1] or errno.ENOSPC)]}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was raised from."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
