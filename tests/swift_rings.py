# SPDX-License-Identifier: Apache-2.0
"""Makes the rings of a Swift with one device: `swift_rings.py FOLDER ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT`.

Run by the Python of Swift's own environment. The command that Swift has for this would start nine times.
"""

import sys
from pathlib import Path

from swift.common.ring import RingBuilder

PARTITION_POWER, REPLICAS = 4, 1


def main(folder: Path, ports: list[int]) -> None:
    for name, port in zip(("account", "container", "object"), ports, strict=True):
        builder = RingBuilder(PARTITION_POWER, REPLICAS, 1)
        address = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        builder.add_dev({"region": 1, "zone": 1, "device": "disk", "weight": 1.0, "meta": "", **address})
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{name}.ring.gz"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]])
