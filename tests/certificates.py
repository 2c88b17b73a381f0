# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by the `openssl` command: Python itself can read them, but not make any."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """PEM files."""

    cert: str
    key: str


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def make_authority(folder: Path, name: str) -> Certificate:
    """A certificate that may sign others, signed by itself."""
    made = Certificate(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    openssl(*_new(made, name), "-x509", "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    return made


def make_certificate(folder: Path, name: str, authority: Certificate) -> Certificate:
    """One of the authority's, for 127.0.0.1 and for clients."""
    made = Certificate(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    wanted = folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    openssl(*_new(Certificate(str(wanted), made.key), name))
    openssl(
        "x509", "-req", "-in", str(wanted), "-CA", authority.cert, "-CAkey", authority.key, "-CAcreateserial",
        "-days", "2", "-extfile", str(extensions), "-out", made.cert,
    )  # fmt: skip
    return made


def _new(made: Certificate, name: str) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return ("req", *curve, "-keyout", made.key, "-out", made.cert, "-subj", f"/CN={name}")
