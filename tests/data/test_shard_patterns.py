"""Braces in the names of shards, as WebDataset's tools write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor.data.shard_patterns import expanded, shard_paths


@pytest.mark.parametrize(
    ("pattern", "members"),
    [
        ("a-*.tar", ["a-*.tar"]),
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("a-{8..10}.tar", ["a-8.tar", "a-9.tar", "a-10.tar"]),
        ("{laion,coco}/{0..1}.tar", ["laion/0.tar", "laion/1.tar", "coco/0.tar", "coco/1.tar"]),
        ("a{b}.tar", ["a{b}.tar"]),
    ],
)
def test_what_braces_stand_for(pattern: str, members: list[str]) -> None:
    assert expanded(pattern) == members


def test_every_member_must_be_there(tmp_path: Path) -> None:
    for name in ("x/0.tar", "x/1.tar", "x/3.tar", "y/0.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in shard_paths(f"{tmp_path}/{pattern}")]

    assert found("x/*.tar") == ["x/0.tar", "x/1.tar", "x/3.tar"]
    assert found("{y,x}/*.tar") == ["x/0.tar", "x/1.tar", "x/3.tar", "y/0.tar"]
    assert found("x/{0..1}.tar") == ["x/0.tar", "x/1.tar"]
    with pytest.raises(ValueError, match=r"no shard matches .*x/2.tar, a member of .*x/\{0\.\.3\}.tar"):
        found("x/{0..3}.tar")
    with pytest.raises(ValueError, match=r"no shard matches .*z/\*.tar$"):
        found("z/*.tar")
    with pytest.raises(ValueError, match=r"expected numbers from small to large, got \{3\.\.0\}"):
        found("x/{3..0}.tar")
