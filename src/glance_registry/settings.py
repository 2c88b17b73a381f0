# SPDX-License-Identifier: Apache-2.0
"""Every setting: group, name, default, one line of help. Read once, then passed as one frozen value.

Sources, weakest first: defaults, `--config-file` files, `OS_<GROUP>__<OPTION>` in the environment, flags.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from glance_registry.model.contract import CLIENTS, CONTRACTS, LOCATION_SCHEMES, USERS
from glance_registry.model.document import IMAGE_DOCUMENT_BYTES, MAX_IMAGE_DOCUMENT_BYTES
from glance_registry.model.errors import Invalid
from glance_registry.model.image import LARGEST_MAX_PROPERTIES, MAX_PROPERTIES

LOG_FORMATS = ("auto", "text", "json")
IDENTITY_MODES = ("none", "context", "http_basic", "keystone")
KEYSTONE_SECTION = "keystone_authtoken"


class Settings(Struct, frozen=True, kw_only=True):
    """The settings' values; a field's default is the setting's."""

    host: str = "127.0.0.1"
    port: int = 9191
    allowed_hosts: tuple[str, ...] = ()
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    workers: int = 1
    default_page: int = 25
    largest_page: int = 1000
    largest_body: int = 1_048_576
    most_connections: int = 10_000
    request_timeout: int = 30
    most_images: int = 10_000
    most_properties: int = MAX_PROPERTIES
    image_document_bytes: int = IMAGE_DOCUMENT_BYTES
    log_format: str = "auto"
    database: str = "sqlite:///glance-registry.sqlite"
    replica: str = ""
    read_timeout: int = 10
    contract: str = "cactus"
    clients: str = USERS
    location_schemes: tuple[str, ...] = tuple(sorted(LOCATION_SCHEMES))
    registry_api: bool = True
    images_api: bool = True
    writer_roles: tuple[str, ...] = ("admin", "service")
    identity_mode: str = "none"
    insecure_no_auth: bool = False
    trusted_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    anonymous: bool = True
    service_roles: tuple[str, ...] = ("service",)
    htpasswd_file: str = ""
    users_file: str = ""
    token_cache_time: int = 60
    public_endpoint: str = ""
    show_direct_url: bool = False
    show_locations: bool = False
    schema_file: str = ""
    pages: bool = True
    allowed_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    config_files: tuple[str, ...] = ()
    """Not in the table: the files that were read. keystonemiddleware reads its own section in them."""


class Setting(Struct, frozen=True, kw_only=True):
    """One row of the table. `old_names` are the (group, name) pairs under which older files have it."""

    attribute: str
    group: str
    name: str
    kind: type = str
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    old_names: tuple[tuple[str, str], ...] = ()


SETTINGS = (
    Setting(
        attribute="host", group="DEFAULT", name="bind_host",
        help="Address to listen on.",
    ),
    Setting(
        attribute="port", group="DEFAULT", name="bind_port", kind=int, minimum=1, maximum=65535,
        help="TCP port to listen on.",
    ),
    Setting(
        attribute="allowed_hosts", group="DEFAULT", name="allowed_hosts", kind=tuple,
        help="Names and addresses, without ports, that a request's Host header may have, beside loopback's and the one"
        " in public_endpoint; others are refused with 421. Empty: any, but loopback's alone when the mode is none and"
        " bind_host is loopback.",
    ),
    Setting(
        attribute="cert_file", group="DEFAULT", name="cert_file",
        help="Certificate for TLS, in PEM form, the authorities in between after it; empty: no TLS.",
    ),
    Setting(
        attribute="key_file", group="DEFAULT", name="key_file",
        help="The certificate's key, in PEM form and not encrypted.",
    ),
    Setting(
        attribute="ca_file", group="DEFAULT", name="ca_file",
        help="With TLS, certificates of the authorities that callers' own certificates must come from; empty: callers"
        " need none.",
    ),
    Setting(
        attribute="workers", group="DEFAULT", name="workers", kind=int, minimum=1, maximum=128,
        help="Worker processes; each may use one core.",
    ),
    Setting(
        attribute="default_page", group="DEFAULT", name="limit_param_default", kind=int, minimum=1,
        maximum=10_000, help="Images on a page when the caller gives no limit.",
    ),
    Setting(
        attribute="largest_page", group="DEFAULT", name="api_limit_max", kind=int, minimum=1,
        maximum=10_000, help="Images on a page at most; a larger limit is cut to this.",
    ),
    Setting(
        attribute="largest_body", group="DEFAULT", name="max_request_body_size", kind=int,
        minimum=1024, maximum=1_073_741_824, help="Bytes of a request's body at most.",
    ),
    Setting(
        attribute="most_connections", group="limits", name="connections", kind=int, minimum=16, maximum=1_000_000,
        help="Connections at once to each worker process; more wait until others close.",
    ),
    Setting(
        attribute="request_timeout", group="limits", name="request_timeout", kind=int, minimum=1, maximum=3600,
        help="Seconds in which a request's headers must come, counted from the end of the request before, and again its"
        " body; then the connection is closed.",
    ),
    Setting(
        attribute="most_images", group="limits", name="images_per_owner", kind=int, minimum=0, maximum=10_000_000,
        help="Images that one project may own, deleted ones not counted; one that has more keeps them. 0: no limit.",
    ),
    Setting(
        attribute="most_properties", group="limits", name="properties_per_image", kind=int, minimum=1,
        maximum=LARGEST_MAX_PROPERTIES, old_names=(("DEFAULT", "image_property_quota"),),
        help="Properties that an image may have; one that has more already keeps them.",
    ),
    Setting(
        attribute="image_document_bytes", group="limits", name="image_document_bytes", kind=int, minimum=1024,
        maximum=MAX_IMAGE_DOCUMENT_BYTES,
        help="Bytes of an image's name, properties, tags and locations, as JSON; a larger image that is there already"
        " stays readable and may not grow.",
    ),
    Setting(
        attribute="log_format", group="DEFAULT", name="log_format", choices=LOG_FORMATS,
        help="Form of log lines: text, json, or auto: text on a terminal, json otherwise.",
    ),
    Setting(
        attribute="public_endpoint", group="DEFAULT", name="public_endpoint",
        help="Where clients of the Images API reach us, as in https://images.example.com; empty: links follow the"
        " Host and X-Forwarded-Proto headers of each request.",
    ),
    Setting(
        attribute="show_direct_url", group="images", name="show_image_direct_url", kind=bool,
        old_names=(("DEFAULT", "show_image_direct_url"),),
        help="Show whoever sees an image in the Images API where its bytes lie, as direct_url.",
    ),
    Setting(
        attribute="show_locations", group="images", name="show_multiple_locations", kind=bool,
        old_names=(("DEFAULT", "show_multiple_locations"),),
        help="Show whoever sees an image in the Images API all its locations, and let its owner change them by PATCH.",
    ),
    Setting(
        attribute="schema_file", group="images", name="schema_file",
        help="JSON file with schemas of properties of your own, as older releases have in schema-image.json: they are"
        " part of the schema that clients of the Images API are given and that their bodies are checked against.",
    ),
    Setting(
        attribute="location_schemes", group="images", name="location_schemes", kind=tuple,
        help="What the URL of a location may begin with, in both APIs. In the Images API users may name http and https"
        " alone; the others are for writers and API servers.",
    ),
    Setting(
        attribute="registry_api", group="api", name="registry", kind=bool,
        help="Serve the Registry API: /images and /shared-images.",
    ),
    Setting(
        attribute="images_api", group="api", name="images", kind=bool,
        help="Serve the Images API: /, /versions and /v2.",
    ),
    Setting(
        attribute="pages", group="api", name="pages", kind=bool, old_names=(("ui", "enabled"),),
        help="Serve the pages for people: /ui.",
    ),
    Setting(
        attribute="allowed_addresses", group="metrics", name="allowed_addresses", kind=tuple,
        help="Addresses or networks that may ask for /metrics; name your monitoring server here.",
    ),
    Setting(
        attribute="database", group="database", name="connection",
        secret=True, old_names=(("DEFAULT", "sql_connection"),),
        help="Database URL: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; of a cluster name every"
        " HOST:PORT, with commas between.",
    ),
    Setting(
        attribute="replica", group="database", name="replica_connection", secret=True,
        help="URL of a standby, or several, of a PostgreSQL connection: reads go there while it shows all that was"
        " acknowledged, else to the primary.",
    ),
    Setting(
        attribute="read_timeout", group="database", name="read_timeout", kind=int, minimum=1, maximum=3600,
        help="Seconds that one read of the database may take, with the wait for its turn; then it is stopped and"
        " answered 503.",
    ),
    Setting(
        attribute="contract", group="registry", name="contract", choices=tuple(CONTRACTS),
        help="What clients may write: cactus, the document of 2011, or queens, what API servers of 2012-2019 need.",
    ),
    Setting(
        attribute="clients", group="registry", name="clients", choices=CLIENTS,
        help="Who calls the Registry API. users: locations, checksum and size are written by writers and shown to"
        " writers and admins. api_servers: API servers call in their users' names, so owners write them and whoever"
        " sees an image sees its locations; nobody else may reach the port then.",
    ),
    Setting(
        attribute="writer_roles", group="registry", name="writer_role", kind=tuple,
        help="Roles that may change every image; others change their own project's.",
    ),
    Setting(
        attribute="identity_mode", group="identity", name="mode", choices=IDENTITY_MODES,
        help="Who callers are. none: whoever reaches the port is an admin; context: trust the identity headers of"
        " the servers at trusted_addresses; http_basic: names and passwords from htpasswd_file; keystone: tokens"
        " of the Keystone in section keystone_authtoken.",
    ),
    Setting(
        attribute="insecure_no_auth", group="identity", name="insecure_no_auth", kind=bool,
        help="Listen on another address than loopback although the identity mode is none.",
    ),
    Setting(
        attribute="trusted_addresses", group="identity", name="trusted_addresses", kind=tuple,
        help="Addresses or networks whose identity headers are believed in mode context.",
    ),
    Setting(
        attribute="anonymous", group="identity", name="anonymous", kind=bool,
        old_names=(("DEFAULT", "allow_anonymous_access"),),
        help="For mode context: callers without an identity read public images; false: they are answered 401.",
    ),
    Setting(
        attribute="service_roles", group="identity", name="service_roles", kind=tuple,
        old_names=((KEYSTONE_SECTION, "service_token_roles"),),
        help="For modes keystone and context: roles of services, such as Nova and Cinder, that send a user's request"
        " with a service token of their own; they may name locations in stores, and list locations.",
    ),
    Setting(
        attribute="htpasswd_file", group="identity", name="htpasswd_file",
        help="For mode http_basic: names and passwords, hashed with argon2 or bcrypt, as `user add` writes them.",
    ),
    Setting(
        attribute="users_file", group="identity", name="users_file",
        help="For mode http_basic: one section for each user, with its project and roles.",
    ),
    Setting(
        attribute="token_cache_time", group="identity", name="token_cache_time", kind=int, minimum=0, maximum=3600,
        help="For mode keystone: seconds for which a token that was good is not checked again; a revoked one works"
        " that long.",
    ),
)  # fmt: skip


_DEFAULTS = Settings()


class Loaded(Struct, frozen=True):
    """The settings, where each one came from, and the options in files that we do not have."""

    settings: Settings
    sources: Mapping[str, str]
    unknown: Sequence[str]


def load(files: Sequence[str] = (), flags: Mapping[str, Any] | None = None) -> Loaded:
    """Read the settings from files, the environment and flags (values by attribute; None is not given).

    Raises Invalid for a file that cannot be read or a value that its setting does not allow.
    """
    # oslo.config is read once, here: no other process or module needs it loaded.
    from oslo_config import cfg

    config = cfg.ConfigOpts()
    for setting in SETTINGS:
        config.register_opt(_option(cfg, setting), group=None if setting.group == "DEFAULT" else setting.group)
    try:
        config(args=[], project="glance-registry", default_config_files=list(files), default_config_dirs=[])
        for setting in SETTINGS:
            if flags and flags.get(setting.attribute) is not None:
                config.set_override(setting.name, flags[setting.attribute], group=_group(setting))
        values = {setting.attribute: _value(config, setting) for setting in SETTINGS}
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
        # Their text would tell the letters after the dollar, which may be part of a password.
        raise Invalid("The settings cannot be used: in a value '$' names an option; write '$$' for a dollar.") from None
    except (cfg.Error, ValueError, OSError) as error:
        raise Invalid(f"The settings cannot be used: {str(error).strip()}") from None
    sources = {setting.attribute: _source(config, setting) for setting in SETTINGS}
    settings = Settings(**values, config_files=tuple(files))
    return Loaded(settings, sources, _unknown_options(cfg, files, settings.identity_mode))


def _group(setting: Setting) -> str | None:
    return None if setting.group == "DEFAULT" else setting.group


def _option(cfg: Any, setting: Setting) -> Any:
    old = [cfg.DeprecatedOpt(name, group=group) for group, name in setting.old_names]
    common = {
        "default": getattr(_DEFAULTS, setting.attribute),
        "help": setting.help,
        "secret": setting.secret,
        "deprecated_opts": old,
    }
    if setting.kind is int:
        return cfg.IntOpt(setting.name, min=setting.minimum, max=setting.maximum, **common)
    if setting.kind is tuple:
        return cfg.ListOpt(setting.name, **{**common, "default": list(common["default"])})
    if setting.kind is bool:
        return cfg.BoolOpt(setting.name, **common)
    return cfg.StrOpt(setting.name, choices=list(setting.choices) or None, **common)


def _value(config: Any, setting: Setting) -> Any:
    group = _group(setting)
    value = config[setting.name] if group is None else config[group][setting.name]
    if value is None:
        raise ValueError(f"[{setting.group}] {setting.name} is empty.")
    return tuple(value) if setting.kind is tuple else value


def _source(config: Any, setting: Setting) -> str:
    found = config.get_location(setting.name, group=_group(setting))
    where = found.location.name
    if where == "set_override":
        return "flag"
    if where == "environment":
        return f"environment {found.detail}"
    return f"file {found.detail}" if where == "user" else "default"


def _unknown_options(cfg: Any, files: Sequence[str], identity_mode: str) -> list[str]:
    known = {(setting.group, setting.name) for setting in SETTINGS}
    known |= {old for setting in SETTINGS for old in setting.old_names}
    unknown = []
    elsewhere = {KEYSTONE_SECTION} if identity_mode == "keystone" else set()
    for file in files:
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(file, sections).parse()
        # Keystone's options may stand in a section of their own, which `auth_section` names.
        elsewhere |= {name for group in elsewhere for name in sections.get(group, {}).get("auth_section", ())}
        unknown += [
            f"[{group}] {name}"
            for group, names in sections.items()
            for name in names
            if (group, name) not in known and group not in elsewhere
        ]
    return unknown


def masked(setting: Setting, value: Any) -> Any:
    """A setting's value fit for eyes: of a secret one, the password is replaced by asterisks."""
    if not setting.secret:
        return value
    # A password may hold any character, also those that should have been encoded: it ends at the last "@" of them.
    named = re.sub(r"(?i)(?<=[?&]password=)[^&]*", "***", str(value))
    return re.sub(r"(?<=://)([^:@]*):.*@", r"\1:***@", named)
