# SPDX-License-Identifier: Apache-2.0
"""Requests that are hostile by what they say: locations that nobody may name or read, and names that are not ours."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.conftest import identity
from tests.figures import Figure
from tests.hostile.attackers import Attack, attacked, get
from tests.hostile.conftest import ADMIN, ATTACKER, ENGINE_NAMES, Start
from tests.processes import Server, receive_all

pytestmark = pytest.mark.nightly

SECRET = "s3cret-of-the-store"
LOCATIONS = (
    "file:///etc/shadow",
    "rbd://",
    "rbd://fsid/pool/image/snap",
    "javascript:alert(1)",
    f"http://user:{SECRET}@host/",
)
MAY_NOT = {400, 403}
V2 = "/v2/images"
FIELDS = {"name": "mine", "disk_format": "raw", "container_format": "bare"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


def test_no_project_names_a_location_in_any_dialect(start: Start, engine: str, figure: Figure) -> None:
    server = start(images={"show_multiple_locations": True})
    active = _registered(server, ADMIN, owner=ATTACKER["X-Tenant-Id"], location="https://images.example/1")
    queued = _created(server.http.post(V2, headers=ATTACKER, json=FIELDS))
    before = [_seen_by_admin(server, image_id) for image_id in (active, queued)]

    taken = []
    for url in (*LOCATIONS, "https://images.example/2"):
        for image_id in (active, queued):
            # An owner may say through the Images API on which web server the bytes of a queued image lie.
            also = _namings_of_v2(server, image_id, url) if url in LOCATIONS else []
            for sent, answer in _namings(server, image_id, url) + also:
                if answer.status_code not in MAY_NOT:
                    taken.append(f"{answer.status_code} {sent} {url}")

    what = f"hostile callers, {ENGINE_NAMES[engine]}: locations that a plain project could name"
    figure(what, f"{len(taken)}, as in {taken[0]}" if taken else "none")
    assert not taken
    assert [_seen_by_admin(server, image_id) for image_id in (active, queued)] == before


def _namings(server: Server, image_id: str, url: str) -> list[tuple[str, httpx.Response]]:
    """Every way to name a location through the Registry API, at an image that is there or at a new one."""
    data = [{"url": url, "metadata": {}, "status": "active"}]
    found = []
    for named in ({"location": url}, {"location_data": data}, {"location": url, "location_data": data}):
        claims: dict[str, Any]
        for claims in ({}, {"checksum": "0" * 32, "size": 7, "status": "active"}):
            body = {"image": {**named, **claims}}
            new = {"image": {**FIELDS, "id": str(uuid4()), "is_public": False, **named, **claims}}
            what = "+".join(body["image"])
            found.append((f"PUT /images {what}", server.http.put(f"/images/{image_id}", headers=ATTACKER, json=body)))
            found.append((f"POST /images {what}", server.http.post("/images", headers=ATTACKER, json=new)))
    return found


def _namings_of_v2(server: Server, image_id: str, url: str) -> list[tuple[str, httpx.Response]]:
    """The same through the Images API."""
    entry = {"url": url, "metadata": {}}
    found = []
    for change in (
        {"op": "add", "path": "/locations/-", "value": entry},
        {"op": "add", "path": "/locations/0", "value": entry},
        {"op": "replace", "path": "/locations", "value": [entry]},
    ):
        answer = server.http.patch(
            f"{V2}/{image_id}", headers={**ATTACKER, **PATCH}, content=json.dumps([change]).encode()
        )
        found.append((f"PATCH {change['op']} {change['path']}", answer))
    found.append(("POST …/locations", server.http.post(f"{V2}/{image_id}/locations", headers=ATTACKER, json=entry)))
    found.append(("POST /v2", server.http.post(V2, headers=ATTACKER, json={**FIELDS, "locations": [entry]})))
    return found


def test_only_writers_and_admins_read_credentials(start: Start, engine: str, figure: Figure) -> None:
    server = start()
    url = f"swift+https://user:{SECRET}@store.example/container/1"
    public = _registered(server, ADMIN, is_public=True, location=url)
    shared = _registered(server, ADMIN, is_public=False, owner=ATTACKER["X-Tenant-Id"], location=url)
    writer = identity("services", "service", "glance")

    shown = []
    for image_id in (public, shared):
        for path in (
            *(f"/images/{image_id}", f"{V2}/{image_id}", f"{V2}/{image_id}/locations", f"{V2}/{image_id}/file"),
            *(f"/ui/images/{image_id}", f"/ui/images/{image_id}/edit", f"{V2}?id={image_id}"),
            *("/images/detail?name=secret", "/images?name=secret", "/v2/images?q=secret", "/ui?q=secret"),
        ):
            for who, headers in (("its project", ATTACKER), ("nobody", {})):
                answer = server.http.get(path, headers=headers)
                assert answer.status_code < 500
                if SECRET in answer.text or SECRET in str(answer.headers):
                    shown.append(f"{who} by {path.replace(image_id, 'ID')}")
        for headers in (ADMIN, writer):
            assert SECRET in server.http.get(f"/images/{image_id}", headers=headers).text

    figure(f"hostile callers, {ENGINE_NAMES[engine]}: credentials shown to others", "; ".join(shown) or "none")
    assert not shown


def test_a_name_that_is_not_ours_is_refused(start: Start, engine: str, figure: Figure) -> None:
    """What a page of evil.example sends when its name suddenly means this machine."""
    server = start(identity={"mode": "none"})
    image_id = _registered(server, {}, is_public=True)

    answers = [
        server.http.request(method, path, headers={"Host": host}, json=body)
        for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example", "127.0.0.1.evil.example")
        for method, path, body in (
            ("GET", "/images/detail", None),
            ("GET", f"/v2/images/{image_id}", None),
            ("GET", "/ui", None),
            ("POST", "/images", {"image": {**FIELDS, "is_public": True}}),
            ("DELETE", f"/images/{image_id}", None),
        )
    ]
    lines = [
        _status(server, head)
        for head in (b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: evil.example\r\nHost: localhost\r\n")
    ]
    ours = [
        server.http.get(f"/images/{image_id}", headers={"Host": host}).status_code
        for host in (f"localhost:{server.port}", f"127.0.0.1:{server.port}", f"[::1]:{server.port}", "localhost")
    ]
    with attacked(
        Attack(port=server.port, connections=100, requests=[get("/images", host="evil.example")])
    ) as attackers:
        assert server.http.get(f"/images/{image_id}").status_code == 200

    refused = sum(400 <= answer.status_code < 500 for answer in answers)
    figure(
        f"hostile callers, {ENGINE_NAMES[engine]}: requests for evil.example that were refused",
        f"{refused} of {len(answers)}",
    )
    assert refused == len(answers)
    assert lines == [400, 400, 400]
    assert ours == [200] * len(ours)
    assert all(400 <= status < 500 for status in attackers[0].outcome.answers)
    assert server.http.get(f"/images/{image_id}").status_code == 200


def _status(server: Server, host: bytes) -> int:
    """Of a GET with these lines for a host."""
    with server.connect() as connection:
        connection.sendall(b"GET /images HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
        return int(receive_all(connection)[9:12] or b"0")


def _registered(server: Server, headers: dict[str, str], **fields: Any) -> str:
    """The id of a new image that is named 'secret'."""
    image = {**FIELDS, "name": "secret", "status": "active", "size": 7, "checksum": "1" * 32, **fields}
    return _created(server.http.post("/images", headers=headers, json={"image": image}))


def _created(answer: httpx.Response) -> str:
    assert answer.status_code in {200, 201}, answer.text
    shown = answer.json()
    return str(shown.get("image", shown)["id"])


def _seen_by_admin(server: Server, image_id: str) -> dict[str, Any]:
    return dict(server.http.get(f"/images/{image_id}", headers=ADMIN).json()["image"])
