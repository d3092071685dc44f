"""A bundle replaces an unchanged bundle of ours and nothing else."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.errors import BadInput
from qafila.report.bundle_place import MANIFEST, require_place

NAMES = st.text("abcdefgh.-_ ", min_size=1, max_size=12).filter(
    lambda n: n.strip(". ") and n not in ("rollout.html", MANIFEST)
)


def bundle(folder: Path) -> None:
    folder.mkdir(parents=True)
    page = b"<html>ours</html>"
    (folder / "rollout.html").write_bytes(page)
    digest = hashlib.sha256(page).hexdigest()
    told = {
        "format": 1,
        "workload": "w",
        "generation": 1,
        "rollout": "r",
        "verdict": None,
        "written_at": "2030-01-01",
        "qafila": "0.1",
        "chain": {},
        "files": {"rollout.html": {"sha256": digest, "bytes": len(page)}},
    }
    (folder / MANIFEST).write_text(json.dumps(told))


def test_an_unchanged_bundle_may_be_replaced(tmp_path: Path) -> None:
    bundle(tmp_path / "b")
    require_place(tmp_path / "b", False, "w")
    require_place(tmp_path / "new", False, "w")


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=4))
def test_whatever_else_lies_in_the_folder_is_named_and_kept(foreign: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "b"
        bundle(folder)
        for name, content in foreign.items():
            (folder / name).write_bytes(content)
        with pytest.raises(BadInput) as refused:
            require_place(folder, False, "w")
        assert all(name in str(refused.value) for name in foreign)
        assert {name: (folder / name).read_bytes() for name in foreign} == foreign


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": {}}', '{"manifest_version": 3}'])
def test_a_manifest_of_another_tool_makes_no_bundle(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(BadInput, match=MANIFEST):
        require_place(tmp_path, False, "w")


def test_a_changed_file_a_link_and_another_zip_are_kept(tmp_path: Path) -> None:
    bundle(tmp_path / "b")
    (tmp_path / "b" / "rollout.html").write_text("notes in the page")
    with pytest.raises(BadInput, match=r"rollout\.html"):
        require_place(tmp_path / "b", False, "w")
    bundle(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(BadInput, match="a link"):
        require_place(tmp_path / "link", False, "w")
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.writestr("photo.jpg", b"x")
    (tmp_path / "text.zip").write_text("no archive at all")
    for name in ("holiday.zip", "text.zip"):
        with pytest.raises(BadInput, match="is left as it is"):
            require_place(tmp_path / name, True, "w")
