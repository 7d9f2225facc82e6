"""`cluster.yaml` through Ray's own launcher, onto a simulated machine: which commands it would run, and when.

Ray's NodeUpdater runs as `ray up` and the autoscaler run it. Its `ssh` and `rsync` are answered here, and on the
simulated machine `docker`, `ray`, `pip` and the rest are one script that writes down how it was called. So the
quoting through two shells, the order, the environment and the files are real, and no Ray and no cloud is touched.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.updater import NodeUpdater
from ray.autoscaler._private.util import prepare_config, with_head_node_ip
from ray.autoscaler.node_provider import NodeProvider

from tests.support.places import ROOT

COMMAND = r"""#!{python}
import json, os, re, subprocess, sys, time
from pathlib import Path

machine, name, words = Path({machine!r}), Path(sys.argv[0]).name, sys.argv[1:]
variables = ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED", "RAY_ADDRESS", "OMP_NUM_THREADS", "HOME")
call = {{"words": [name, *words], "folder": os.getcwd(), **{{v: os.environ.get(v) for v in variables}}}}
if not (name == "curl" or words[:2] == ["inspect", "-f"]):
    with (machine / "calls").open("a") as calls:
        calls.write(json.dumps(call) + "\n")
container = machine / "container"  # its HOME and, while it runs, its environment
if name == "docker" and words[0] == "info":
    print("map[nvidia:/usr/bin/nvidia-container-runtime]")
elif name == "docker" and words[0] == "inspect" and "Running" in words[2]:
    print(str((machine / "environment").exists()).lower())
elif name == "docker" and words[0] == "inspect":
    print(json.dumps([f"HOME={{container}}"]))
elif name == "docker" and words[0] == "run":
    line = " ".join(words)
    for source, target in re.findall(r"-v (\S+?):(\S+)", line):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).symlink_to(source)
    (machine / "environment").write_text(json.dumps(dict(re.findall(r"--env (\w+)=(\S+)", line))))
elif name == "docker" and words[0] == "exec":
    command = words[words.index("hyenadna-sweep") + 1 :]
    environment = json.loads((machine / "environment").read_text())
    path = os.environ["PATH"]
    sys.exit(subprocess.run(command, env={{"HOME": str(container), "PATH": path, **environment}}).returncode)
elif name == "curl" and "PUT" in words:
    print("session-token")
elif name == "curl":  # the notice of AWS: 404 until it is given, and only with the session's token
    time.sleep(0.05)
    sys.exit(0 if (machine / "notice").exists() and "X-aws-ec2-metadata-token: session-token" in words else 22)
"""
COMMANDS = ("docker", "ray", "pip", "python", "nvidia-smi", "curl", "pkill", "chown", "sudo", "sleep", "uptime")


class Machine(NodeProvider):
    """One simulated machine: Ray's node provider, and the process runner that answers its `ssh` and `rsync`."""

    def __init__(self, folder: Path) -> None:
        super().__init__({"type": "simulated"}, "hyenadna-sweep")
        self.folder = folder
        self.tags: dict[str, str] = {}
        for part in ("bin", "home", "container"):
            (folder / part).mkdir(parents=True)
        for name in COMMANDS:
            script = folder / "bin" / name
            script.write_text(COMMAND.format(python=sys.executable, machine=str(folder)))
            script.chmod(0o755)
        for home in ("home", "container"):  # read by the login shells that Ray asks for
            (folder / home / ".bashrc").write_text(f"export PATH={folder}/bin:/usr/bin:/bin\n")

    def external_ip(self, node_id: str) -> str:
        return "192.0.2.1"

    def internal_ip(self, node_id: str) -> str:
        return "192.0.2.1"

    def is_terminated(self, node_id: str) -> bool:
        return False

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self.tags

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self.tags.update(tags)

    def check_call(self, command: list[str], **_: Any) -> int:
        self.check_output(command)
        return 0

    def check_output(self, command: list[str]) -> bytes:
        if command[0] == "rsync":
            return self.rsync(command)
        assert command[0] == "ssh", command
        typed = " ".join(command[command.index("ubuntu@192.0.2.1") + 1 :])  # as ssh joins it for the remote shell
        environment = {"HOME": str(self.folder / "home"), "PATH": f"{self.folder}/bin:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "-c", typed], env=environment, cwd=self.folder, capture_output=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, typed, done.stdout, done.stderr)
        return done.stdout

    def rsync(self, command: list[str]) -> bytes:
        """`rsync … --exclude NAME … SOURCE ubuntu@IP:TARGET`, for names without folders, as `cluster.yaml` has them."""
        *_, source, target = command
        destination = Path(target.partition(":")[2])
        excluded = [command[i + 1] for i, word in enumerate(command) if word == "--exclude"]
        if Path(source).is_dir():
            shutil.copytree(source, destination, ignore=shutil.ignore_patterns(*excluded), dirs_exist_ok=True)
        else:
            shutil.copy(source, destination)
        return b""

    def calls(self, *first: str) -> list[dict[str, Any]]:
        """The calls on this machine whose first words are these."""
        every = map(json.loads, (self.folder / "calls").read_text().splitlines())
        return [call for call in every if call["words"][: len(first)] == list(first)]

    def give_notice(self) -> dict[str, Any]:
        """Announce the end of this spot node; returns the call that drains it, after its trials have been signalled."""
        (self.folder / "notice").touch()
        deadline = time.monotonic() + 20
        while not self.calls("pkill"):
            assert time.monotonic() < deadline, "the watcher did not see the notice"
            time.sleep(0.05)
        (drained,) = self.calls("ray", "drain-node")
        return drained


@pytest.fixture(params=["head", "worker"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def machine(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = launched(kind, tmp_path, monkeypatch)
    yield machine
    if kind == "worker":
        machine.give_notice()  # ends the watcher, which would otherwise poll for ever


def launched(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine after Ray has set it up as head or worker from a small checkout."""
    checkout, token = folder / "checkout", folder / "auth_token"
    for name in (".venv/bin", ".git", "results/quickstart", "hyena"):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "file").touch()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    token.write_text("secret")
    machine = Machine(folder / "machine")
    text = (ROOT / "cluster.yaml").read_text().replace("/home/ray", str(machine.folder / "container"))
    text = text.replace("/tmp/spot-notice.log", str(machine.folder / "spot-notice.log"))
    config = prepare_config(yaml.safe_load(text))
    mounts = {remote: str(checkout if local == "." else token) for remote, local in config["file_mounts"].items()}
    monkeypatch.setattr(
        "ray.autoscaler.sdk.get_docker_host_mount_location", lambda name: str(machine.folder / "mounts")
    )
    start = config[f"{kind}_start_ray_commands"]
    NodeUpdater(
        node_id="i-1",
        provider_config=machine.provider_config,
        provider=machine,
        auth_config={**config["auth"], "ssh_private_key": "key.pem"},
        cluster_name="hyenadna-sweep",
        file_mounts=mounts,
        initialization_commands=config["initialization_commands"],
        setup_commands=config[f"{kind}_setup_commands"],
        ray_start_commands=start if kind == "head" else with_head_node_ip(start, "192.0.2.9"),
        runtime_hash="1",
        file_mounts_contents_hash="1",
        is_head_node=kind == "head",
        rsync_options={key: config[key] for key in ("rsync_exclude", "rsync_filter")},
        process_runner=machine,
        docker_config=config["docker"],
    ).run()
    assert machine.tags["ray-node-status"] == "up-to-date"
    return machine


def test_a_node_is_set_up_as_the_file_says(kind: str, machine: Machine) -> None:
    home = machine.folder / "container"

    (pulled,) = machine.calls("docker", "pull")
    (run,) = machine.calls("docker", "run")
    image = "rayproject/ray:2.60.0-py311-" + ("cpu" if kind == "head" else "cu128")
    assert pulled["words"][2] == image
    assert image in run["words"]
    assert "--runtime=nvidia" in run["words"]  # the simulated machine has a GPU; a CPU-only head has no such runtime

    project = home / "hyenadna-sweep"
    assert sorted(path.name for path in project.iterdir()) == [
        ".git",
        "constraints.txt",
        "hyena",
        "pyproject.toml",
    ]
    assert (home / ".ray" / "auth_token").read_text() == "secret"
    installed = machine.calls("pip", "install")
    assert installed[0]["words"] == ["pip", "install", "--quiet", "-e", ".[sweep]", "-c", "constraints.txt"]
    assert Path(installed[0]["folder"]).resolve() == project.resolve()
    assert [call["words"][-1] for call in installed[1:]] == (["boto3>=1.35"] if kind == "head" else [])
    checks = machine.calls("python", "-c")
    assert len(checks) == (kind == "worker")
    for check in checks:
        compile(check["words"][2], "the check of the GPUs", "exec")

    (stop,), (start,) = machine.calls("ray", "stop"), machine.calls("ray", "start")
    assert stop["words"] == ["ray", "stop"]
    assert (start["RAY_AUTH_MODE"], start["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert start["OMP_NUM_THREADS"] is None, "Ray's launcher sets it to 1"
    assert start["HOME"] == str(home)
    if kind == "head":
        assert start["words"][2:] == [
            "--head",
            "--port=6379",
            "--object-manager-port=8076",
            "--num-cpus=0",
            "--num-gpus=0",
            "--dashboard-host=127.0.0.1",
            f"--autoscaling-config={home}/ray_bootstrap_config.yaml",
        ]
    else:
        assert start["words"][2:] == ["--address=192.0.2.9:6379", "--object-manager-port=8076"]


@pytest.mark.parametrize("kind", ["worker"], indirect=True)
def test_a_spot_notice_drains_the_node_and_lets_its_trials_keep_what_they_have(machine: Machine) -> None:
    time.sleep(0.5)
    assert not machine.calls("ray", "drain-node"), "before the notice"
    drained = machine.give_notice()
    assert drained["words"][2:] == [
        "--address=192.0.2.9:6379",
        "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=spot notice",
        "--deadline-remaining-seconds=110",
    ]
    assert (drained["RAY_ADDRESS"], drained["RAY_AUTH_MODE"]) == ("192.0.2.9:6379", "token")
    (told,) = machine.calls("pkill")
    assert told["words"][1:3] == ["-TERM", "-f"]  # tests/e2e/test_kills.py holds the pattern to real trials
