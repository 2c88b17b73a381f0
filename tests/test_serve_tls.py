# SPDX-License-Identifier: Apache-2.0
"""TLS: the program shows its certificate, asks for its callers' when told to, and starts with nothing that is amiss."""

import shutil
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glance_registry.cli.tls import options
from glance_registry.model.errors import Invalid
from tests.certificates import Certificate, make_authority, make_certificate, openssl
from tests.options import make_settings
from tests.processes import SECONDS, Server, free_port, receive_all, run_program

pytestmark = pytest.mark.external


class TlsServer(Server):
    """A server that is asked with what `known` knows."""

    def __init__(self, folder: Path, known: ssl.SSLContext, *arguments: str) -> None:
        self.known = known
        super().__init__(folder, f"sqlite:///{free_port()}.sqlite", *arguments)

    def is_listening(self) -> bool:
        try:
            return ask(self, self.known).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Certificate:
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def own(folder: Path, authority: Certificate) -> Certificate:
    return make_certificate(folder, "own", authority)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Certificate:
    """A certificate of another authority, which nobody here trusts."""
    return make_certificate(folder, "stranger", make_authority(folder, "elsewhere"))


@pytest.fixture(scope="module")
def server(folder: Path, own: Certificate, authority: Certificate) -> Iterator[Server]:
    with TlsServer(folder, caller(authority), "--tls-cert", own.cert, "--tls-key", own.key) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(folder: Path, own: Certificate, authority: Certificate) -> Iterator[Server]:
    files = ("--tls-cert", own.cert, "--tls-key", own.key, "--tls-client-ca", authority.cert)
    with TlsServer(folder, caller(authority, own), *files) as server:
        yield server


def caller(authority: Certificate, shown: Certificate | None = None) -> ssl.SSLContext:
    """What a client knows: whom it trusts, and the certificate that it shows."""
    context = ssl.create_default_context(cafile=authority.cert)
    if shown:
        context.load_cert_chain(shown.cert, shown.key)
    return context


def ask(server: Server, context: ssl.SSLContext, method: str = "GET", body: object = None) -> httpx.Response:
    with httpx.Client(verify=context, timeout=SECONDS) as http:
        return http.request(method, f"https://127.0.0.1:{server.port}/images", json=body)


BODY = {"image": {"disk_format": "raw", "container_format": "bare", "is_public": True}}


def test_it_speaks_tls_with_its_certificate(server: Server, authority: Certificate) -> None:
    context = caller(authority)

    made = ask(server, context, "POST", BODY).json()["image"]

    assert [image["id"] for image in ask(server, context).json()["images"]] == [made["id"]]
    assert f"https://127.0.0.1:{server.port}" in server.output


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_it_speaks_both_versions_that_are_safe(server: Server, authority: Certificate, version: ssl.TLSVersion) -> None:
    context = caller(authority)
    context.minimum_version = context.maximum_version = version

    assert ask(server, context).status_code == 200


def test_it_speaks_no_older_version(server: Server, authority: Certificate) -> None:
    context = caller(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(httpx.ConnectError):
        ask(server, context)


def test_its_links_are_https(server: Server, authority: Certificate) -> None:
    with httpx.Client(verify=caller(authority), timeout=SECONDS) as http:
        found = http.get(f"https://127.0.0.1:{server.port}/versions").json()

    assert {link["href"].partition("://")[0] for version in found["versions"] for link in version["links"]} == {"https"}


def test_who_speaks_no_tls_is_told_nothing(server: Server, authority: Certificate) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /images HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        try:
            answer = receive_all(connection)
        except ConnectionResetError:
            answer = b""

    assert not answer.startswith(b"HTTP/")
    assert ask(server, caller(authority)).status_code == 200


def test_with_an_authority_it_answers_callers_with_a_certificate_of_it(
    mutual: Server, authority: Certificate, own: Certificate
) -> None:
    assert ask(mutual, caller(authority, own), "POST", BODY).status_code == 200


@pytest.mark.parametrize("shown", [None, "stranger"])
def test_with_an_authority_it_answers_nobody_else(
    mutual: Server, authority: Certificate, own: Certificate, stranger: Certificate, shown: str | None
) -> None:
    known = caller(authority, own)
    before = ask(mutual, known).json()

    with pytest.raises(httpx.TransportError):
        ask(mutual, caller(authority, stranger if shown else None), "POST", BODY)

    assert ask(mutual, known).json() == before


def _files(folder: Path, own: Certificate, stranger: Certificate) -> dict[str, str]:
    """Files that cannot be used, and those that can, by the names that the table below has."""
    (folder / "text").write_text("no certificate\n")
    encrypted = folder / "encrypted"
    openssl("ec", "-in", own.key, "-aes128", "-passout", "pass:s3cret", "-out", str(encrypted))
    named = {name: str(folder / name) for name in ("text", "missing", "encrypted")}
    return {**named, "cert": own.cert, "key": own.key, "foreign": stranger.key, "folder": str(folder)}


REFUSALS = [
    ({"cert": "cert"}, "set both [DEFAULT] cert_file and [DEFAULT] key_file"),
    ({"key": "key"}, "set both"),
    ({"ca": "cert"}, "set both"),
    ({"cert": "missing", "key": "key"}, "missing cannot be read: No such file"),
    ({"cert": "cert", "key": "folder"}, "cannot be read: Is a directory"),
    ({"cert": "text", "key": "key"}, "text and"),
    ({"cert": "cert", "key": "text"}, "are not a certificate and its key in PEM form"),
    ({"cert": "cert", "key": "foreign"}, "does not match the certificate"),
    ({"cert": "cert", "key": "encrypted"}, "is encrypted"),
    ({"cert": "cert", "key": "key", "ca": "missing"}, "missing cannot be read"),
    ({"cert": "cert", "key": "key", "ca": "text"}, "text has no certificate"),
    ({"cert": "cert", "key": "key", "ca": "key"}, "has no certificate"),
    ({"cert": "cert", "key": "key", "ca": "cert"}, "has no certificate of an authority"),
]


@pytest.mark.parametrize(("given", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_files_that_do_not_work_are_refused_with_the_reason(
    tmp_path: Path, own: Certificate, stranger: Certificate, given: dict[str, str], words: str
) -> None:
    files = _files(tmp_path, own, stranger)

    with pytest.raises(Invalid) as refusal:
        options(make_settings(**{f"{name}_file": files[file] for name, file in given.items()}))

    assert words in str(refusal.value)


KINDS = {
    "RSA": ("rsa:2048",),
    "P-256": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "P-384": ("ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"),
    "Ed25519": ("ed25519",),
    "P-521": ("ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"),
    "Ed448": ("ed448",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_a_kind_that_the_server_cannot_sign_with_is_refused(tmp_path: Path, kind: str) -> None:
    """Else each worker would end when it starts."""
    cert, key = str(tmp_path / "cert"), str(tmp_path / "key")
    openssl("req", "-x509", "-nodes", "-newkey", *KINDS[kind], "-keyout", key, "-out", cert, "-subj", "/CN=own")
    settings = make_settings(cert_file=cert, key_file=key)

    if kind in ("P-521", "Ed448"):
        with pytest.raises(Invalid, match="has a type that cannot be used"):
            options(settings)
    else:
        assert set(options(settings)) == {"ssl_cert", "ssl_key"}


def test_a_key_in_the_older_form_is_taken(tmp_path: Path) -> None:
    cert, key, older = str(tmp_path / "cert"), str(tmp_path / "key"), str(tmp_path / "older")
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, "-subj", "/CN=own")
    openssl("rsa", "-traditional", "-in", key, "-out", older)

    assert "BEGIN RSA PRIVATE KEY" in Path(older).read_text()
    assert options(make_settings(cert_file=cert, key_file=older))["ssl_key"] == Path(older)


def test_the_program_does_not_start_with_them(tmp_path: Path, own: Certificate, stranger: Certificate) -> None:
    flags = ("--tls-cert", own.cert, "--tls-key", stranger.key)

    ended = run_program(tmp_path, "serve", "--port", str(free_port()), *flags)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "does not match the certificate" in line
    assert list(tmp_path.iterdir()) == []


def test_certificates_come_from_the_file_of_settings_too(
    tmp_path: Path, own: Certificate, authority: Certificate
) -> None:
    """Under the names that glance-registry.conf had for them."""
    files = {"cert_file": own.cert, "key_file": own.key, "ca_file": authority.cert}
    for name, file in files.items():
        shutil.copy(file, tmp_path / name)
    lines = "".join(f"{name} = {name}\n" for name in files)
    (tmp_path / "r.conf").write_text(f"[DEFAULT]\n{lines}")

    with TlsServer(tmp_path, caller(authority, own), "--config-file", "r.conf") as server:
        assert ask(server, server.known).status_code == 200
        assert server.stop() == 0
