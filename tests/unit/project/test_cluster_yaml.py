"""`cluster.yaml` is valid to Ray and passes the checks that Ray leaves out; each check fails on a broken copy.

Ray's own validation accepts a misspelt `node_config` key, a missing region or workers above the cluster's bound, and
the mistake then costs a failed launch, or money. Only files are read here: nothing starts, nothing is reached.
"""

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.places import ROOT

Config = dict[str, Any]

# What boto3's `create_instances` takes (RunInstances, API 2016-11-15), less what Ray fills in by itself, with Ray's own
# SubnetIds. Nested dictionaries are closed lists too; None leaves a value unchecked.
EBS_KEYS = dict.fromkeys(
    ("DeleteOnTermination", "Encrypted", "Iops", "KmsKeyId", "SnapshotId", "Throughput", "VolumeSize", "VolumeType")
)
SPOT_KEYS = dict.fromkeys(("InstanceInterruptionBehavior", "MaxPrice", "SpotInstanceType", "ValidUntil"))
METADATA_KEYS = dict.fromkeys(("HttpEndpoint", "HttpProtocolIpv6", "HttpPutResponseHopLimit", "HttpTokens"))
RUN_INSTANCES_KEYS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "CapacityReservationSpecification",
            "CpuOptions",
            "CreditSpecification",
            "DisableApiStop",
            "DisableApiTermination",
            "EbsOptimized",
            "EnclaveOptions",
            "HibernationOptions",
            "ImageId",
            "InstanceInitiatedShutdownBehavior",
            "InstanceType",
            "KeyName",
            "LaunchTemplate",
            "LicenseSpecifications",
            "MaintenanceOptions",
            "Monitoring",
            "NetworkInterfaces",
            "NetworkPerformanceOptions",
            "Placement",
            "PrivateDnsNameOptions",
            "SecurityGroupIds",
            "SubnetIds",
            "TagSpecifications",
            "UserData",
        )
    ),
    "BlockDeviceMappings": {"DeviceName": None, "Ebs": EBS_KEYS, "NoDevice": None, "VirtualName": None},
    "IamInstanceProfile": {"Arn": None, "Name": None},
    "InstanceMarketOptions": {"MarketType": None, "SpotOptions": SPOT_KEYS},
    "MetadataOptions": METADATA_KEYS,
}


def unknown_keys(given: Any, known: dict[str, Any] | None, where: str) -> list[str]:
    if isinstance(given, list):
        return [problem for item in given for problem in unknown_keys(item, known, where)]
    if known is None or not isinstance(given, dict):
        return []
    found = [f"{where}: unknown key {key}" for key in given if key not in known]
    return found + [
        problem
        for key, value in given.items()
        if key in known
        for problem in unknown_keys(value, known[key], f"{where}.{key}")
    ]


def lint_node_configs(config: Config) -> list[str]:
    problems = []
    for name, node_type in config["available_node_types"].items():
        node = node_type["node_config"]
        problems += unknown_keys(node, RUN_INSTANCES_KEYS, name)
        problems += [
            f"{name}: no {key}" for key in ("ImageId", "InstanceType", "IamInstanceProfile") if key not in node
        ]
        volumes = [disk["Ebs"].get("VolumeType") for disk in node.get("BlockDeviceMappings", []) if "Ebs" in disk]
        if volumes != ["gp3"]:
            problems.append(f"{name}: the root volume is {volumes}, not one of type gp3")
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            problems.append(f"{name}: credentials can be had from the metadata address without a token")
    return problems


def lint_region(config: Config) -> list[str]:
    region = config["provider"].get("region")
    zones = [zone.strip() for zone in config["provider"].get("availability_zone", "").split(",")]
    if not region:
        return ["no region"]
    if len(set(zones)) < 2 or any(not re.fullmatch(region + "[a-z]", zone) for zone in zones):
        return [f"{zones} are not several zones of {region}"]
    return []


def lint_worker_counts(config: Config) -> list[str]:
    bound = config["max_workers"]
    problems = [] if bound >= 1 else [f"max_workers is {bound}: nothing would ever run"]
    for name, node_type in config["available_node_types"].items():
        fewest, most = node_type.get("min_workers", 0), node_type.get("max_workers", bound)
        if not 0 <= fewest <= most <= bound:
            problems.append(f"{name}: min_workers {fewest}, max_workers {most}, cluster max_workers {bound}")
        if fewest:
            problems.append(f"{name}: does not scale from zero")
    return problems


def lint_money(config: Config) -> list[str]:
    """Spot for workers and only for them; idle and stopped nodes are not paid for."""
    problems = []
    for name, node_type in config["available_node_types"].items():
        spot = node_type["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot == (name == config["head_node_type"]):
            problems.append(f"{name}: {'on spot' if spot else 'not on spot'}")
    if config["provider"].get("cache_stopped_nodes", True):
        problems.append("stopped nodes are kept")
    if not 0 < config.get("idle_timeout_minutes", 5) <= 15:
        problems.append("idle workers are kept for more than a quarter of an hour")
    return problems


def lint_head_takes_no_work(config: Config) -> list[str]:
    head = config["available_node_types"][config["head_node_type"]]
    problems = []
    if head["resources"].get("CPU") != 0 or head["resources"].get("GPU") != 0:
        problems.append(f"the head offers {head['resources']} to the autoscaler")
    if head.get("max_workers", 0) != 0:
        problems.append("workers of the head's type can be started")
    if "--num-cpus=0" not in start_command(config, "head").split():
        problems.append("the head offers its CPUs to trials")
    return problems


def start_command(config: Config, kind: str) -> str:
    commands = [c for c in config[f"{kind}_start_ray_commands"] if re.search(r"\bray start\b", c)]
    assert len(commands) == 1, f"{kind}: {len(commands)} commands start Ray"
    return commands[0]


def lint_start_commands(config: Config) -> list[str]:
    problems = []
    modes = {}
    for kind in ("head", "worker"):
        command = start_command(config, kind)
        before = command[: re.search(r"\bray start\b", command).start()]  # type: ignore[union-attr]
        modes[kind] = re.findall(r"\bRAY_AUTH_MODE=(\w+)", before)
        if len(modes[kind]) != 1:
            problems.append(f"{kind}: the auth mode is not set")
        if "RAY_USAGE_STATS_ENABLED=0" not in before:
            problems.append(f"{kind}: usage statistics are not off")
        if "unset OMP_NUM_THREADS" not in before:
            problems.append(f"{kind}: trials inherit one thread from the launcher's shell")
        if config[f"{kind}_start_ray_commands"][0] != "ray stop":
            problems.append(f"{kind}: a former Ray is not stopped first")
    if modes["head"] != modes["worker"]:
        problems.append(f"auth modes differ: {modes}")
    if modes["head"] == ["token"] and not any(path.endswith("/.ray/auth_token") for path in config["file_mounts"]):
        problems.append("no node gets the token")
    if "--autoscaling-config=~/ray_bootstrap_config.yaml" not in start_command(config, "head"):
        problems.append("the head does not autoscale")
    if not re.search(r"--address=\$RAY_HEAD_IP:6379\b", start_command(config, "worker")):
        problems.append("workers do not join the head")
    return problems


def lint_exposure(config: Config) -> list[str]:
    problems = []
    hosts = re.findall(r"--dashboard-host[= ](\S+)", start_command(config, "head"))
    if hosts not in ([], ["127.0.0.1"], ["localhost"]):
        problems.append(f"the dashboard listens on {hosts}")
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", []):
        if any(r.get("CidrIp") == "0.0.0.0/0" for r in rule.get("IpRanges", [])):
            problems.append(f"port {rule.get('FromPort')} is open to everyone")
    return problems


def lint_versions(config: Config) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = (r for r in map(Requirement, project["optional-dependencies"]["sweep"]) if r.name == "ray")
    problems = []
    for kind in ("head", "worker"):
        image = config["docker"].get(f"{kind}_image") or config["docker"].get("image", "")
        match = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)-(cpu|cu\d+)", image)
        if match is None:
            problems.append(f"{kind}: the image {image!r} does not pin Ray, Python and platform")
            continue
        version, major, minor, platform = match.groups()
        if version not in ray.specifier:
            problems.append(f"{kind}: the image has Ray {version}, the project needs {ray.specifier}")
        if f"{major}.{minor}.0" not in SpecifierSet(project["requires-python"]):
            problems.append(
                f"{kind}: the image has Python {major}.{minor}, the project needs {project['requires-python']}"
            )
        if kind == "worker" and platform == "cpu":
            problems.append("worker: the image is made for CPUs")
    return problems


def lint_setup(config: Config) -> list[str]:
    """The project is copied to one folder and installed from it, with the pinned torch, on head and workers alike."""
    problems = []
    folders = [remote for remote, local in config["file_mounts"].items() if Path(local) == Path()]
    if len(folders) != 1:
        return [f"the project is copied to {folders}, not to one folder"]
    for kind in ("head", "worker"):
        commands = config.get("setup_commands", []) + config.get(f"{kind}_setup_commands", [])
        install = rf"cd {re.escape(folders[0])} && pip install .*-e '\.\[sweep\]'( |$)"
        if not any(re.match(install, c) and "-c constraints.txt" in c for c in commands):
            problems.append(f"{kind}: the project is not installed from {folders[0]}")
    excluded = config.get("rsync_exclude", [])
    problems += [f"{heavy} is copied to every node" for heavy in (".venv", "results") if heavy not in excluded]
    if ".git" in excluded:
        problems.append("no row of results could name its commit")
    return problems


LINTS: list[Callable[[Config], list[str]]] = [
    lint_node_configs,
    lint_region,
    lint_worker_counts,
    lint_money,
    lint_head_takes_no_work,
    lint_start_commands,
    lint_exposure,
    lint_versions,
    lint_setup,
]


@pytest.fixture(scope="module")
def committed() -> Config:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_the_file_and_sets_up_every_node(committed: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(committed))
    validate_config(prepared)
    for kind in ("head", "worker"):
        assert any("pip install" in command for command in prepared[f"{kind}_setup_commands"])
    assert not lint_setup({**prepared, "setup_commands": []}), "Ray's merged commands must install the project too"


def test_ray_refuses_an_unknown_top_level_key(committed: Config) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config({**copy.deepcopy(committed), "idle_timeout": 3}))


@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.__name__)
def test_the_committed_file_is_clean(lint: Callable[[Config], list[str]], committed: Config) -> None:
    assert lint(committed) == []


def worker(config: Config) -> Config:
    return config["available_node_types"]["worker"]


def head(config: Config) -> Config:
    return config["available_node_types"]["head"]


def replace(config: Config, kind: str, old: str, new: str) -> None:
    commands = config[f"{kind}_start_ray_commands"]
    assert any(old in command for command in commands), (
        f"{old} is not in the file any more: this breakage tests nothing"
    )
    config[f"{kind}_start_ray_commands"] = [command.replace(old, new) for command in commands]


BREAKAGES: dict[str, tuple[Callable[[Config], list[str]], Callable[[Config], Any], str]] = {
    "misspelt key": (
        lint_node_configs,
        lambda c: worker(c)["node_config"].update(InstanceMarketOption={}),
        "worker: unknown key InstanceMarketOption",
    ),
    "misspelt nested key": (
        lint_node_configs,
        lambda c: worker(c)["node_config"]["BlockDeviceMappings"][0]["Ebs"].update(Volumesize=1),
        "worker.BlockDeviceMappings.Ebs: unknown key Volumesize",
    ),
    "no image": (lint_node_configs, lambda c: head(c)["node_config"].pop("ImageId"), "head: no ImageId"),
    "no rights": (
        lint_node_configs,
        lambda c: worker(c)["node_config"].pop("IamInstanceProfile"),
        "worker: no IamInstanceProfile",
    ),
    "old disk": (
        lint_node_configs,
        lambda c: head(c)["node_config"]["BlockDeviceMappings"][0]["Ebs"].update(VolumeType="gp2"),
        "head: the root volume is ['gp2'], not one of type gp3",
    ),
    "open metadata": (
        lint_node_configs,
        lambda c: worker(c)["node_config"].pop("MetadataOptions"),
        "worker: credentials can be had from the metadata address without a token",
    ),
    "no region": (lint_region, lambda c: c["provider"].pop("region"), "no region"),
    "one zone": (
        lint_region,
        lambda c: c["provider"].update(availability_zone="us-west-2a"),
        "['us-west-2a'] are not several zones of us-west-2",
    ),
    "foreign zones": (
        lint_region,
        lambda c: c["provider"].update(region="us-east-1"),
        "['us-west-2a', 'us-west-2b', 'us-west-2c'] are not several zones of us-east-1",
    ),
    "too many workers": (
        lint_worker_counts,
        lambda c: worker(c).update(max_workers=9),
        "worker: min_workers 0, max_workers 9, cluster max_workers 2",
    ),
    "never from zero": (
        lint_worker_counts,
        lambda c: worker(c).update(min_workers=1),
        "worker: does not scale from zero",
    ),
    "no workers": (
        lint_worker_counts,
        lambda c: (c.update(max_workers=0), worker(c).update(max_workers=0)),
        "max_workers is 0: nothing would ever run",
    ),
    "head on spot": (
        lint_money,
        lambda c: head(c)["node_config"].update(InstanceMarketOptions={"MarketType": "spot"}),
        "head: on spot",
    ),
    "workers on demand": (
        lint_money,
        lambda c: worker(c)["node_config"].pop("InstanceMarketOptions"),
        "worker: not on spot",
    ),
    "stopped nodes": (lint_money, lambda c: c["provider"].pop("cache_stopped_nodes"), "stopped nodes are kept"),
    "long idle": (
        lint_money,
        lambda c: c.update(idle_timeout_minutes=600),
        "idle workers are kept for more than a quarter of an hour",
    ),
    "head resources": (
        lint_head_takes_no_work,
        lambda c: head(c)["resources"].pop("CPU"),
        "the head offers {'GPU': 0} to the autoscaler",
    ),
    "head CPUs": (
        lint_head_takes_no_work,
        lambda c: replace(c, "head", "--num-cpus=0", "--num-cpus=4"),
        "the head offers its CPUs to trials",
    ),
    "head as worker": (
        lint_head_takes_no_work,
        lambda c: head(c).update(max_workers=1),
        "workers of the head's type can be started",
    ),
    "auth unset": (
        lint_start_commands,
        lambda c: replace(c, "worker", "RAY_AUTH_MODE=token", ""),
        "worker: the auth mode is not set",
    ),
    "auth differs": (
        lint_start_commands,
        lambda c: replace(c, "worker", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
        "auth modes differ: {'head': ['token'], 'worker': ['disabled']}",
    ),
    "no token": (
        lint_start_commands,
        lambda c: c["file_mounts"].pop("/home/ray/.ray/auth_token"),
        "no node gets the token",
    ),
    "usage statistics": (
        lint_start_commands,
        lambda c: replace(c, "head", "RAY_USAGE_STATS_ENABLED=0", ""),
        "head: usage statistics are not off",
    ),
    "one thread": (
        lint_start_commands,
        lambda c: replace(c, "worker", "unset OMP_NUM_THREADS;", ""),
        "worker: trials inherit one thread from the launcher's shell",
    ),
    "no autoscaling": (
        lint_start_commands,
        lambda c: replace(c, "head", "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        "the head does not autoscale",
    ),
    "lost workers": (
        lint_start_commands,
        lambda c: replace(c, "worker", "ray start --address=$RAY_HEAD_IP:6379", "ray start --address=auto"),
        "workers do not join the head",
    ),
    "no ray stop": (
        lint_start_commands,
        lambda c: c["worker_start_ray_commands"].pop(0),
        "worker: a former Ray is not stopped first",
    ),
    "open dashboard": (
        lint_exposure,
        lambda c: replace(c, "head", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        "the dashboard listens on ['0.0.0.0']",
    ),
    "open port": (
        lint_exposure,
        lambda c: c["provider"].update(
            security_group={"IpPermissions": [{"FromPort": 8265, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}
        ),
        "port 8265 is open to everyone",
    ),
    "other Ray": (
        lint_versions,
        lambda c: c["docker"].update(head_image="rayproject/ray:2.59.0-py311-cpu"),
        "head: the image has Ray 2.59.0, the project needs <2.61,>=2.60",
    ),
    "other Python": (
        lint_versions,
        lambda c: c["docker"].update(worker_image="rayproject/ray:2.60.0-py310-cu128"),
        "worker: the image has Python 3.10, the project needs >=3.11,<3.15",
    ),
    "floating image": (
        lint_versions,
        lambda c: c["docker"].update(worker_image="rayproject/ray:latest-gpu"),
        "worker: the image 'rayproject/ray:latest-gpu' does not pin Ray, Python and platform",
    ),
    "CPU image": (
        lint_versions,
        lambda c: c["docker"].update(worker_image="rayproject/ray:2.60.0-py311-cpu"),
        "worker: the image is made for CPUs",
    ),
    "installed on the head only": (
        lint_setup,
        lambda c: c.update(setup_commands=[], head_setup_commands=c["setup_commands"]),
        "worker: the project is not installed from /home/ray/hyenadna-sweep",
    ),
    "unpinned torch": (
        lint_setup,
        lambda c: c.update(setup_commands=["cd /home/ray/hyenadna-sweep && pip install -e '.[sweep]'"]),
        "head: the project is not installed from /home/ray/hyenadna-sweep",
    ),
    "no extra": (
        lint_setup,
        lambda c: c.update(setup_commands=["cd /home/ray/hyenadna-sweep && pip install -e . -c constraints.txt"]),
        "worker: the project is not installed from /home/ray/hyenadna-sweep",
    ),
    "not copied": (
        lint_setup,
        lambda c: c["file_mounts"].pop("/home/ray/hyenadna-sweep"),
        "the project is copied to [], not to one folder",
    ),
    "environment copied": (lint_setup, lambda c: c["rsync_exclude"].remove(".venv"), ".venv is copied to every node"),
    "no commit": (lint_setup, lambda c: c["rsync_exclude"].append(".git"), "no row of results could name its commit"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_lint_fails_on_a_broken_copy(name: str, committed: Config) -> None:
    lint, break_it, message = BREAKAGES[name]
    broken = copy.deepcopy(committed)
    # A user may change region and size without breaking the tests.
    broken["provider"].update(region="us-west-2", availability_zone="us-west-2a,us-west-2b,us-west-2c")
    broken["max_workers"] = worker(broken)["max_workers"] = 2
    assert lint(broken) == []
    break_it(broken)
    assert message in lint(broken)


def test_the_google_variant_on_the_page_is_valid_too(committed: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), flags=re.DOTALL)
    variant = {**copy.deepcopy(committed), **yaml.safe_load(block)}
    validate_config(prepare_config(copy.deepcopy(variant)))
    for lint in (lint_worker_counts, lint_head_takes_no_work, lint_start_commands, lint_versions, lint_setup):
        assert lint(variant) == []


def test_every_lint_has_a_breakage() -> None:
    assert {lint for lint, _, _ in BREAKAGES.values()} == set(LINTS)


def test_the_one_placeholder_is_marked_and_explained(committed: Config) -> None:
    """The placeholder of the image is no valid one; head and worker must name the same image."""
    text = (ROOT / "cluster.yaml").read_text()
    images = [node_type["node_config"]["ImageId"] for node_type in (head(committed), worker(committed))]
    assert images[0] == images[1]
    assert re.fullmatch("ami-(CHANGE-ME|[0-9a-f]{8,17})", images[0])
    assert len(re.findall(r"# CHANGE\b", text)) == 2
    page = (ROOT / "docs" / "cluster.md").read_text()
    assert "ami-CHANGE-ME" in page
    for profile in re.findall(r"IamInstanceProfile: \{Name: ([\w-]+)\}", text):
        assert profile in page, f"the page does not say how {profile} is made"
