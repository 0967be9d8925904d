"""Downloading the parts of LibriSpeech, with torchaudio's addresses and checksums, going on where it broke off."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from seqkd.errors import DataError
from seqkd.files import lock, unpack

PARTS = {  # utterances of each
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}
_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_BY_HAND = "download it by other means and put it there, or unpack the corpus and name it in local/db.sh"


def archives() -> dict[str, tuple[str, str]]:
    """Address and SHA-256 of the archive of each part."""
    from torchaudio.datasets.librispeech import _CHECKSUMS  # the only place where torchaudio has them

    return {url.rpartition("/")[2].removesuffix(".tar.gz"): (url, digest) for url, digest in _CHECKSUMS.items()}


def download(parts: Sequence[str], folder: Path) -> Path:
    """Return ``<folder>/LibriSpeech`` with the parts in it, downloading and unpacking those that are not there.

    A part appears whole. What was downloaded of an archive is kept if the connection breaks or the process ends, and
    the next call goes on with it; the archive is removed when it is unpacked.

    Raises:
        DataError: A part cannot be downloaded, or has another checksum; the message says what to do.
        SeqkdError: Another process is downloading to ``folder``.
    """
    unpacked = folder / "LibriSpeech"
    missing = [part for part in parts if not (unpacked / part).is_dir()]
    if missing:
        known = archives()
        with lock(folder / ".librispeech.lock", f"the download of LibriSpeech in {folder}"):
            for part in missing:
                url, digest = known[part]
                archive = folder / f"{part}.tar.gz"
                if not archive.is_file():
                    _fetch(url, archive)
                _check(archive, digest)
                _unpack(archive, part, unpacked)
                archive.unlink()
    return unpacked


def _fetch(url: str, archive: Path) -> None:
    """Download ``url``, going on with ``<archive>.part`` if that is there."""
    from seqkd.progress import ProgressBar

    partial = archive.with_name(f"{archive.name}.part")
    begun = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as source:
            if begun and source.status != 206:  # the server begins from the start
                begun = 0
            left = source.headers.get("Content-Length")
            total = begun + int(left) if left else None
            with (
                partial.open("ab" if begun else "wb") as target,
                ProgressBar(
                    total=total,
                    initial=begun,
                    desc=archive.name,
                    unit="B",
                    unit_scale=True,
                ) as bar,
            ):
                while block := source.read(_BLOCK):
                    target.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to download
            raise DataError(f"{url} cannot be downloaded to {archive} ({error}); {_BY_HAND}.") from error
    except OSError as error:
        raise DataError(
            f"{url} cannot be downloaded to {archive} ({error}); run this again to go on, or {_BY_HAND}."
        ) from error
    else:
        if total is not None and partial.stat().st_size < total:
            raise DataError(
                f"{url} broke off after {partial.stat().st_size} of {total} bytes; run this again to go on."
            )
    partial.replace(archive)


def _check(archive: Path, digest: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(_BLOCK):
            found.update(block)
    if found.hexdigest() != digest:
        archive.unlink()
        raise DataError(
            f"{archive} had SHA-256 {found.hexdigest()[:16]}..., expected {digest[:16]}...: it was damaged and is "
            "removed now; run this again to download it anew."
        )


def _unpack(archive: Path, part: str, unpacked: Path) -> None:
    temporary = Path(tempfile.mkdtemp(dir=archive.parent, prefix=f".tmp-{part}-"))
    try:
        unpack(archive, temporary)
        if not (temporary / "LibriSpeech" / part).is_dir():
            raise DataError(f"{archive} holds no LibriSpeech/{part}; {_BY_HAND}.")
        unpacked.mkdir(exist_ok=True)
        (temporary / "LibriSpeech" / part).replace(unpacked / part)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{archive} cannot be unpacked in {archive.parent} ({error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
