"""Nothing lost, nothing twice: kills at random moments of driver, worker and node daemon; nodes that come and go."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from ray._private.node import Node
from ray.cluster_utils import Cluster

from hyena.training.seed_state import position
from sweep.tuning import WORKER_DEATHS
from tests.support.places import ROOT
from tests.support.sweeps import WORKER, call, command, measures, processes, rows, wait_for, wait_for_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Which process of a sweep is killed how often, and a part of its command line.
VICTIMS = {"worker": (36, WORKER), "driver": (8, b"-m\0sweep.run"), "node": (6, b"raylet/raylet")}
KILLS = sum(number for number, _ in VICTIMS.values())
FEW = ("--set", "grid.seeds=[1,2,3,4]", "--set", "grid.epochs=[40]")


def wanted(seeds: int) -> tuple[str, ...]:
    return ("--set", f"grid.seeds={list(range(seeds))}", "--set", "grid.epochs=[40]")


@pytest.mark.soak
def test_fifty_kills_at_random_moments_lose_nothing_and_double_nothing(small: Path, tmp_path: Path) -> None:
    whole, killed, mark = tmp_path / "whole", tmp_path / "killed", f"kills-{os.getpid()}"
    luck, kills, seeds = random.Random(0), Counter[str](), 6
    deadline = time.monotonic() + 600
    while kills.total() < KILLS:
        assert time.monotonic() < deadline, f"only {dict(kills)}"
        environment = {**os.environ, "SWEEP_TEST_MARK": mark}
        words = command(small, *wanted(seeds), "--results", killed)
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=environment) as process:  # fmt: skip
            harass(process, mark, luck, kills)
            seeds += 4 * (process.poll() == 0)  # there is nothing left to lose: ask for more
            process.kill()
    for results in (killed, whole):
        last = call(small, *wanted(seeds), "--results", results)
        assert last.returncode == 0, last.stdout + last.stderr
    assert len(rows(killed)) == len({row["run_id"] for row in rows(killed)}) == 2 * seeds
    assert all(row["status"] == "done" for row in rows(killed))
    assert measures(killed) == measures(whole)  # bit for bit
    assert not [path for path in killed.rglob("*") if path.name.endswith(".pt")]


def harass(process: "subprocess.Popen[bytes]", mark: str, luck: random.Random, kills: Counter[str]) -> None:
    """Kill processes of a sweep at random moments until it has ended or all kills are used up."""
    while process.poll() is None and kills.total() < KILLS:
        time.sleep(luck.uniform(0.1, 1.5))
        workers = processes(mark, WORKER)
        if not workers:
            continue  # before the first worker there is nothing to lose
        name = luck.choice([name for name, (number, _) in VICTIMS.items() for _ in range(number - kills[name])])
        found = {"worker": workers, "driver": [process.pid]}.get(name) or processes(mark, VICTIMS[name][1])
        if not found:
            continue  # it is about to end
        with suppress(ProcessLookupError):
            os.kill(luck.choice(found), signal.SIGKILL)
            kills[name] += 1
        if name != "worker":
            process.wait(timeout=120)  # a driver without its node daemon ends by itself


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without cores and two workers of one core each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def give_notice(node: Node, cluster: Cluster, process: "subprocess.Popen[bytes]") -> None:
    """Do what the watcher of cluster.yaml does on a spot notice; return when the node's trials have ended."""
    ray = Path(sys.executable).with_name("ray")
    words = ["drain-node", f"--address={cluster.address}", f"--node-id={node.node_id}",
             "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot notice",
             "--deadline-remaining-seconds=60"]  # fmt: skip
    assert subprocess.run([str(ray), *words], capture_output=True, timeout=60).returncode == 0
    (pattern,) = re.findall(r'pkill -TERM -f "(.*)"', (ROOT / "cluster.yaml").read_text())
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True).stdout.split()
    told = [pid for pid in map(int, found) if raylet(node) in ancestors(pid)]
    assert told
    for pid in told:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in told), process, "end of its trials", 30)


@pytest.mark.soak
def test_nodes_that_die_and_join_cost_no_run(small: Path, tmp_path: Path, cluster: Cluster) -> None:
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    few = (
        "--set",
        "grid.seeds=[1,2]",
        "--set",
        "grid.epochs=[300]",
    )  # still in training at the third death
    assert call(small, *few, "--results", whole).returncode == 0
    words = command(small, *few, "--results", moved, "--address", cluster.address)
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as process:
        for _ in range(3):
            cluster.remove_node(at_work(cluster, moved, process), allow_graceful=False)
            cluster.add_node(num_cpus=1)
        said = process.communicate(timeout=240)[0].decode()
    assert process.returncode == 0, said
    assert said.count("its worker died; resuming after epoch") >= 3
    assert len(rows(moved)) == len({row["run_id"] for row in rows(moved)}) == 4
    assert measures(moved) == measures(whole)


def test_a_spot_notice_costs_neither_an_epoch_nor_a_retry(small: Path, tmp_path: Path, cluster: Cluster) -> None:
    """More notices than a trial may have worker deaths: none of them may count."""
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    long = ("--set", "grid.seeds=[1]", "--set", 'grid.init=["scratch"]', "--set", "grid.epochs=[20]",
            "--set", "synthetic.train_examples=4000")  # fmt: skip
    words, within = command(small, *long, "--results", moved, "--address", cluster.address), 0
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as process:
        for _ in range(WORKER_DEATHS + 2):
            node = at_work(cluster, moved, process)
            cluster.add_node(num_cpus=1)
            give_notice(node, cluster, process)
            (kept,) = (moved / "checkpoints").glob("*.pt")
            within += position(torch.load(kept, weights_only=True))[1] > 0
            cluster.remove_node(node, allow_graceful=False)
        said = process.communicate(timeout=240)[0].decode()
    assert process.returncode == 0, said
    assert said.count("its worker died; resuming") == WORKER_DEATHS + 2
    assert said.count("resuming within epoch") == within > 0  # an epoch has 225 steps, so few notices come at its end
    assert call(small, *long, "--results", whole).returncode == 0
    assert measures(moved) == measures(whole)  # bit for bit


def at_work(cluster: Cluster, results: Path, process: "subprocess.Popen[bytes]") -> Node:
    """The node of a trial, once another checkpoint has been written."""
    before, found = newest(results / "checkpoints"), list[Node]()

    def another() -> bool:
        found[:] = [node] if newest(results / "checkpoints") > before and (node := busy(cluster)) else []
        return bool(found)

    wait_for(another, process, "another epoch")
    return found[0]


def newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*.pt")), default=0.0)


def busy(cluster: Cluster) -> Node | None:
    """A node whose daemon is the parent of a trial's actor."""
    parents = {parent for pid in processes("", WORKER) for parent in ancestors(pid)}
    nodes = cluster.list_all_nodes()
    return next((node for node in nodes if raylet(node) in parents), None)


def raylet(node: Node) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_pauses_the_sweep_until_there_is_space(small: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        words, log = command(small, *FEW, "--results", disk / "results"), tmp_path / "log"
        with log.open("w") as said, subprocess.Popen(words, cwd=ROOT, stdout=said) as process:
            wait_for_rows(disk / "results", 2, process)
            (disk / "ballast").write_bytes(b"0" * shutil.disk_usage(disk).free)
            wait_for(lambda: "No space left on device" in log.read_text(), process, "word of the full disk")
            number = len(rows(disk / "results"))
            (disk / "ballast").unlink()
            process.wait(timeout=240)
        assert process.returncode == 0, log.read_text()
        assert "waiting" in log.read_text()
        assert number < 8
        assert len(rows(disk / "results")) == 8
        assert not [path for path in disk.rglob("*") if path.name.endswith((".tmp", ".pt"))]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
