"""Keys in files: made once, for their owner alone; what is wrong with one is said in full."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams import pseudonyms, state
from streams.keys import KeyFileError, given_key, made_key


def test_of_many_that_start_at_once_one_makes_the_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda n: made_key(path, b"%032d" % n), range(64)))
    assert len(found) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_of_ours_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    made_key(path, b"k" * 32)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"got mode {mode:04o}.*expected 0600. Run: chmod 600"):
        made_key(path, b"other" * 8)
    with pytest.raises(KeyFileError, match="key"):
        given_key(path)
    path.chmod(0o600)
    assert made_key(path, b"other" * 8) == given_key(path) == b"k" * 32


def test_a_key_in_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError, match=r"file.key: got .*; expected a folder .*Check state_dir"):
        made_key(tmp_path / "file" / "key", b"k" * 32)
    with pytest.raises(KeyFileError, match="nowhere"):
        given_key(tmp_path / "nowhere")


def test_the_environment_names_the_files_of_both_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "given"
    file.write_bytes(b"0123456789abcdef0123456789abcdef\n")
    file.chmod(0o600)
    monkeypatch.delenv(pseudonyms.KEY_VARIABLE, raising=False)
    monkeypatch.setenv(pseudonyms.KEY_FILE_VARIABLE, str(file))
    monkeypatch.setenv(state.KEY_ENVIRONMENT, str(file))
    assert pseudonyms.load_key(tmp_path / "state") == b"0123456789abcdef0123456789abcdef"
    assert state.load_key(tmp_path / "state") == file.read_bytes()
    assert not (tmp_path / "state").exists(), "nothing is made beside keys that are given"
    file.write_bytes(b"short")
    with pytest.raises(
        pseudonyms.PseudonymKeyError, match=r"given: got 5 bytes; expected 16.*Restore the key"
    ):
        pseudonyms.load_key(tmp_path)
    with pytest.raises(state.StateError, match=r"given: got 5 bytes; expected 32.*rebuilt from the log"):
        state.load_key(tmp_path)
    os.unlink(file)
    with pytest.raises(pseudonyms.PseudonymKeyError, match="given"):
        pseudonyms.load_key(tmp_path)
