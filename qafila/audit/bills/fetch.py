"""Bring bills to this machine: a local path stays, ``s3://bucket/key`` is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qafila.errors import BadInput, Unavailable


@dataclass(frozen=True)
class Fetched:
    """A bill's file here, the name it is spoken of by, and where it was taken from."""

    path: Path
    name: str
    url: str = ""


def fetched(paths: Sequence[str | Path], room: Path, s3: Any = None) -> list[Fetched]:
    """Return each path as a file of this machine; downloads go to the folder ``room``.

    Raises:
        BadInput: no path at all, the same one twice, or no such object.
        Unavailable: S3 does not answer or denies the download.
    """
    if not paths:
        raise BadInput("no bill was named.", remedy="give the path of at least one file.")
    found: list[Fetched] = []
    for place, path in enumerate(paths):
        text = str(path)
        if text.startswith(("s3:/", "s3a:/")):
            s3 = s3 or _usual_client()
            found.append(_download(text, room / str(place), s3))
        else:
            found.append(Fetched(Path(path).resolve(), Path(path).name))
    twice = sorted({f.name for f in found if sum(o.path == f.path for o in found) > 1})
    if twice:
        raise BadInput(
            f"the same file is named twice: {', '.join(twice)}.",
            remedy="name each file once, or its lines would count double.",
        )
    for longer in (_with_folder, _in_full):
        names = [f.name for f in found]
        found = [f if names.count(f.name) == 1 else longer(f) for f in found]
    return found


def _with_folder(file: Fetched) -> Fetched:
    return replace(file, name=f"{file.path.parent.name}/{file.name}")


def _in_full(file: Fetched) -> Fetched:
    return replace(file, name=file.url or str(file.path))


def _usual_client() -> Any:
    import boto3

    return boto3.client("s3")


def _download(url: str, folder: Path, s3: Any) -> Fetched:
    from botocore.exceptions import BotoCoreError, ClientError

    # A Path folds the two slashes of s3:// into one.
    bucket, _, key = url.split(":", 1)[1].lstrip("/").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise BadInput(f"{url} names no object.", remedy="give s3://bucket/key of one file.")
    folder.mkdir()
    path = folder / "bill"  # the key is another's text; it names no file of this machine
    try:
        s3.download_file(bucket, key, str(path))
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchKey", "NoSuchBucket"):
            raise BadInput(
                f"there is no bill at {url}.", remedy="list the bucket: aws s3 ls --recursive."
            ) from error
        raise Unavailable(
            f"S3 refused {url}: {code}.",
            remedy="allow s3:GetObject on it, then run this again.",
        ) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"S3 could not be asked for {url}: {error}.",
            remedy="check the region, the endpoint and the credentials.",
        ) from error
    return Fetched(path, key.rpartition("/")[2], f"s3://{bucket}/{key}")
