"""What the benchmark of ingest measures: whole process trees, and the server's work to the end."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.ingest.run import Run, _ratios, _tree_kb

#: a process that keeps next to nothing itself and starts one that keeps 80 MB
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "kept = bytes(1) * 80_000_000; print(1, flush=True); input()"])
child.wait()
"""


def test_memory_of_a_load_is_that_of_all_its_processes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        measured = _tree_kb(parent.pid)
        parent.communicate("\n")
    assert measured > 80_000
    assert _tree_kb(parent.pid) == 0


def test_ratios_are_taken_turn_by_turn() -> None:
    # the second turn ran on a machine half as fast: that says nothing of the load
    ours = [Run(3.0, 1.0, 2.0, 9.0), Run(6.0, 2.0, 4.0, 9.0), Run(30.0, 1.0, 2.0, 9.0)]
    bare = [Run(2.0, 0.5, 1.0, 1.0), Run(4.0, 1.0, 2.0, 1.0), Run(2.0, 0.5, 1.0, 1.0)]
    assert json.dumps(_ratios(ours, bare)) == '{"ratio_to_copy": 1.5, "cpu_ratio_to_copy": 2.0}'
