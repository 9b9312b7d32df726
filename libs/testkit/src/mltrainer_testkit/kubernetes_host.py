"""What a test cluster needs of this machine: bridges, the settings of a container runtime, certificates."""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

POD_GATEWAY = "10.244.0.1"
NODE_ADDRESS = "10.99.0.1"
BRIDGES = {"mlt-node": f"{NODE_ADDRESS}/32", "mlt-pods": f"{POD_GATEWAY}/24"}
CNI_PLUGINS = Path("/usr/lib/cni")


class ClusterError(Exception):
    """The cluster cannot be started here; the text says why."""


NETWORK: Mapping[str, object] = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "mlt-pods",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]},
        }
    ],
}
# Without CAP_SYS_RESOURCE the scores that the kubelet asks for cannot be set.
CONTAINERD = """version = 2
root = "{state}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{state}/cni"
"""


def make_bridges() -> None:
    """Gives the node an address that is no loopback one, and pods a way to the services of a test."""
    for bridge, address in BRIDGES.items():
        if not succeeds("ip", "link", "show", bridge):
            run("ip", "link", "add", bridge, "type", "bridge")
            run("ip", "addr", "add", address, "dev", bridge)
            run("ip", "link", "set", bridge, "up")


def end_containers(runtime: Path) -> None:
    """Kills what a runtime still executes."""
    control = ["ctr", "-a", str(runtime / "containerd.sock"), "-n", "k8s.io", "tasks"]
    listed = subprocess.run([*control, "ls", "-q"], capture_output=True, check=False, text=True)
    for task in listed.stdout.split():
        subprocess.run([*control, "kill", "-s", "9", task], capture_output=True, check=False)
    if listed.stdout:
        time.sleep(1)


def unmount_below(*roots: Path) -> None:
    """Unmounts everything below directories."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if any(mount.startswith(f"{root}/") for root in roots):
            subprocess.run(["umount", mount], capture_output=True, check=False)


def issue(pki: Path, name: str, subject: str, extension: str) -> None:
    """Makes a key and a certificate of the test authority."""
    extensions = pki / f"{name}.ext"
    extensions.write_text(extension)
    request = pki / f"{name}.csr"
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject),
        *("-keyout", f"{pki}/{name}.key", "-out", str(request)),
    )
    openssl(
        *("x509", "-req", "-in", str(request), "-days", "2", "-extfile", str(extensions)),
        *("-CA", f"{pki}/ca.crt", "-CAkey", f"{pki}/ca.key", "-CAcreateserial", "-out", f"{pki}/{name}.crt"),
    )


def openssl(*arguments: str) -> None:
    """Executes openssl."""
    run("openssl", *arguments)


def run(*arguments: str) -> None:
    """Executes a program that must succeed."""
    done = subprocess.run(arguments, capture_output=True, check=False, text=True)
    if done.returncode:
        raise ClusterError(f"{' '.join(arguments[:3])} failed: {done.stderr.strip()[-500:]}")


def succeeds(*arguments: str) -> bool:
    """Tells whether a program succeeds."""
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0
