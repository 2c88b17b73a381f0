# SPDX-License-Identifier: Apache-2.0
"""An image in HTTP headers: what is encoded, what is left out, and that it always says so."""

from typing import Any

import pytest
from tests.conftest import Client
from tests.raw import RawAnswer, ask

PROPERTY = b"x-image-meta-property-"


def shown(client: Client, **fields: Any) -> RawAnswer:
    return ask(client, "GET", f"/images/{client.add(**fields)['id']}")


def property_headers(answer: RawAnswer) -> dict[bytes, bytes]:
    return {name.removeprefix(PROPERTY): value for name, value in answer.headers if name.startswith(PROPERTY)}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a\r\nset-cookie: b", b"a%0D%0Aset-cookie%3A%20b"),
        ("line\n", b"line%0A"),
        ("\ttab", b"%09tab"),
        ("a\x7fb", b"a%7Fb"),
        (" before", b"%20before"),
        ("after ", b"after%20"),
        ("\u00a0", b"%C2%A0"),
        ("\u2028", b"%E2%80%A8"),
        (" ä", b"%20%C3%A4"),
    ],
)
def test_what_a_header_cannot_carry_is_encoded_and_listed(sqlite_client: Client, value: str, sent: bytes) -> None:
    answer = shown(sqlite_client, name=value, properties={"p": value})

    assert answer.header(b"x-image-meta-name") == sent
    assert answer.header(PROPERTY + b"p") == sent
    assert answer.header(b"x-image-meta-encoded") == b"x-image-meta-name " + PROPERTY + b"p"


@pytest.mark.parametrize("value", ["plain", "in  between", "ä", "ไทย", "\U0001f40b", "50% off", "a%20b", "=?", ""])
def test_anything_else_is_sent_as_it_is_in_utf_8(sqlite_client: Client, value: str) -> None:
    answer = shown(sqlite_client, name=value, properties={"p": value})

    assert answer.header(b"x-image-meta-name") == value.encode()
    assert answer.header(PROPERTY + b"p") == value.encode()
    assert answer.header(b"x-image-meta-encoded") is None


@pytest.mark.parametrize("field", ["name", "properties", "location", "owner"])
def test_a_nul_never_gets_as_far_as_a_header(client: Client, field: str) -> None:
    value = {"p": "a\0"} if field == "properties" else "a\0"

    answer = client.post("/images", {"image": {"disk_format": "raw", "container_format": "bare", field: value}})

    assert answer.status_code == 400
    assert "NUL" in answer.text


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Kernel_ID", b"kernel_id"),
        ("a b", b"a%20b"),
        ("a:b", b"a%3ab"),
        ("100%", b"100%25"),
        ("ä", b"%c3%a4"),
        ("Ä", b"%c3%a4"),
        ("a\r\nb", b"a%0d%0ab"),
        ("a/b=(c)", b"a%2fb%3d%28c%29"),
        ("!#$&'*+.^_`|~-", b"!#$&'*+.^_`|~-"),
    ],
)
def test_a_property_s_name_is_in_lower_case_and_has_only_what_a_header_s_may_have(
    sqlite_client: Client, name: str, sent: bytes
) -> None:
    assert property_headers(shown(sqlite_client, properties={name: "1"})) == {sent: b"1"}


def test_of_names_that_differ_only_in_case_the_first_is_sent_and_the_others_are_counted(sqlite_client: Client) -> None:
    answer = shown(sqlite_client, properties={"Arch": "1", "arch": "2", "ARCH": "3", "os": "4"})

    assert property_headers(answer) == {b"arch": b"1", b"os": b"4"}
    assert answer.header(b"x-image-meta-properties-omitted") == b"2"


def test_eighty_properties_are_sent_and_of_eighty_one_none(sqlite_client: Client) -> None:
    eighty = {f"p{number}": "x" for number in range(80)}

    most = shown(sqlite_client, properties=eighty)
    too_many = shown(sqlite_client, properties={**eighty, "one more": "x"})

    assert len(property_headers(most)) == 80
    assert most.header(b"x-image-meta-properties-omitted") is None
    assert property_headers(too_many) == {}
    assert too_many.header(b"x-image-meta-properties-omitted") == b"81"
    assert b'"one more":"x"' in too_many.body


@pytest.mark.parametrize(("length", "omitted"), [(31_000, None), (33_000, b"1"), (65_000, b"1")])
def test_beyond_32_kib_of_headers_the_properties_are_left_out(
    sqlite_client: Client, length: int, omitted: bytes | None
) -> None:
    answer = shown(sqlite_client, properties={"p": "x" * length})

    assert answer.header(b"x-image-meta-properties-omitted") == omitted
    assert (property_headers(answer) == {}) == (omitted is not None)
    assert b"x" * length in answer.body


def test_a_value_that_grows_by_encoding_counts_as_long_as_it_is_sent(sqlite_client: Client) -> None:
    answer = shown(sqlite_client, properties={"p": "\n" * 12_000})

    assert answer.header(b"x-image-meta-properties-omitted") == b"1"
    assert answer.header(b"x-image-meta-encoded") is None


@pytest.mark.parametrize("name", ["é" * 200, "plain" * 30])
def test_no_image_has_more_headers_than_python_s_clients_read(sqlite_client: Client, name: str) -> None:
    """100 headers, of 64 KiB in all, with those that the server adds: `server`, `date` and perhaps `connection`."""
    everything = {**dict.fromkeys(("name", "checksum", "owner"), " x"), "location": "file:///x "}
    properties = {f"{name}{number}": "y " for number in range(80)} | {"a": "", "A": ""}

    for count in (10, 40, 70, 78, 82):
        kept = dict(list(properties.items())[-count:])
        headers = shown(sqlite_client, **everything, size=1, virtual_size=1, properties=kept).headers
        assert len(headers) + 3 <= 100, count
        assert max(len(name) + len(value) for name, value in headers) < 65_536
        assert sum(len(name) + len(value) + 4 for name, value in headers) < 65_536
