"""Starts a small Kubernetes cluster for tests: the real control plane on loopback, and a real node.

The programs are built once from `scripts/kubernetes/components` and kept in the cache. The node needs root,
containerd, runc, the CNI plugins and a static busybox; its pods have addresses on a bridge of this machine.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltrainer_testkit.go_programs import GoProgram
from mltrainer_testkit.kubernetes_host import (
    BRIDGES,
    CNI_PLUGINS,
    CONTAINERD,
    NETWORK,
    NODE_ADDRESS,
    ClusterError,
    end_containers,
    issue,
    make_bridges,
    openssl,
    run,
    succeeds,
    unmount_below,
)
from mltrainer_testkit.oci_image import write_image
from mltrainer_testkit.ports import free_port, free_ports

BUILD_TIMEOUT_S = 3_600.0
NODE = "real"
TEST_IMAGE = "mltrainer.test/shell:1"
_PAUSE_IMAGE = "mltrainer.test/pause:1"
_BUILDER = "python -m mltrainer_testkit.kubernetes"
_COMPONENTS = GoProgram("kubernetes-components", ".", "MLTRAINER_TEST_KUBERNETES", _BUILDER)
_PAUSE = GoProgram("kubernetes-pause", "./pause", "MLTRAINER_TEST_PAUSE", _BUILDER)
_USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "node": (f"system:node:{NODE}", "system:nodes"),
}


def node_obstacle() -> str:
    """Says why no real node can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "a node needs root"
    missing = [name for name in ("containerd", "runc", "ctr", "ip", "busybox") if shutil.which(name) is None]
    if not CNI_PLUGINS.joinpath("bridge").exists():
        missing.append("containernetworking-plugins")
    return f"a node needs {', '.join(missing)}" if missing else ""


@dataclass(slots=True)
class Cluster:
    """Processes of one cluster; everything they write is in `state`."""

    components: Path
    pause: Path
    state: Path
    port: int = 0
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {name: secrets.token_hex(16) for name in _USERS})
    _api_arguments: list[str] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """Credentials of an administrator."""
        return self.state / "admin.kubeconfig"

    @property
    def _server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start_control_plane(self) -> None:
        """Starts etcd, API server, controllers and scheduler, and waits until they answer."""
        self.port = free_port()
        self._write_credentials()
        etcd, peer = free_ports(2)
        client_url, peer_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self._start(
            "etcd",
            [
                "etcd",
                f"--data-dir={self.state}/etcd",
                f"--listen-client-urls={client_url}",
                f"--advertise-client-urls={client_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
            ],
        )
        self._api_arguments = self._api_server_arguments(client_url)
        self.start_api_server()
        self._start("controllers", self._controller_arguments())
        self._start(
            "scheduler",
            [
                "kube-scheduler",
                f"--kubeconfig={self.state}/scheduler.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                f"--cert-dir={self.state}/pki",
            ],
        )
        self.wait(
            lambda: self.exists("/api/v1/namespaces/default/serviceaccounts/default"), "service account"
        )

    def start_api_server(self) -> None:
        """Starts the API server and waits until it is ready."""
        self._start("apiserver", self._api_arguments)
        self.wait(lambda: self.exists("/readyz"), "API server")

    def kill(self, name: str) -> None:
        """Kills a part of the cluster as a failing machine would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a part of the cluster."""
        self.processes[name].send_signal(number)

    def _api_server_arguments(self, etcd_url: str) -> list[str]:
        pki = self.state / "pki"
        return [
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={pki}",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={self.state}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.key",
            f"--service-account-signing-key-file={pki}/accounts.key",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--allow-privileged=true",
        ]

    def _controller_arguments(self) -> list[str]:
        return [
            "kube-controller-manager",
            f"--kubeconfig={self.state}/controllers.kubeconfig",
            f"--service-account-private-key-file={self.state}/pki/accounts.key",
            f"--root-ca-file={self.state}/pki/ca.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={self.state}/pki",
            # A node is missed sooner than the 50 s of the default: tests wait for it.
            "--node-monitor-grace-period=8s",
            "--node-monitor-period=1s",
        ]

    def start_node(self) -> None:
        """Starts containerd and a kubelet, and waits until the node is ready.

        Raises:
            ClusterError: There is no node to be had here.
        """
        if obstacle := node_obstacle():
            raise ClusterError(obstacle)
        make_bridges()
        socket_path = self._start_containerd()
        self._import_images(socket_path)
        self._write_kubelet_configuration(socket_path)
        self.start_kubelet()

    def start_kubelet(self) -> None:
        """Starts the kubelet and waits until its node is ready."""
        self._start(
            "kubelet",
            [
                "kubelet",
                f"--config={self.state}/kubelet.json",
                f"--kubeconfig={self.state}/node.kubeconfig",
                f"--hostname-override={NODE}",
                f"--root-dir={self.state}/kubelet",
                f"--cert-dir={self.state}/kubelet/pki",
                f"--node-ip={NODE_ADDRESS}",
            ],
        )
        self.wait(self.node_is_ready, "node", timeout_s=90)

    def node_is_ready(self) -> bool:
        """Tells whether the node is heard of and takes pods."""
        conditions = self.get(f"/api/v1/nodes/{NODE}").get("status", {}).get("conditions", [])
        return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)

    def _start_containerd(self) -> Path:
        runtime = _runtime_directory()
        runtime.mkdir(exist_ok=True)
        (self.state / "cni").mkdir(exist_ok=True)
        (self.state / "cni" / "10-pods.conflist").write_text(json.dumps(NETWORK))
        configuration = self.state / "containerd.toml"
        configuration.write_text(
            CONTAINERD.format(state=self.state, run=runtime, pause=_PAUSE_IMAGE, plugins=CNI_PLUGINS)
        )
        self._start_program("containerd", ["containerd", "--config", str(configuration)])
        address = runtime / "containerd.sock"
        self.wait(lambda: succeeds("ctr", "-a", str(address), "version"), "containerd")
        return address

    def _import_images(self, address: Path) -> None:
        shell = Path(shutil.which("busybox") or "")
        tools = (
            "sh",
            "cat",
            "sleep",
            "base64",
            "head",
            "tail",
            "tr",
            "cut",
            "test",
            "touch",
            "id",
            "echo",
            "ls",
        )
        pause = write_image(self.state / "pause.tar", _PAUSE_IMAGE, {"/pause": self.pause}, entry="/pause")
        links = {f"/bin/{tool}": "/bin/busybox" for tool in tools}
        test = write_image(self.state / "shell.tar", TEST_IMAGE, {"/bin/busybox": shell}, links=links)
        for archive in (pause, test):
            run("ctr", "-a", str(address), "-n", "k8s.io", "images", "import", str(archive))

    def _write_kubelet_configuration(self, address: Path) -> None:
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self.state}/pki/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "containerRuntimeEndpoint": f"unix://{address}",
            "failSwapOn": False,
            "address": NODE_ADDRESS,
            "port": free_port(),
            "healthzPort": 0,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "nodeStatusUpdateFrequency": "2s",
            "nodeStatusReportFrequency": "10s",
            "nodeLeaseDurationSeconds": 8,
            "syncFrequency": "5s",
        }
        (self.state / "kubelet.json").write_text(json.dumps(configuration))

    def stop(self) -> None:
        """Ends everything that was started, pods first: nobody would end them later."""
        with contextlib.suppress(OSError, ClusterError, subprocess.SubprocessError):
            self._delete_pods()
        for name in ("kubelet", "containerd", "controllers", "scheduler", "apiserver", "etcd"):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            if name == "containerd":
                end_containers(_runtime_directory())
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        unmount_below(self.state, _runtime_directory())
        shutil.rmtree(_runtime_directory(), ignore_errors=True)
        for bridge in BRIDGES:
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)

    def _delete_pods(self) -> None:
        if "apiserver" in self.processes:
            for namespace in self.get("/api/v1/namespaces").get("items", []):
                self.empty_namespace(namespace["metadata"]["name"])

    def add_namespace(self, name: str) -> None:
        """Makes a namespace that takes pods."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.request("POST", "/api/v1/namespaces", body)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        self.wait(lambda: self.exists(account), "service account")

    def empty_namespace(self, name: str) -> None:
        """Removes all jobs and pods of a namespace."""
        options = "propagationPolicy=Background&gracePeriodSeconds=0"
        pods = f"/api/v1/namespaces/{name}/pods"
        self.request("DELETE", f"/apis/batch/v1/namespaces/{name}/jobs?{options}")
        self.request("DELETE", f"{pods}?{options}")
        self.wait(lambda: not self.get(pods).get("items"), "pods to be gone", timeout_s=30)

    def exists(self, path: str) -> bool:
        """Tells whether the API server answers a path."""
        try:
            self._open("GET", path, None).close()
        except OSError:
            return False
        return True

    def get(self, path: str) -> Any:
        """Returns an object, empty where there is none."""
        return self.request("GET", path)

    def request(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """Asks the API server as an administrator; a refusal is an empty answer."""
        try:
            with self._open(method, path, body, content) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def _open(self, method: str, path: str, body: object, content: str = "application/json") -> Any:
        request = urllib.request.Request(
            self._server + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.tokens['admin']}", "Content-Type": content},
        )
        trust = ssl.create_default_context(cafile=str(self.state / "pki" / "ca.crt"))
        try:
            return urllib.request.urlopen(request, timeout=10, context=trust)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            raise

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Waits until a condition holds.

        Raises:
            ClusterError: It does not hold in time, or a part of the cluster has ended.
        """
        until = time.monotonic() + timeout_s
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} has ended: see {self.state}/{name}.log")
            if time.monotonic() > until:
                raise ClusterError(f"waited {timeout_s:.0f} s for {what}: see {self.state}")
            time.sleep(0.1)

    def _start(self, name: str, arguments: list[str]) -> None:
        self._start_program(name, [str(self.components), *arguments])

    def _start_program(self, name: str, arguments: list[str]) -> None:
        with (self.state / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _write_credentials(self) -> None:
        pki = self.state / "pki"
        pki.mkdir(parents=True, exist_ok=True)
        openssl("genrsa", "-out", f"{pki}/accounts.key", "2048")
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca"),
            *("-keyout", f"{pki}/ca.key", "-out", f"{pki}/ca.crt"),
        )
        issue(pki, "server", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        issue(pki, "kubelet-client", "/O=system:masters/CN=kube-apiserver", "extendedKeyUsage=clientAuth")
        rows = [f'{self.tokens[name]},{user},{name},"{group}"' for name, (user, group) in _USERS.items()]
        (self.state / "tokens.csv").write_text("\n".join(rows) + "\n")
        for name, token in self.tokens.items():
            self.write_kubeconfig(name, token)

    def write_kubeconfig(self, name: str, token: str) -> Path:
        """Writes credentials of a user; JSON is YAML."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self._server,
                        "certificate-authority": f"{self.state}/pki/ca.crt",
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.state / f"{name}.kubeconfig"
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path


def find_or_build_cluster(module: Path, state: Path) -> Cluster:
    """Returns a cluster that is not started yet; the programs are built where the cache has none.

    Raises:
        ProgramNotFoundError: They cannot be built.
    """
    components = _COMPONENTS.find_or_build(module, BUILD_TIMEOUT_S)
    return Cluster(components, _PAUSE.find_or_build(module, BUILD_TIMEOUT_S), state)


def _runtime_directory() -> Path:
    # The path of a socket is bounded; the state directory of a test is not.
    return Path("/run") / f"mlt-{os.getpid()}"


def main() -> int:
    """Builds the programs of the cluster unless the cache has them, and prints where they are."""
    module = Path(sys.argv[1])
    for program in (_COMPONENTS, _PAUSE):
        print(program.find_or_build(module, BUILD_TIMEOUT_S))  # noqa: T201 - the answer of a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
