# SPDX-License-Identifier: Apache-2.0
"""Bytes to and from a browser: the link, the form, and what the form sends."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.ui.browser import look, page_of
from tests.api.v2.test_v2_file import create, show
from tests.api.v2.test_v2_file import upload as put
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api.ui.files import MAX_NAME, attachment
from glance_registry.api.ui.multipart import MAX_HEAD_BYTES, boundary_of, read_file
from glance_registry.model.errors import Invalid

BOUNDARY = "----WebKitFormBoundaryePkpFF7tjBAqx29L"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
HEAD = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="noble.img"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()


def post(client: Any, image_id: str, body: Any, content_type: str = TYPE, **headers: str) -> httpx.Response:
    given = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer: httpx.Response = client.request("POST", f"/ui/images/{image_id}/upload", content=body, headers=given)
    return answer


@pytest.fixture
def context(sqlite_database: str) -> Iterator[Client]:
    client = Client(make_settings(sqlite_database, identity__mode="context"))
    yield client
    client.close()


def test_a_queued_image_has_a_form_that_needs_no_script(client: Client) -> None:
    image_id = create(client)

    page = look(client, f"/ui/images/{image_id}")

    (form,) = [given for tag, given in page.tags if tag == "form"]
    assert form == {
        "method": "post",
        "action": f"/ui/images/{image_id}/upload",
        "enctype": "multipart/form-data",
    }
    assert ("input", {"type": "file", "name": "file", "required": None}) in page.tags
    assert "Download" not in page.links


def test_what_the_form_sends_makes_the_image_active(client: Client) -> None:
    image_id = create(client)
    data = (
        b"--" + BOUNDARY.encode() + b"\r\n\r\n" + bytes(range(256)) * 10_000
    )  # The delimiter has a line break before.

    answer = post(client, image_id, HEAD + data + END)

    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/images/{image_id}")
    image = show(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("active", len(data), hashlib.md5(data).hexdigest())
    page = look(client, f"/ui/images/{image_id}")
    assert page.links["Download"] == f"/ui/images/{image_id}/download"
    for part in ("active", "verified: they were hashed while they came", "Stores local", image["os_hash_value"]):
        assert part in page.text
    assert "Upload" not in page.text
    assert client.get(f"/ui/images/{image_id}/download").content == data


@given(
    data=st.binary(max_size=200) | st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"\r"])).map(b"".join),
    step=st.integers(1, 90),
)
def test_any_file_in_any_pieces_comes_out_as_it_was(data: bytes, step: int) -> None:
    if END[:-4] in b"\r\n" + data:
        return  # Browsers choose a boundary that the file does not have.
    whole = HEAD + data + END

    assert read([whole[start : start + step] for start in range(0, len(whole), step)]) == data


def read(parts: list[bytes]) -> bytes:
    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def conversation() -> bytes:
        return b"".join([chunk async for chunk in read_file(body(), boundary_of(TYPE))])

    return asyncio.run(conversation())


def test_no_more_is_kept_of_a_file_than_could_be_a_delimiter() -> None:
    given: list[int] = []
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(100):
            given.append(1_000)
            yield b"x" * 1_000
        yield END

    async def conversation() -> None:
        nonlocal taken
        async for chunk in read_file(body(), boundary_of(TYPE)):
            taken += len(chunk)
            assert sum(given) - taken < len(END)

    asyncio.run(conversation())
    assert taken == 100_000


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "ended before its file did"),
        (HEAD + b"data", "ended before its file did"),
        (HEAD.replace(b"noble.img", b"") + END, "Choose a file first"),
        (HEAD.replace(b'; filename="noble.img"', b"") + b"text" + END, "first part is not a file"),
        (b"preamble\r\n" + HEAD + END, "first part is not a file"),
        (HEAD + b"one" + END[:-4] + b"\r\n" + HEAD.partition(b"\r\n")[2] + b"two" + END, "more than one file"),
        (b"x" * (MAX_HEAD_BYTES + 1), f"first {MAX_HEAD_BYTES} bytes"),
        (HEAD + END + b"y" * (MAX_HEAD_BYTES + 1), "more than one file"),
    ],
)
def test_a_form_that_is_not_ours_is_refused_on_the_page_and_leaves_nothing(
    client: Client, body: bytes, sentence: str
) -> None:
    image_id = create(client)

    page = page_of(post(client, image_id, body), 400)

    assert sentence in page.text
    assert show(client, image_id)["status"] == "queued"
    client.sweep()
    assert not [path for path in client.stores.rglob("*") if path.is_file()]


def test_a_content_type_without_a_boundary_or_of_another_kind_is_refused(client: Client) -> None:
    image_id = create(client)

    assert "no boundary" in page_of(post(client, image_id, HEAD + END, "multipart/form-data"), 400).text
    assert post(client, image_id, HEAD + END, "application/x-www-form-urlencoded").status_code == 415
    with pytest.raises(Invalid):
        boundary_of("multipart/form-data; boundary=" + "b" * 71)


@pytest.mark.parametrize("boundary", [f'"{BOUNDARY}"', f"{BOUNDARY}; charset=utf-8"])
def test_a_boundary_may_be_quoted(boundary: str) -> None:
    assert boundary_of(f"Multipart/Form-Data; boundary={boundary}") == BOUNDARY.encode()


def test_bytes_of_another_format_are_refused_on_the_page(client: Client) -> None:
    image_id = create(client, disk_format="qcow2")

    page = page_of(post(client, image_id, HEAD + b"text" * 1_000 + END), 415)

    assert "disk_format is qcow2" in page.text
    assert any(tag == "input" and given.get("type") == "file" for tag, given in page.tags)


def test_an_image_that_is_active_takes_no_more_bytes(client: Client) -> None:
    image_id = create(client)
    put(client, image_id)

    assert "status is 'active'" in page_of(post(client, image_id, HEAD + b"new" + END), 409).text


def test_an_image_without_a_format_says_what_it_needs(client: Client) -> None:
    image_id = client.register(disk_format=None)["id"]

    page = look(client, f"/ui/images/{image_id}")

    assert "needs a disk format" in page.text
    assert not any(tag == "form" for tag, _ in page.tags)


def test_only_those_who_may_change_an_image_upload_to_it(context: Client) -> None:
    anna, ben = context.caller("anna", "member"), context.caller("ben", "member")
    image_id = create(context.caller("ops", "admin"), visibility="public", owner="anna")

    assert "Upload" in look(anna, f"/ui/images/{image_id}").text
    assert "Upload" not in look(ben, f"/ui/images/{image_id}").text
    assert post(ben, image_id, HEAD + b"data" + END).status_code == 403
    assert post(anna, image_id, HEAD + b"data" + END).status_code == 303
    assert "Download" in look(ben, f"/ui/images/{image_id}").links


def test_a_page_of_another_site_uploads_nothing(client: Client) -> None:
    image_id = create(client)

    assert post(client, image_id, HEAD + b"data" + END, sec_fetch_site="cross-site").status_code == 403
    assert show(client, image_id)["status"] == "queued"


def test_a_deactivated_image_is_downloaded_by_an_admin_only(context: Client) -> None:
    admin, anna = context.caller("ops", "admin"), context.caller("anna", "member")
    image_id = create(admin, visibility="public")
    put(admin, image_id)
    admin.post(f"/v2/images/{image_id}/actions/deactivate")

    assert "Download" in look(admin, f"/ui/images/{image_id}").links
    assert "Download" not in look(anna, f"/ui/images/{image_id}").links
    assert anna.get(f"/ui/images/{image_id}/download").status_code == 403


def test_an_image_without_bytes_is_not_downloaded(client: Client) -> None:
    assert page_of(client.get(f"/ui/images/{create(client)}/download"), 404).text.count("no bytes yet") == 1


@pytest.mark.parametrize(
    ("name", "plain", "exact"),
    [
        ("noble", "noble.raw", "noble.raw"),
        ("noble.raw", "noble.raw", "noble.raw"),
        ("Zürich 24", "Z_rich 24.raw", "Z%C3%BCrich%2024.raw"),
        ("../../etc/passwd", "_.._etc_passwd.raw", "_.._etc_passwd.raw"),
        ('a"; x="b', "a_; x=_b.raw", "a_%3B%20x%3D_b.raw"),
        ("e\u202egnp", "e_u202egnp.raw", "e_u202egnp.raw"),
        ("n" * 255, "n" * MAX_NAME + ".raw", "n" * MAX_NAME + ".raw"),
    ],
)
def test_the_file_is_called_as_the_image_is(client: Client, name: str, plain: str, exact: str) -> None:
    image_id = create(client, name=name)
    put(client, image_id)

    answer = client.get(f"/ui/images/{image_id}/download")

    assert answer.headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_image_without_a_name_is_called_by_its_id(client: Client) -> None:
    image_id = create(client, name="..")
    put(client, image_id)

    assert f'"{image_id}.raw"' in client.get(f"/ui/images/{image_id}/download").headers["content-disposition"]


@given(st.text())
def test_no_name_breaks_out_of_the_header(name: str) -> None:
    if name.isprintable():
        header = attachment(name.replace('"', "_"))
        assert header.count(b'"') == 2
        assert b"\r" not in header
        assert header.isascii()
