"""A memory keeps what was set last, and no more than it may."""

import pickle

from pointcloud.recent import Recent


def test_the_oldest_entry_makes_room():
    memory = Recent[str, int](2)
    memory["a"], memory["b"] = 1, 2
    memory["a"] = 3  # no new entry
    assert dict(memory) == {"a": 3, "b": 2}
    memory["c"] = 4
    assert dict(memory) == {"b": 2, "c": 4}


def test_another_process_begins_with_an_empty_one():
    memory = Recent[str, int](2)
    memory["a"] = 1
    other = pickle.loads(pickle.dumps(memory))
    assert (dict(other), other.most) == ({}, 2)
