"""Files of a Hugging Face repository in the cache, through huggingface_hub, with one line for every way it fails."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cachefolder import cache_folder
from ..console import progress
from ..data.download import alone, refuse_offline
from ..digest import digest
from ..errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

HUB = "https://huggingface.co"
REVISION = "main"
TIMEOUT_SECONDS = 30.0


def endpoint() -> str:
    """The address of the Hub: `HF_ENDPOINT`, read now and not when huggingface_hub was imported.

    Raises UserError where that is no http(s) address.
    """
    address = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise UserError(f"HF_ENDPOINT={address}: an address that begins with http:// or https:// is expected")
    return address


def cached(repo: str, names: Sequence[str]) -> Path | None:
    """The last of the repository's files `names`, where the cache holds all of them, else None. Asks nobody.

    Reads the layout of huggingface_hub's cache: refs/main holds a commit, snapshots/<commit>/ the files.
    """
    folder = _folder(repo)
    try:
        commit = (folder / "refs" / REVISION).read_text().strip()
    except OSError:
        return None
    files = [folder / "snapshots" / commit / name for name in names]
    return files[-1] if commit and all(file.is_file() for file in files) else None


def fetch(repo: str, names: Sequence[str]) -> Path:
    """The last of the files `names` of a repository, in the cache, the others beside it.

    Each is held against the hash that the Hub states (SHA-256 of large files, git's SHA-1 of small ones); a file that
    differs is removed. Raises UserError, one line, on every failure.
    """
    where = f"{endpoint()}/{repo}"
    refuse_offline(where)
    hub = _import_hub()
    with alone(_home() / f"{_folder(repo).name}.lock"), _quiet(), progress() as bar:
        there = cached(repo, names)  # another process was quicker
        for name in () if there else names:
            try:
                there = _download(hub, repo, name, bar)
            except Exception as error:
                raise _refusal(error, repo, name) from error
            _check(there, f"{where}: {name}")
    assert there is not None
    return there


def _download(hub: Any, repo: str, name: str, bar: Progress) -> Path:
    """The file in huggingface_hub's cache. Raises whatever the library raises.

    The Hub is asked for the file once before: without a connection the download itself would try for half a minute.
    """
    url = hub.hf_hub_url(repo, name, revision=REVISION, endpoint=endpoint())
    try:
        hub.get_hf_file_metadata(url, timeout=TIMEOUT_SECONDS, endpoint=endpoint())
    except hub.errors.HfHubHTTPError as error:
        if error.response.status_code < 500 and error.response.status_code != 429:
            raise
    path = hub.hf_hub_download(
        repo,
        name,
        revision=REVISION,
        cache_dir=_home(),
        endpoint=endpoint(),
        tqdm_class=_reporting(hub, bar, name),
    )
    return Path(path)


def _home() -> Path:
    return cache_folder() / "hub"


def _folder(repo: str) -> Path:
    return _home() / f"models--{repo.replace('/', '--')}"


def _import_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.file_download  # sets the level of the library's log, which is raised afterwards
    except ImportError:
        raise UserError(
            'weights on the Hugging Face Hub need huggingface_hub: pip install "mobilenets[weights]"'
        ) from None
    return huggingface_hub


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the library's notes on retries and tokens back; its warning of a full disk becomes an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Not enough free disk space")
            yield
    finally:
        logger.setLevel(level)


def _reporting(hub: Any, bar: Progress, name: str) -> type:
    """A class for huggingface_hub's progress that draws nothing itself and moves our bar instead."""

    class Reporting(hub.utils.tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # Of a chunked transfer two bars are made: what has arrived, and what has been put together from it.
            self._counts = not str(options.get("desc", "")).endswith("downloading bytes")
            self._done = options.get("initial") or 0
            if self._counts:
                total = options.get("total")
                size = None if total is None else round(total / 1e6)
                self._task = bar.add_task(f"downloading {name}", total=size, note="MB")
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts:
                self._done += n or 0
                bar.update(self._task, completed=round(self._done / 1e6))
            return None

    return Reporting


def _check(path: Path, what: str) -> None:
    """UserError, and the file gone, where its content is not what its name in the cache says: the Hub's own hash."""
    blob = path.resolve()
    stated = blob.name
    if len(stated) == 64:
        right = digest(blob) == stated
    elif len(stated) == 40:  # as git names it
        data = blob.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == stated
    else:
        return  # a mirror with tags of its own: the size alone was checked
    if not right:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise UserError(
            f"{what}: not the expected file (its hash differs from the one the Hub states); nothing was kept. The file "
            "may have been changed on the way"
        )


def _refusal(error: Exception, repo: str, name: str) -> Exception:
    """The one line for a failure, or the failure itself where it is none of the known ones."""
    from huggingface_hub import errors

    where = f"{endpoint()}/{repo}"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    if isinstance(cause, errors.GatedRepoError):
        return UserError(f"{where}: gated; accept its terms at {HUB}/{repo} and log in with `hf auth login`")
    if isinstance(cause, errors.RepositoryNotFoundError):
        return UserError(f"{where}: there is no such repository, or it is private")
    if isinstance(cause, errors.RevisionNotFoundError):
        return UserError(f"{where}: the repository has no revision {REVISION}")
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, errors.LocalEntryNotFoundError):
        return UserError(f"{where}: the repository has no file {name}")
    if isinstance(cause, errors.FileMetadataError):
        return UserError(f"{where}: what answers there is no Hugging Face Hub (HF_ENDPOINT names its address)")
    if isinstance(cause, errors.HfHubHTTPError):
        return UserError(f"{where}: the server answers {cause.response.status_code} for {name}")
    if isinstance(cause, UserWarning) or getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{_home()}: not enough room on the disk for {name} (MOBILENETS_CACHE names another folder)")
    if isinstance(cause, OSError) and "Consistency check failed" in str(cause):
        return UserError(f"{where}: {name} arrived in another size than the Hub states; nothing was kept")
    if _is_of_transport(cause):
        reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        return UserError(
            f"{where}: cannot be reached, or the connection broke off ({reason}); this download needs the internet "
            "once (HF_ENDPOINT names another Hub)"
        )
    return error


def _is_of_transport(error: BaseException) -> bool:
    """Whether the error is one of the network: the library's HTTP client differs from version to version."""
    of_client = type(error).__module__.startswith(("httpx", "httpcore"))
    return of_client or isinstance(error, (ConnectionError, TimeoutError))
