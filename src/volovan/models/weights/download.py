"""Fetching weight files: hub files through huggingface_hub, plain addresses into torch's cache, both resumable.

Files of the hub land in the hub's cache, files of an address where torch.hub puts them, so that what other tools have
downloaded is found. HF_HUB_OFFLINE is respected for both.
"""

import hashlib
import re
import shutil
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from tqdm.auto import tqdm

from volovan.models.weights.reading import WeightsError
from volovan.models.weights.table import Entry, Source

NO_NETWORK = "no network, and the file is not in the cache"
CHUNK = 1 << 20
TIMEOUT_S = 30
PROBE_S = 5  # to find out whether the hub answers


def fetch(entry: Entry) -> Path:
    """Path of the weights of a table row: the first of its sources that is in a cache or can be fetched.

    Raises WeightsError that says which file, from where, why not, and how to put it there by hand.
    """
    reasons = {}
    for source in entry.sources:
        try:
            return fetch_source(source)
        except OSError as error:
            reasons[source.address] = str(error)
    why, file = "; ".join(f"{address} ({reason})" for address, reason in reasons.items()), "one of these files"
    if len(set(reasons.values())) == 1:
        file, why = next(iter(reasons.items()))
    raise WeightsError(f"the weights {entry.name} could not be fetched: {why}", **_without(file))


def _without(file: str) -> dict[str, str]:
    """What to do without a network, by the door."""
    return {
        "python": f"leave out weights and pretrained to start without them, or download {file} elsewhere and pass its "
        "path as weights=",
        "fit": "start without them: --model.weights null (of classes, the recipe small_folder is made for that); or "
        f"download {file} elsewhere and name the file: --model.weights FILE",
        "use": f"download {file} elsewhere and name the file: --weights FILE",
    }


def fetch_source(source: Source) -> Path:
    """Path of one file, from the cache or the network; OSError with a short reason."""
    if source.url:
        target = Path(torch.hub.get_dir()) / "checkpoints" / source.file_name
        return target if target.is_file() else download_url(source.url, target, source.sha256)
    assert source.repo is not None
    assert source.file is not None
    return download_hub(source.repo, source.file)


def fetch_hub(name: str) -> Path:
    """Path of "org/repo/file", or of the usual weight file of "org/repo"; WeightsError with the reason."""
    parts = name.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise WeightsError(f"{name!r} is no hub name, expected hf:organisation/repository or .../repository/file")
    files = [parts[2]] if len(parts) == 3 else ["model.safetensors", "pytorch_model.bin"]
    reasons = []
    for file in files:
        try:
            return download_hub("/".join(parts[:2]), file)
        except OSError as error:
            reasons.append(f"{file} ({error})")
    raise WeightsError(
        f"{'/'.join(parts[:2])} on the hub gave no weights: {'; '.join(reasons)}", **_without("a file of it")
    )


def download_hub(repo: str, file: str) -> Path:
    """One file of a hub repository through the hub client (progress, resume, etag); OSError with a short reason."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    known = isinstance(try_to_load_from_cache(repo, file), str)
    # The client would try again and again, with a line each, before it says so.
    if not known and not _offline() and not _hub_answers():
        raise OSError(NO_NETWORK)
    try:
        path = Path(hf_hub_download(repo, file))
    except Exception as error:  # whatever the client raises: it changes between its versions
        raise OSError(_hub_reason(error)) from error
    blob = path.resolve()  # large files lie in the cache under their SHA-256
    if not known and re.fullmatch(r"[0-9a-f]{64}", blob.name) and _sha256(blob) != blob.name:
        blob.unlink()
        raise OSError("the downloaded file does not have the SHA-256 that the hub states; it was removed, try again")
    return path


def _hub_answers() -> bool:
    """Whether the hub answers at all: one request of the client's own session, with its proxies and certificates."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_S)
    except Exception:  # the client has changed its HTTP library, hence its errors, between versions
        return False
    return True


def _hub_reason(error: Exception) -> str:
    if _offline():
        return "not in the cache, and HF_HUB_OFFLINE is set"
    kind = type(error).__name__
    if kind == "LocalEntryNotFoundError" or isinstance(error, ConnectionError):
        return NO_NETWORK
    if kind.endswith("EntryNotFoundError"):
        return "the repository has no such file"
    if kind == "RepositoryNotFoundError":
        return "no such repository, or it is private"
    return f"{kind}: {str(error).splitlines()[0][:160]}" if str(error) else kind


def download_url(url: str, target: Path, sha256: str | None = None) -> Path:
    """Download to `target` with progress; a part left by an interrupted download is continued.

    sha256  first digits of the expected hash; a file with another one is removed
    raises  OSError with a short reason; the part stays for the next try
    """
    if _offline():
        raise OSError("not in the cache, and HF_HUB_OFFLINE is set")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with FileLock(f"{target}.lock"):  # processes of one run ask at the same time
        if target.is_file():
            return target
        _receive(url, part)
        digest = _sha256(part)
        if sha256 and not digest.startswith(sha256):
            part.unlink()
            raise OSError(
                f"its SHA-256 starts with {digest[:8]}, expected {sha256}; the download was removed, try again"
            )
        part.replace(target)
    return target


def _receive(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "volovan", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response:
            if response.status != 206:  # the server sends the whole file
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                bar = tqdm.wrapattr(
                    file, "write", total, initial=have, desc=part.stem, unit="B", unit_scale=True, unit_divisor=1024
                )
                with bar as counted:
                    shutil.copyfileobj(response, counted, CHUNK)
    except HTTPError as error:
        if error.code == 416 and have:  # the part is not a beginning of this file
            part.unlink()
            return _receive(url, part)
        raise OSError(f"the server answers {error.code} {error.reason}") from error
    except OSError as error:
        raise OSError(f"{getattr(error, 'reason', None) or error}") from error
    size = part.stat().st_size
    if total is not None and size != total:
        raise OSError(f"the connection ended after {size} of {total} bytes; call again to continue")
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
