"""The measurement of training on more images than memory holds."""

import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))

import large_set
from benchmarks import memory_limit


def test_a_process_has_the_memory_of_its_group_and_no_more():
    with memory_limit.group(2 * 10**8) as group:
        if group is None:
            pytest.skip("no control group can be made here")
        assert memory_limit.call(sum, [1, 2], within=group) == 3
        with pytest.raises(MemoryError, match="bytes was ended by signal 9"):
            memory_limit.call(bytes, 10**9, within=group)
        assert memory_limit.peak(group) <= 2 * 10**8
    assert not group.exists()


def test_what_fails_in_the_process_fails_here(capfd):
    with pytest.raises(RuntimeError, match="int failed"):
        memory_limit.call(int, "x")
    assert "invalid literal for int()" in capfd.readouterr().err


def test_pictures_are_the_same_however_often_it_was_stopped(tmp_path):
    large_set.make_pictures(tmp_path / "a", 5, 8)
    (tmp_path / "b" / ".part").mkdir(parents=True)
    large_set.make_pictures(tmp_path / "b", 5, 8)
    files = [sorted((tmp_path / name).rglob("*.jpg")) for name in "ab"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len({path.read_bytes() for path in files[0]}) == 5
    assert not (tmp_path / "b" / ".part").exists()


@pytest.mark.slow
def test_it_prints_what_is_kept_of_the_rate(tmp_path, capfd):
    flags = ["--gigabytes=0.001", "--side=16", "--steps=20", "--turns=1", "--limit=4"]
    assert large_set.main([f"--out={tmp_path}", "--batch-size=8", "--width=4", *flags]) == 0
    assert re.search(r"disk over memory: \d+\.\d\d \(median of", capfd.readouterr().out)
