# SPDX-License-Identifier: Apache-2.0
"""The two contracts as tables of examples (registry protocol, sections 1 and 2)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from glance_registry.model.contract import CACTUS, CONTRACTS, MAX_PROPERTIES, QUEENS, Contract
from glance_registry.model.errors import Invalid
from glance_registry.model.image import Image

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
UUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
BOTH = (CACTUS, QUEENS)
EACH = pytest.mark.parametrize("contract", BOTH, ids=lambda contract: contract.name)


def image(**fields: Any) -> Image:
    given = {"disk_format": "raw", "container_format": "bare", **fields}
    return Image(id="one", created_at=NOON, updated_at=NOON, **given)


def refusal(contract: Contract, **fields: Any) -> str | None:
    """The sentence with which the contract refuses such an image; None when it allows it."""
    try:
        contract.check(image(**fields))
    except Invalid as refused:
        return str(refused)
    return None


# fields | what the document of 2011 says, None: allowed | what the API servers of 2018 were told
RULES: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({}, None, None),
    *(({"status": status}, None, None) for status in ("active", "saving", "queued", "killed")),
    *(
        ({"status": status}, f"Invalid image status '{status}' for image.", None)
        for status in ("pending_delete", "deleted", "deactivated", "importing", "uploading")
    ),
    ({"status": ""}, "Image status is required.", "Image status is required."),
    ({"status": None}, "Image status is required.", "Image status is required."),
    ({"status": "Active"}, "Invalid image status 'Active' for image.", "Invalid image status 'Active' for image."),
    ({"status": "ok"}, "Invalid image status 'ok' for image.", "Invalid image status 'ok' for image."),
    *(({"disk_format": disk}, None, None) for disk in ("raw", "vhd", "vdi", "qcow2", "vmdk")),
    ({"container_format": "ovf"}, None, None),
    ({"disk_format": "iso"}, "Invalid disk format 'iso' for image.", None),
    ({"disk_format": "RAW"}, "Invalid disk format 'RAW' for image.", None),
    ({"disk_format": ""}, "Image disk format is required.", None),
    ({"disk_format": None}, "Image disk format is required.", None),
    ({"container_format": "docker"}, "Invalid container format 'docker' for image.", None),
    ({"container_format": ""}, "Image container format is required.", None),
    ({"container_format": None}, "Image container format is required.", None),
    ({"container_format": "raw"}, "Invalid container format 'raw' for image.", None),
    ({"disk_format": "bare"}, "Invalid disk format 'bare' for image.", None),
    *(({"disk_format": kind, "container_format": kind}, None, None) for kind in ("ari", "aki", "ami")),
    ({"disk_format": "ami"}, "Invalid mix of disk and container formats.", None),
    ({"container_format": "aki"}, "Invalid mix of disk and container formats.", None),
    ({"disk_format": "ari", "container_format": "ami"}, "Invalid mix of disk and container formats.", None),
    ({"disk_format": None, "container_format": None}, "Image disk format is required.", None),
    ({"status": "", "disk_format": "iso"}, "Image status is required.", "Image status is required."),
]


@pytest.mark.parametrize(("fields", "in_2011", "in_2018"), RULES, ids=lambda value: str(value)[:50])
def test_each_contract_allows_and_refuses_what_its_time_did(
    fields: dict[str, Any], in_2011: str | None, in_2018: str | None
) -> None:
    for contract, sentence in ((CACTUS, in_2011), (QUEENS, in_2018)):
        found = refusal(contract, **fields)
        assert (found is None) == (sentence is None), (contract.name, found)
        assert (found or "").startswith(sentence or "")


@EACH
def test_a_refusal_names_the_field_and_cuts_a_long_value(contract: Contract) -> None:
    sentence = refusal(contract, status="x" * 5000) or ""

    assert "'status'" in sentence
    assert len(sentence) < 300


@EACH
@pytest.mark.parametrize("field", ["disk_format", "container_format"])
def test_a_format_fits_its_column(contract: Contract, field: str) -> None:
    sentence = refusal(contract, **{field: "x" * 21})

    assert sentence is not None
    assert field.replace("_", " ") in sentence or field in sentence


@EACH
def test_an_image_has_at_most_so_many_properties(contract: Contract) -> None:
    most = {f"p{number}": "" for number in range(MAX_PROPERTIES)}

    assert refusal(contract, properties=most) is None
    assert "properties" in (refusal(contract, properties={**most, "one": ""}) or "")


UNSAFE = ["", "x" * 37, "a/b", "a b", "a?b", "a#b", "a%b", "ä", "a\n", "\na", "a\0", ".", "..", "detail"]
NO_ID = [None, True, False, 1.5, [], {}, b"a"]
# given | kept in 2011 | kept in 2018; None: refused
IDS: list[tuple[Any, str | None, str | None]] = [
    ("a", "a", None),
    ("A-z.0_9~", "A-z.0_9~", None),
    ("...", "...", None),
    ("details", "details", None),
    ("Detail", "Detail", None),
    ("x" * 36, "x" * 36, None),
    (0, "0", None),
    (17, "17", None),
    (-1, "-1", None),
    (10**35, "1" + "0" * 35, None),
    (10**36, None, None),
    (UUID, UUID, UUID),
    (UUID.upper(), UUID.upper(), UUID.upper()),
    (UUID.replace("-", ""), UUID.replace("-", ""), UUID.replace("-", "")),
    (UUID[:-1], UUID[:-1], None),
    (UUID[:-1] + "g", UUID[:-1] + "g", None),
    (f"{{{UUID}}}", None, None),
    (UUID + "\n", None, None),
    *((unsafe, None, None) for unsafe in [*UNSAFE, *NO_ID]),
]


@pytest.mark.parametrize(("given", "in_2011", "in_2018"), IDS, ids=lambda value: ascii(value)[:40])
def test_each_contract_takes_its_own_ids(given: Any, in_2011: str | None, in_2018: str | None) -> None:
    for contract, kept in ((CACTUS, in_2011), (QUEENS, in_2018)):
        if kept is None:
            with pytest.raises(Invalid, match="id"):
                contract.image_id(given)
        else:
            assert contract.image_id(given) == kept


def test_the_later_contract_refuses_an_id_in_the_words_of_its_time() -> None:
    with pytest.raises(Invalid, match=r"^Invalid image id format$"):
        QUEENS.image_id("a")


def test_the_later_contract_is_wider() -> None:
    assert CACTUS.statuses < QUEENS.statuses
    assert QUEENS.unlisted_statuses == {"killed"}
    assert QUEENS.admin_sees_deleted
    assert not CACTUS.admin_sees_deleted


def test_a_contract_is_found_by_its_name() -> None:
    assert CONTRACTS == {"cactus": CACTUS, "queens": QUEENS}
