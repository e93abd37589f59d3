"""The files of deploy/, read: numbers that have to fit together, and what can be said of those that need a machine, a daemon
or a cluster that tests do not have. nginx's and systemd's own checkers have their say, too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml  # type: ignore[import-untyped]

from examples.rooms.settings import Settings as Rooms
from headwater.asgi.health import PROBE_TIME
from headwater.cli.settings import CLIENT_NAMES, NAMES, PREFIX, Settings
from tests.support.gateway import DEPLOY, Gateway, fill_in, nginx_words, replace_in

KUBERNETES = DEPLOY / "kubernetes"
UNIT = DEPLOY / "systemd/headwater@.service"
GRACE = Settings().grace
OPEN_FILES = 200_000


def test_every_setting_that_is_named_exists() -> None:
    """A misspelt variable would keep a node from starting."""
    known = {PREFIX + name.upper() for name in NAMES} | CLIENT_NAMES
    found = {
        name
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for name in re.findall(r"\bHEADWATER_[A-Z_]*[A-Z]\b", path.read_text())
    }
    assert found
    assert found <= known


# -- nginx ---------------------------------------------------------------------------------------------------------------


def nginx(name: str) -> list[list[str]]:
    """The directives of one of nginx's files that fit on a line, each as its words, whatever block they stand in."""
    return [found.split() for found in re.findall(r"(?m)^\s*(\w[^;{]*);", (DEPLOY / "nginx" / name).read_text())]


def value(name: str, directive: str) -> str:
    """The value of a directive that stands once in a file."""
    (found,) = {words[1] for words in nginx(name) if words[0] == directive}
    return found


def seconds(text: str) -> float:
    """A duration as nginx writes it."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


@pytest.mark.parametrize("nodes", ["nginx/headwater/nodes.conf", "compose/nodes.conf"])
def test_nginx_has_nothing_to_say_about_its_files(nodes: str, tmp_path: Path) -> None:
    """`nginx -t` finds neither an error nor anything to warn of, also with the nodes that compose.yaml has."""
    fill_in(tmp_path, Gateway("nginx", tmp_path, 18080, 18443), 18081, ["127.0.0.1:8001", "127.0.0.1:8002"])
    (tmp_path / "headwater/nodes.conf").write_text((DEPLOY / nodes).read_text())
    checked = subprocess.run([*nginx_words(tmp_path), "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    said = checked.stderr + (tmp_path / "nginx.log").read_text()
    assert [line for line in said.splitlines() if "warn" in line or "emerg" in line] == []


def test_no_stream_is_silent_for_as_long_as_nginx_waits() -> None:
    """Its patience is several of the hub's heartbeats, and of the rooms', which are the slowest that we ship."""
    assert seconds(value("headwater/hub.conf", "proxy_read_timeout")) >= 5 * max(
        Settings().heartbeat, Rooms().heartbeat
    )


def test_nginx_lets_go_of_connections_before_nodes_do() -> None:
    """A request sent into a connection that its node is closing would be lost."""
    kept = uvicorn.Config("").timeout_keep_alive
    assert seconds(value("headwater/nodes.conf", "keepalive_timeout")) < kept
    assert f"keepalive {kept - 1}s" in (DEPLOY / "caddy/Caddyfile").read_text()


def test_nginx_takes_what_the_hub_takes() -> None:
    """A body of the largest size, and as many files as its workers have connections."""
    assert value("headwater/hub.conf", "client_max_body_size") == f"{Settings().max_body_bytes // 2**20}m"
    assert int(value("nginx.conf", "worker_rlimit_nofile")) >= 2 * int(value("nginx.conf", "worker_connections"))


def test_no_post_is_sent_twice() -> None:
    """Nowhere is nginx told to repeat what is not idempotent."""
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
            assert "non_idempotent" not in text


# -- systemd -------------------------------------------------------------------------------------------------------------


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to complain of in an instance of the template, whose command is ours, and its
    `security` finds little that the node could do besides its work."""
    unit = tmp_path / "headwater@8001.service"
    unit.write_text(UNIT.read_text())
    replace_in(unit, {"/opt/headwater/bin/headwater": str(Path(sys.executable).parent / "headwater")})
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    words = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(unit)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    (exposure,) = re.findall(r"Overall exposure level .*: ([0-9.]+) OK", said)
    assert float(exposure) < 2


def test_systemd_lets_a_node_drain() -> None:
    """It asks with SIGTERM, waits for longer than the node takes, starts what ended again, and allows a file per stream."""
    unit = dict(re.findall(r"(?m)^(\w+)=(.*)$", UNIT.read_text()))
    assert unit["KillSignal"] == "SIGTERM"
    assert float(unit["TimeoutStopSec"]) >= GRACE + 5
    assert unit["Restart"] == "always"
    assert int(unit["LimitNOFILE"]) >= OPEN_FILES
    assert unit["ExecStart"].split()[-3:] == ["serve", "--port", "%i"]


# -- Docker --------------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and arguments."""
    lines = [line for line in (DEPLOY / "docker/Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_image_runs_a_node_as_nobody_special() -> None:
    """The last of two stages runs as a user by number, has no tools for building and none for testing, and is started
    without a shell, so that SIGTERM reaches the node."""
    found = instructions()
    starts = [index for index, (name, _) in enumerate(found) if name == "FROM"]
    assert len(starts) == 2
    final = dict(found[starts[1] :])
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"])
    assert yaml.safe_load(final["ENTRYPOINT"]) == ["headwater"]
    assert yaml.safe_load(final["CMD"]) == ["serve"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert final["FROM"] == found[0][1].removesuffix(" AS build")
    assert "--group" not in dict(found)["RUN"]
    assert "HEADWATER_HOST=0.0.0.0" in final["ENV"]


def test_the_image_is_made_of_files_that_there_are() -> None:
    """What is copied exists, and Docker is sent it and nothing else."""
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    names = {name for group in copied for name in group}
    assert all((DEPLOY.parent / name).exists() for name in names)
    ignored = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == names


# -- compose -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> Any:
    """compose.yaml."""
    return yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())


def test_compose_runs_two_nodes_on_a_redis_that_forgets_nothing(compose: Any) -> None:
    """Both nodes have the same Redis; it writes what it has to disk, evicts nothing, and keeps it in a volume."""
    nodes = [compose["services"][name] for name in ("hub-1", "hub-2")]
    for node in nodes:
        assert node["environment"]["HEADWATER_BROKER"].startswith("redis://redis:6379")
        assert ":?" in node["environment"]["HEADWATER_JWT_SECRET"]
        assert float(node["stop_grace_period"].removesuffix("s")) >= GRACE + 5
        assert node["ulimits"]["nofile"] >= OPEN_FILES
        assert node["depends_on"]["redis"]["condition"] == "service_healthy"
    redis = compose["services"]["redis"]
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert [volume.split(":")[1] for volume in redis["volumes"]] == ["/data"]
    assert "ports" not in redis


def test_compose_addresses_agree(compose: Any) -> None:
    """nginx knows the nodes, the nodes believe nginx, and every file that is put into nginx is there."""
    services = compose["services"]
    address = {name: each["networks"]["inside"]["ipv4_address"] for name, each in services.items()}
    assert len(set(address.values())) == len(address)
    found = re.findall(r"server (\S+):8000 ", (DEPLOY / "compose/nodes.conf").read_text())
    assert found == [address["hub-1"], address["hub-2"]]
    assert services["hub-1"]["environment"]["HEADWATER_TRUSTED_PROXIES"] == address["nginx"]
    mounted = dict(volume.split(":")[:2] for volume in services["nginx"]["volumes"])
    tls = mounted.pop("./tls")
    assert f"{tls}/cert.pem" in (DEPLOY / "nginx/headwater/site.conf").read_text()
    for source, target in mounted.items():
        assert (DEPLOY / "compose" / source).is_file()
        assert target.startswith("/etc/nginx/")
    included = re.findall(r"include (\S+);", "".join(path.read_text() for path in (DEPLOY / "nginx").rglob("*.conf")))
    assert {f"/etc/nginx/{name}" for name in included} <= set(mounted.values())


def test_composes_nodes_are_nginxs_own() -> None:
    """Where they are is all that differs from the file that the tests run."""

    def directives(path: Path) -> list[str]:
        text = re.sub(r"(?m)\s*#.*$", "", path.read_text())
        return [re.sub(r"server \S+", "server", line.strip()) for line in text.splitlines() if line.strip()]

    assert directives(DEPLOY / "compose/nodes.conf") == directives(DEPLOY / "nginx/headwater/nodes.conf")


# -- Kubernetes ----------------------------------------------------------------------------------------------------------


def manifests() -> Iterator[Any]:
    """Every object, with and without `kubectl apply -k`."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return {each["kind"]: each for each in manifests()}


@pytest.fixture
def pod(objects: dict[str, Any]) -> Any:
    """What a pod is made from."""
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture
def container(pod: Any) -> Any:
    """Its container."""
    (found,) = pod["containers"]
    return found


VERSIONS = {
    "Deployment": "apps/v1",
    "Service": "v1",
    "Secret": "v1",
    "Ingress": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
}


def test_each_object_is_what_it_says(objects: dict[str, Any]) -> None:
    """Of the kinds there are, in the versions that clusters have, all of one name; what is applied are files."""
    assert {kind: each["apiVersion"] for kind, each in objects.items()} == VERSIONS
    assert {each["metadata"]["name"] for kind, each in objects.items() if kind != "Kustomization"} == {"headwater"}
    assert all((KUBERNETES / name).is_file() for name in objects["Kustomization"]["resources"])


def test_selectors_find_the_pods(objects: dict[str, Any], pod: Any, container: Any) -> None:
    """Service, budget and spread mean the labels that the pods have, the Service's port is the container's, and the Ingress
    and the autoscaler mean these objects."""
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert all(each["labelSelector"]["matchLabels"] == labels for each in pod["topologySpreadConstraints"])
    (port,) = objects["Service"]["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in container["ports"]}
    (rule,) = objects["Ingress"]["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "headwater", "port": {"name": port["name"]}}
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["kind"] == "Deployment"


def test_a_pod_has_time_to_drain(pod: Any, container: Any) -> None:
    """The wait before SIGTERM and the drain fit into the time until the kill, with some to spare."""
    wait = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    (grace,) = [float(each["value"]) for each in container["env"] if each["name"] == "HEADWATER_GRACE"]
    assert wait + grace + 5 <= pod["terminationGracePeriodSeconds"]
    assert wait >= container["readinessProbe"]["periodSeconds"]


def test_probes_ask_what_they_should(container: Any) -> None:
    """Readiness is the way through the broker, and has the time which that takes; whether to kill is not asked of it."""
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["timeoutSeconds"] > PROBE_TIME
    assert {container[name]["httpGet"]["path"] for name in ("livenessProbe", "startupProbe")} == {"/healthz"}


def test_no_variable_of_kubernetes_is_taken_for_a_setting(pod: Any) -> None:
    """A Service named headwater would put HEADWATER_PORT=tcp://... into every container beside it."""
    assert pod["enableServiceLinks"] is False


def test_a_pod_may_do_nothing_special(pod: Any, container: Any) -> None:
    """As the image's user, without privileges, on a file system that it cannot change, and without the cluster's token."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:" in dict(instructions())["USER"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)


def test_a_pod_has_its_secrets_from_the_secret(objects: dict[str, Any], container: Any) -> None:
    """The broker's URL, which may hold a password, and the key for tokens: by reference, to keys that secret.yaml shows."""
    refs = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert set(refs) == {"HEADWATER_BROKER", "HEADWATER_JWT_SECRET"}
    assert {ref["key"] for ref in refs.values()} == set(objects["Secret"]["stringData"])
    assert "secret.yaml" not in objects["Kustomization"]["resources"]


def test_the_ingress_does_as_nginx_here_does(objects: dict[str, Any]) -> None:
    """Its annotations say what hub.conf says."""
    annotations = objects["Ingress"]["metadata"]["annotations"]
    found = {name.removeprefix("nginx.ingress.kubernetes.io/"): each for name, each in annotations.items()}
    assert all(isinstance(each, str) for each in found.values()), "an annotation that is no string is refused"
    hub = "headwater/hub.conf"
    assert found["proxy-buffering"] == value(hub, "proxy_buffering") == "off"
    assert found["proxy-http-version"] == value(hub, "proxy_http_version")
    assert found["proxy-body-size"] == value(hub, "client_max_body_size")
    for name in ("proxy-read-timeout", "proxy-send-timeout", "proxy-connect-timeout", "proxy-next-upstream-timeout"):
        assert float(found[name]) == seconds(value(hub, name.replace("-", "_")))
    (asked,) = [words[1:] for words in nginx(hub) if words[0] == "proxy_next_upstream" and words[1] != "off"]
    assert found["proxy-next-upstream"].split() == asked


def test_kubernetes_has_one_node_more_before_it_takes_one_away(objects: dict[str, Any]) -> None:
    """In a rolling update and when machines are emptied."""
    spec = objects["Deployment"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
