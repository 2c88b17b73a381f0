# SPDX-License-Identifier: Apache-2.0
"""`make cluster`: a cluster for trying out, until Ctrl-C or SIGTERM; then nothing of it remains."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path

from deploy.cluster.nodes import Cluster


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="glance-registry-cluster-"))
    folder.chmod(0o755)
    cluster = Cluster(folder / "nodes")
    try:
        asyncio.run(cluster.start())
        print(f"\nexport OS_DATABASE__CONNECTION='{cluster.url}'")
        print("glance-registry db upgrade && glance-registry serve")
        for node in cluster.nodes:
            print(
                f"# {node.name}: http://127.0.0.1:{node.rest_port}/cluster; what it says is in {node.folder}/output",
                flush=True,
            )
        signal.pause()
    except KeyboardInterrupt:
        print("stopping")
    finally:
        cluster.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
