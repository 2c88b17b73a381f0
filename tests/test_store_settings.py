# SPDX-License-Identifier: Apache-2.0
"""The settings of stores, also in the file of an API server of old."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from glance_registry.app import open_stores
from glance_registry.cli.main import main
from glance_registry.model.errors import Invalid
from glance_registry.settings import load
from glance_registry.stores.base import Store
from glance_registry.stores.file import FileStore
from glance_registry.stores.s3 import S3Store
from glance_registry.stores.s3_settings import BucketSettings, read_section

GLANCE = """
[DEFAULT]
enabled_backends = fast:file, cold:s3
[glance_store]
default_backend = cold
[fast]
filesystem_store_datadir = /var/lib/glance/images
store_description = The quick one
weight = 10
[cold]
s3_store_host = objects.example.com:8080
s3_store_access_key = AKIAEXAMPLE
s3_store_secret_key = s3cret/with+signs=
s3_store_bucket = glance
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
s3_store_region_name = north
s3_store_large_object_size = 100
s3_store_large_object_chunk_size = 10
s3_store_thread_pools = 10
"""
S3 = "[stores]\nenabled = cold:s3\n[cold]\n"
NEEDED = {"host": "https://s3.test", "access_key": "a", "secret_key": "b", "bucket": "c"}


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        file = tmp_path / "registry.conf"
        file.write_text(text)
        return str(file)

    return write


def opened(file: str) -> dict[str, Store]:
    return open_stores(load([file]).settings).by_name


def with_s3(**options: str) -> str:
    return S3 + "".join(f"s3_store_{name} = {value}\n" for name, value in {**NEEDED, **options}.items())


def bucket(file: str) -> BucketSettings:
    return read_section("cold", asdict(load([file]).settings.store_sections["cold"]))


def test_the_stores_of_an_api_server_of_old_are_used_as_they_stand(write_file: Callable[[str], str]) -> None:
    file = write_file(GLANCE)
    loaded = load([file])
    stores = open_stores(loaded.settings)

    assert loaded.unknown == []
    assert {name: type(store) for name, store in stores.by_name.items()} == {"fast": FileStore, "cold": S3Store}
    assert stores.default == "cold"
    assert stores.descriptions == {"fast": "The quick one"}
    assert bucket(file) == BucketSettings(
        endpoint="https://objects.example.com:8080",
        bucket="glance",
        access_key="AKIAEXAMPLE",
        secret_key="s3cret/with+signs=",
        region="north",
        addressing="path",
        create_bucket=True,
        part_bytes=10 * 1_048_576,
    )
    assert stores.by_name["cold"].description == "the bucket glance at https://objects.example.com:8080"


def test_the_first_store_is_the_default_one_and_the_weightiest_is_read_first(
    write_file: Callable[[str], str],
) -> None:
    file = write_file("[stores]\nenabled = one:file, two:file, three:file\n[three]\nweight = 1\n")
    stores = open_stores(load([file]).settings)

    assert stores.default == "one"
    assert list(stores.by_name) == ["three", "one", "two"]


def test_a_default_store_that_is_not_enabled_is_refused(write_file: Callable[[str], str]) -> None:
    with pytest.raises(Invalid, match="There is no store 'other'; there are: local"):
        opened(write_file("[stores]\ndefault_backend = other\n"))


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_bucket_needs_is_said(write_file: Callable[[str], str], name: str) -> None:
    with pytest.raises(Invalid, match=rf"Store 'cold' of kind s3 needs in section \[cold\]: s3_store_{name}\."):
        opened(write_file(with_s3(**{name: ""})))


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("s3.test", "https://s3.test"),
        ("s3.test:9000", "https://s3.test:9000"),
        ("http://s3.test/", "http://s3.test"),
        ("https://[::1]:80/s3", "https://[::1]:80/s3"),
    ],
)
def test_a_host_is_a_url_or_https(write_file: Callable[[str], str], host: str, endpoint: str) -> None:
    assert bucket(write_file(with_s3(host=host))).endpoint == endpoint


@pytest.mark.parametrize(
    "host",
    ["ftp://s3.test", "https://", "https://key:s3cret@s3.test", "s3.test:port", "https://s3.test?a=b", "https://[::1"],
)
def test_a_host_that_is_none_is_refused(write_file: Callable[[str], str], host: str) -> None:
    with pytest.raises(Invalid, match=r"\[cold\] s3_store_host must be like https://") as raised:
        opened(write_file(with_s3(host=host)))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("nonsense", "no certificates in PEM form")])
def test_authorities_that_cannot_be_read_are_refused(
    write_file: Callable[[str], str], tmp_path: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)

    with pytest.raises(Invalid, match=rf"\[cold\] s3_store_cacert: the file .* cannot be used: .*{reason}"):
        opened(write_file(with_s3(cacert=str(tmp_path / "ca.pem"))))


@pytest.mark.parametrize("options", [{"bucket_url_format": "odd"}, {"large_object_chunk_size": "4"}])
def test_values_that_are_not_allowed_are_refused(write_file: Callable[[str], str], options: dict[str, str]) -> None:
    (name,) = options
    with pytest.raises(Invalid, match=f"s3_store_{name}"):
        load([write_file(with_s3(**options))])


@pytest.mark.parametrize("name", ["glance_store", "keystone_authtoken", "limits"])
def test_a_store_has_no_name_of_another_section(write_file: Callable[[str], str], name: str) -> None:
    with pytest.raises(Invalid, match=f"the name '{name}' is taken"):
        load([write_file(f"[stores]\nenabled = {name}:file\n")])


def test_the_command_config_shows_the_stores_without_their_keys(
    write_file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_COLD__S3_STORE_SECRET_KEY", "s3cret-from-outside")
    result = CliRunner().invoke(main, ["config", "--json", "--config-file", write_file(GLANCE)])

    rows = {row["setting"]: (row["value"], row["from"].split()[0]) for row in json.loads(result.output)}
    assert rows["[cold] s3_store_host"] == ("objects.example.com:8080", "file")
    assert rows["[cold] s3_store_access_key"] == ("***", "file")
    assert rows["[cold] s3_store_secret_key"] == ("***", "environment")
    assert rows["[fast] s3_store_secret_key"] == ("", "default")
    assert rows["[fast] weight"] == (10, "file")
    assert "s3cret" not in result.output
    assert "AKIA" not in result.output


def test_keys_are_in_no_text_of_the_settings(write_file: Callable[[str], str]) -> None:
    """A traceback or a log line may have it."""
    file = write_file(GLANCE)
    shown = repr(load([file]).settings) + repr(bucket(file))

    assert "objects.example.com" in shown
    assert "s3cret" not in shown
    assert "AKIA" not in shown
