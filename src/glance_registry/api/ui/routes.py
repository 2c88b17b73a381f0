# SPDX-License-Identifier: Apache-2.0
"""The pages for people as a dialect. The API's description has none of them."""

from glance_registry.api.dialect import Access, Dialect, route
from glance_registry.api.ui import files, pages, render, session
from glance_registry.api.ui.errors import error_page
from glance_registry.api.ui.render import PATH
from glance_registry.api.v2.offer import prepare_offer
from glance_registry.api.v2.routes import PATH_PARTS

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE
IMAGE, SIGN_IN = PATH + "/images/{image_id}", PATH + "/sign-in"
HTML = "text/html"

ROUTES = (
    route("GET", PATH, pages.list_images, READ, HTML),
    route("GET", PATH + "/", pages.show_start, OPEN, HTML, status=303),
    route("GET", IMAGE, pages.show_image, READ, HTML),
    route("GET", IMAGE + "/edit", pages.show_form, WRITE, HTML),
    route("POST", IMAGE + "/edit", pages.update_image, WRITE, HTML, status=303),
    route("GET", IMAGE + "/download", files.download_file, READ, "application/octet-stream"),
    route("POST", IMAGE + "/upload", files.upload_file, WRITE, HTML, status=303, takes_bytes=True),
    route("GET", SIGN_IN, session.show_sign_in, OPEN, HTML),
    route("POST", SIGN_IN, session.sign_in, OPEN, HTML, status=303),
    route("POST", PATH + "/sign-out", session.sign_out, OPEN, HTML, status=303),
    route("GET", PATH + "/style.css", render.show_file, OPEN, "text/css"),
    route("GET", PATH + "/icon.svg", render.show_file, OPEN, "image/svg+xml"),
)

DIALECT = Dialect(
    name="ui",
    prefix=PATH,
    routes=ROUTES,
    path_parts=PATH_PARTS,
    render_error=error_page,
    described=False,
    prepare=prepare_offer,
)
