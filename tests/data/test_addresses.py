"""Brace notation, lists and folders of shards; what cannot be understood is refused with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.data.addresses import address_of, expand, is_remote, local_shards, names_shards
from mobilenets.errors import UserError


def test_ranges_keep_their_zeros_and_several_parts_multiply() -> None:
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{train,val}-{0..1}.tar") == ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]
    assert expand("a.tar::b-{3..4}.tar") == ["a.tar", "b-3.tar", "b-4.tar"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("a-{000..009.tar", "do not close"),
        ("a-000..009}.tar", "do not close"),
        ("a-{009..000}.tar", "runs backwards"),
        ("a-{000...009}.tar", "not understood"),
        ("a-{}.tar", "not understood"),
        ("a-{0..}.tar", "not understood"),
        ("a-{0..99999999}.tar", "at most 1,000,000"),
        ("{0..9999}-{0..9999}.tar", "at most 1,000,000"),
    ],
)
def test_braces_that_do_not_fit(address: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        expand(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://bucket/a.tar", "https://host/x/{0..1}.tar", "hf://datasets/a/b"])
def test_an_address_survives_pathlib(address: str) -> None:
    assert address_of(Path(address)) == address
    assert address_of(address) == address
    assert is_remote(address)
    assert names_shards(address)


@pytest.mark.parametrize("path", ["folder/train", "/a/b.tar", "C:/x", "file:/a"])
def test_a_path_is_no_address(path: str) -> None:
    assert not is_remote(address_of(path))


def test_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", ".hidden.tar", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in local_shards(str(tmp_path))] == ["a.tar", "b.tar"]
    assert [path.name for path in local_shards(str(tmp_path / "?.tar"))] == ["a.tar", "b.tar"]
    with pytest.raises(UserError, match=r"c\.tar: no such shard \(2 are named"):
        local_shards(str(tmp_path / "{a,c}.tar"))
    with pytest.raises(UserError, match=r"no \.tar file"):
        local_shards(str(tmp_path / "z*.tar"))
