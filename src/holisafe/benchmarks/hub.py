"""A benchmark's folder, on this machine or from the model hub: the hub is asked only when a user wrote `hub:`.

--root FOLDER                      a folder on this machine
--root hub:                        the dataset that the benchmark's authors publish
--root hub:OWNER/NAME[@REVISION]   any dataset, at any branch, tag or commit
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError
from ..specs import NOT_FETCHED, may_fetch

PREFIX = "hub:"
DATASET = re.compile(r"(?P<dataset>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def resolve(root: Path | str | None, dataset: str | None = None, revision: str | None = None) -> Path | None:
    """The folder that `root` names, downloaded first (or taken from the hub's cache) when it begins with `hub:`.

    `dataset` and `revision` are the benchmark's own, for a bare `hub:`. None stays None: an embedded benchmark.
    Raises InputError, saying what to do, when the hub refuses, cannot be reached or does not have it.
    """
    if root is None or not str(root).startswith(PREFIX):
        return None if root is None else Path(root)
    wanted = str(root).removeprefix(PREFIX)
    if not wanted and dataset is None:
        raise InputError("no hub dataset is known for this benchmark; write hub:OWNER/NAME")
    named = DATASET.fullmatch(wanted or str(dataset))
    if named is None:
        raise InputError(f"{root}: not of the form hub:OWNER/NAME or hub:OWNER/NAME@REVISION")
    return _download(named["dataset"], named["revision"] or (None if wanted else revision))


def revision_of(folder: Path | None) -> str | None:
    """The commit that a folder of the hub's cache holds (`.../snapshots/COMMIT`); None for any other folder."""
    if folder is None:
        return None
    commit = folder.resolve()
    return commit.name if commit.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", commit.name) else None


def _download(dataset: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError:
        raise InputError("hub: needs huggingface_hub, try: pip install huggingface_hub") from None
    page = f"https://huggingface.co/datasets/{dataset}"
    here = not may_fetch()
    try:
        return Path(snapshot_download(dataset, repo_type="dataset", revision=revision, local_files_only=here))
    except errors.GatedRepoError:
        problem = f"access is gated: accept the terms at {page}, then log in with a token (hf auth login, or HF_TOKEN)"
    except errors.RevisionNotFoundError:
        problem = f"the dataset has no revision {revision!r}; see {page}"
    except errors.RepositoryNotFoundError:
        problem = f"no such dataset, or a private one that this login does not open: {page}"
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        reason = " ".join(str(error.__cause__ or "").split())[:200]
        problem = (
            f"the hub cannot be reached{f' ({reason})' if reason else ''} and this machine does not hold the dataset; "
            f"connect (or unset HF_HUB_OFFLINE), or fetch it elsewhere from {page} and name its folder with --root"
        )
        if here:
            problem = f"this machine does not hold it, and {NOT_FETCHED}: hf download --repo-type dataset {dataset}"
    except errors.HFValidationError as error:
        problem = str(error)
    except errors.HfHubHTTPError as error:
        problem = f"the hub refused: {str(error).splitlines()[0]}"
    except OSError:  # the disk's own, such as no space left
        raise
    except Exception as error:  # noqa: BLE001  (whatever the hub's HTTP library of the day raises)
        problem = f"the download broke off ({type(error).__name__}: {error}); the same command again goes on"
    raise InputError(problem, where=f"{PREFIX}{dataset}" + (f"@{revision}" if revision else ""))
