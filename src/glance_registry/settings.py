# SPDX-License-Identifier: Apache-2.0
"""Every setting: group, name, type, default, help. Read once, then passed as one frozen value.

A class for each group of the configuration file holds the values. The options of oslo.config and the documentation are
made from its fields.

Sources, weakest first: defaults, `--config-file` files, `OS_<GROUP>__<OPTION>` in the environment, flags.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any, TypeVar, get_origin

from msgspec import Struct, convert
from msgspec.structs import replace

from glance_registry.model.contract import CLIENTS, CONTRACTS, LOCATION_SCHEMES, USERS
from glance_registry.model.document import IMAGE_DOCUMENT_BYTES, MAX_IMAGE_DOCUMENT_BYTES
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_INT64, MAX_PROPERTIES, MAX_PROPERTIES_SETTING
from glance_registry.model.locations import ALGORITHMS

LOG_FORMATS = ("auto", "text", "json")
IDENTITY_MODES = ("none", "context", "http_basic", "keystone")
KEYSTONE_SECTION = "keystone_authtoken"
LIMITS_SECTION = "oslo_limit"
DEFAULT = "DEFAULT"
"""The group of options without a group."""

STORE_KINDS = ("file", "s3")
_STORE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_OPTION = "option"
T = TypeVar("T")


class Option(Struct, frozen=True, kw_only=True):
    """What oslo.config and the documentation need of an option, beside its name, type and default.

    `old_names` are the (group, name) pairs under which older files have it.
    """

    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    old_names: tuple[tuple[str, str], ...] = ()


def _option(default: T, help_: str, **more: Any) -> T:
    """A field that is an option of the configuration file."""
    option = Option(help=help_, **more)
    value: T = field(default=default, repr=not option.secret, metadata={_OPTION: option})
    return value


@dataclass(frozen=True, kw_only=True)
class LimitsGroup:
    """`[limits]`: limits of each worker process, project and image."""

    connections: int = _option(
        10_000,
        "Connections at once to each worker process; more wait until others close.",
        minimum=16,
        maximum=1_000_000,
    )
    request_timeout: int = _option(
        30,
        "Seconds in which a request's headers must come, counted from the end of the request before, and again its"
        " body; then the connection is closed.",
        minimum=1,
        maximum=3600,
    )
    images_per_owner: int = _option(
        10_000,
        "Images that one project may own, deleted ones not counted; one that has more keeps them. 0: no limit.",
        minimum=0,
        maximum=10_000_000,
    )
    properties_per_image: int = _option(
        MAX_PROPERTIES,
        "Properties that an image may have; one that has more already keeps them.",
        minimum=1,
        maximum=MAX_PROPERTIES_SETTING,
        old_names=(("DEFAULT", "image_property_quota"),),
    )
    image_size_cap: int = _option(
        1_099_511_627_776,
        "Bytes that an image may have at most.",
        minimum=1,
        maximum=MAX_INT64,
        old_names=(("DEFAULT", "image_size_cap"),),
    )
    bytes_per_owner: int = _option(
        0,
        "Bytes that the images of one project may have together, those that are being uploaded too. 0: no limit.",
        minimum=0,
        maximum=MAX_INT64,
    )
    uploads_per_owner: int = _option(
        16, "Uploads that one project may have under way. 0: no limit.", minimum=0, maximum=1_000_000
    )
    upload_expiry: int = _option(
        86_400,
        "Seconds after its last byte that an upload which can go on after a break is kept; then its image is queued"
        " again.",
        minimum=60,
        maximum=31_536_000,
    )
    use_keystone_limits: bool = _option(
        False,
        "Ask Keystone for the limits of projects (unified limits, section oslo_limit): image_count_total,"
        " image_size_total and image_count_uploading count instead of images_per_owner, bytes_per_owner and"
        " uploads_per_owner.",
        old_names=(("DEFAULT", "use_keystone_limits"),),
    )
    image_document_bytes: int = _option(
        IMAGE_DOCUMENT_BYTES,
        "Bytes of an image's name, properties, tags and locations, as JSON; a larger image that is there already"
        " stays readable and may not grow.",
        minimum=1024,
        maximum=MAX_IMAGE_DOCUMENT_BYTES,
    )


@dataclass(frozen=True, kw_only=True)
class StoresGroup:
    """`[stores]`: where the bytes of images lie."""

    enabled: tuple[str, ...] = _option(
        ("local:file",),
        "The stores, each as NAME:KIND. The kind is file, a folder, or s3, a bucket; options of the section [NAME] say"
        " which.",
        old_names=(("DEFAULT", "enabled_backends"),),
    )
    default_backend: str = _option(
        "",
        "The store that takes what is uploaded without the name of a store; empty: the first one of enabled.",
        old_names=(("glance_store", "default_backend"),),
    )
    directory: str = _option(
        "glance-registry-images",
        "Folder in which each store of kind file has a folder of its own, unless [NAME] filesystem_store_datadir names"
        " another one.",
    )
    reserve_free: int = _option(
        256,
        "MiB that uploads leave free on the disk of a store of kind file.",
        minimum=0,
        maximum=1_000_000_000,
    )


@dataclass(frozen=True, kw_only=True)
class StoreSection:
    """`[NAME]`: one store."""

    store_description: str = _option("", "What users are told of the store, in /v2/info/stores.")
    weight: int = _option(
        0,
        "Bytes that are in several stores are read from the one with the highest weight.",
        minimum=-1_000_000,
        maximum=1_000_000,
    )
    filesystem_store_datadir: str = _option(
        "", "For kind file: the folder; empty: a folder in [stores] directory that has the store's name."
    )
    s3_store_host: str = _option(
        "", "For kind s3: where the object store is, as in https://s3.example.com:9000; without https:// it is that."
    )
    s3_store_access_key: str = _option("", "For kind s3: the access key.", secret=True)
    s3_store_secret_key: str = _option("", "For kind s3: the secret key.", secret=True)
    s3_store_bucket: str = _option("", "For kind s3: the bucket.")
    s3_store_create_bucket_on_put: bool = _option(False, "For kind s3: make the bucket if it is not there.")
    s3_store_bucket_url_format: str = _option(
        "auto",
        "For kind s3: where URLs have the bucket. path: after the host; virtual: before it; auto: as the host needs.",
        choices=("auto", "path", "virtual"),
    )
    s3_store_region_name: str = _option("", "For kind s3: the region; empty: us-east-1, which most stores take.")
    s3_store_cacert: str = _option(
        "", "For kind s3: certificates of authorities that the store's certificate may come from, in PEM form."
    )
    s3_store_object_prefix: str = _option(
        "", "For kind s3: what the keys of objects begin with, as in images/; so a bucket can be shared."
    )
    s3_store_large_object_chunk_size: int = _option(
        8,
        "For kind s3: MiB of a part of an upload at least; each upload takes so much memory, up to three times.",
        minimum=5,
        maximum=512,
    )


@dataclass(frozen=True, kw_only=True)
class ImagesGroup:
    """`[images]`: the Images API."""

    show_image_direct_url: bool = _option(
        False,
        "Show everyone who sees an image in the Images API the URL of its bytes, as direct_url.",
        old_names=(("DEFAULT", "show_image_direct_url"),),
    )
    show_multiple_locations: bool = _option(
        False,
        "Show everyone who sees an image in the Images API all its locations, and let its owner change them by PATCH.",
        old_names=(("DEFAULT", "show_multiple_locations"),),
    )
    schema_file: str = _option(
        "",
        "JSON file with schemas of properties of your own, as older releases have in schema-image.json: they are"
        " part of the schema that clients of the Images API are given and that their bodies are checked against.",
    )
    hash: str = _option(
        "sha512", "Algorithm of os_hash_value, which is computed of every upload beside MD5.", choices=ALGORITHMS
    )
    require_image_format_match: bool = _option(
        True,
        "Refuse an upload whose bytes are not of the image's disk_format. What is not safe is always refused.",
        old_names=(("image_format", "require_image_format_match"),),
    )
    location_schemes: tuple[str, ...] = _option(
        tuple(sorted(LOCATION_SCHEMES)),
        "What the URL of a location may begin with, in both APIs. In the Images API users may name http and https"
        " alone; the others are for writers and API servers.",
    )


@dataclass(frozen=True, kw_only=True)
class ApiGroup:
    """`[api]`: which dialects are served."""

    registry: bool = _option(True, "Serve the Registry API: /images and /shared-images.")
    images: bool = _option(True, "Serve the Images API: /, /versions and /v2.")
    pages: bool = _option(True, "Serve the pages for people: /ui.", old_names=(("ui", "enabled"),))


@dataclass(frozen=True, kw_only=True)
class MetricsGroup:
    """`[metrics]`: who may read the metrics."""

    allowed_addresses: tuple[str, ...] = _option(
        ("127.0.0.0/8", "::1/128"), "Addresses or networks that may ask for /metrics; name your monitoring server here."
    )


@dataclass(frozen=True, kw_only=True)
class DatabaseGroup:
    """`[database]`: the database."""

    connection: str = _option(
        "sqlite:///glance-registry.sqlite",
        "Database URL: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; of a cluster name every"
        " HOST:PORT, with commas between.",
        secret=True,
        old_names=(("DEFAULT", "sql_connection"),),
    )
    replica_connection: str = _option(
        "",
        "URL of a standby, or several, of a PostgreSQL connection: reads go there while it shows all that was"
        " acknowledged, else to the primary.",
        secret=True,
    )
    read_timeout: int = _option(
        10,
        "Seconds that one read of the database may take, with the wait for its turn; then it is stopped and"
        " answered 503.",
        minimum=1,
        maximum=3600,
    )


@dataclass(frozen=True, kw_only=True)
class RegistryGroup:
    """`[registry]`: the Registry API and its contract."""

    contract: str = _option(
        "cactus",
        "What clients may write: cactus, the document of 2011, or queens, what API servers of 2012-2019 need.",
        choices=tuple(CONTRACTS),
    )
    clients: str = _option(
        USERS,
        "Who calls the Registry API. users: locations, checksum and size are written by writers and shown to"
        " writers and admins. api_servers: API servers call in their users' names, so owners write them and"
        " everyone who sees an image sees its locations; nobody else may reach the port then.",
        choices=CLIENTS,
    )
    writer_role: tuple[str, ...] = _option(
        ("admin", "service"), "Roles that may change every image; others change their own project's."
    )


@dataclass(frozen=True, kw_only=True)
class IdentityGroup:
    """`[identity]`: who callers are."""

    mode: str = _option(
        "none",
        "Who callers are. none: everyone who reaches the port is an admin; context: trust the identity headers of"
        " the servers at trusted_addresses; http_basic: names and passwords from htpasswd_file; keystone: tokens"
        " of the Keystone in section keystone_authtoken.",
        choices=IDENTITY_MODES,
    )
    insecure_no_auth: bool = _option(
        False, "Listen on another address than loopback although the identity mode is none."
    )
    trusted_addresses: tuple[str, ...] = _option(
        ("127.0.0.0/8", "::1/128"), "Addresses or networks whose identity headers are believed in mode context."
    )
    anonymous: bool = _option(
        True,
        "For mode context: callers without an identity read public images; false: they are answered 401.",
        old_names=(("DEFAULT", "allow_anonymous_access"),),
    )
    service_roles: tuple[str, ...] = _option(
        ("service",),
        "For modes keystone and context: roles of services, such as Nova and Cinder, that send a user's request"
        " with a service token of their own; they may name locations in stores, and list locations.",
        old_names=((KEYSTONE_SECTION, "service_token_roles"),),
    )
    htpasswd_file: str = _option(
        "", "For mode http_basic: names and passwords, hashed with argon2 or bcrypt, as `user add` writes them."
    )
    users_file: str = _option("", "For mode http_basic: one section for each user, with its project and roles.")
    token_cache_time: int = _option(
        60,
        "For mode keystone: seconds for which a token that was good is not checked again; a revoked one works"
        " that long.",
        minimum=0,
        maximum=3600,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values. As in oslo.config, options of `[DEFAULT]` are attributes and every other group is one."""

    bind_host: str = _option("127.0.0.1", "Address to listen on.")
    bind_port: int = _option(9191, "TCP port to listen on.", minimum=1, maximum=65535)
    allowed_hosts: tuple[str, ...] = _option(
        (),
        "Names and addresses, without ports, that a request's Host header may have, beside loopback's and the one"
        " in public_endpoint; others are refused with 421. Empty: any, but loopback's alone when the mode is none and"
        " bind_host is loopback.",
    )
    cert_file: str = _option(
        "", "Certificate for TLS, in PEM form, the authorities in between after it; empty: no TLS."
    )
    key_file: str = _option("", "The certificate's key, in PEM form and not encrypted.")
    ca_file: str = _option(
        "",
        "With TLS, certificates of the authorities that callers' own certificates must come from; empty: callers"
        " need none.",
    )
    workers: int = _option(1, "Worker processes; each may use one core.", minimum=1, maximum=128)
    limit_param_default: int = _option(
        25, "Images on a page when the caller gives no limit.", minimum=1, maximum=10_000
    )
    api_limit_max: int = _option(
        1000, "Images on a page at most; a larger limit is cut to this.", minimum=1, maximum=10_000
    )
    max_request_body_size: int = _option(
        1_048_576, "Bytes of a request's body at most.", minimum=1024, maximum=1_073_741_824
    )
    log_format: str = _option(
        "auto", "Form of log lines: text, json, or auto: text on a terminal, json otherwise.", choices=LOG_FORMATS
    )
    public_endpoint: str = _option(
        "",
        "Where clients of the Images API reach us, as in https://images.example.com; empty: links follow the"
        " Host and X-Forwarded-Proto headers of each request.",
    )
    limits: LimitsGroup = field(default_factory=LimitsGroup)
    images: ImagesGroup = field(default_factory=ImagesGroup)
    stores: StoresGroup = field(default_factory=StoresGroup)
    api: ApiGroup = field(default_factory=ApiGroup)
    metrics: MetricsGroup = field(default_factory=MetricsGroup)
    database: DatabaseGroup = field(default_factory=DatabaseGroup)
    registry: RegistryGroup = field(default_factory=RegistryGroup)
    identity: IdentityGroup = field(default_factory=IdentityGroup)
    store_sections: Mapping[str, StoreSection] = field(default_factory=dict)
    """No options of fixed names: the sections of enabled stores that say something, by name."""
    config_files: tuple[str, ...] = ()
    """No option: the files that were read. keystonemiddleware and oslo.limit read their own sections in them."""


class Setting(Struct, frozen=True, kw_only=True):
    """One option in its group."""

    group: str
    name: str
    kind: type
    default: Any
    option: Option

    @property
    def attribute(self) -> str:
        """As in Python: `bind_port`, `database.connection`."""
        return self.name if self.group == DEFAULT else f"{self.group}.{self.name}"

    def value(self, settings: Settings) -> Any:
        if self in SETTINGS:
            return attrgetter(self.attribute)(settings)
        return getattr(settings.store_sections.get(self.group, StoreSection()), self.name)


def _settings(group: str, struct: type[Any]) -> Iterator[Setting]:
    for found in fields(struct):
        kind: Any = found.type
        if isinstance(kind, type) and is_dataclass(kind):
            yield from _settings(found.name, kind)
        elif _OPTION in found.metadata:
            option = found.metadata[_OPTION]
            kind = get_origin(kind) or kind
            yield Setting(group=group, name=found.name, kind=kind, default=found.default, option=option)


SETTINGS = tuple(_settings(DEFAULT, Settings))
"""Every option, those of `[DEFAULT]` first."""

STORE_SETTINGS = tuple(_settings("NAME", StoreSection))
"""Every option of the section of a store; the group is the store's name."""

_WITHOUT_EFFECT = ("s3_store_large_object_size", "s3_store_thread_pools")
"""Options of older files for a store that change nothing here; nobody is warned of them."""

_GROUPS = {setting.group for setting in SETTINGS} | {KEYSTONE_SECTION, "glance_store", LIMITS_SECTION}


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
        config.register_opt(_oslo_option(cfg, setting), group=_group(setting))
    try:
        config(args=[], project="glance-registry", default_config_files=list(files), default_config_dirs=[])
        for setting in SETTINGS:
            if flags and flags.get(setting.attribute) is not None:
                config.set_override(setting.name, flags[setting.attribute], group=_group(setting))
        values = _values(config)
        sections = _store_sections(cfg, config, values["stores"]["enabled"])
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
        # Their text would tell the letters after the dollar, which may be part of a password.
        raise Invalid("The settings cannot be used: in a value '$' names an option; write '$$' for a dollar.") from None
    except (cfg.Error, ValueError, OSError) as error:
        raise Invalid(f"The settings cannot be used: {str(error).strip()}") from None
    shown = (*SETTINGS, *store_settings(values["stores"]["enabled"]))
    sources = {setting.attribute: _source(config, setting) for setting in shown}
    settings = convert({**values, "store_sections": sections, "config_files": tuple(files)}, Settings)
    return Loaded(settings, sources, _unknown_options(cfg, files, settings))


def store_kinds(enabled: Sequence[str]) -> dict[str, str]:
    """The kind of each store, by name, in the order of the setting. Raises Invalid."""
    kinds: dict[str, str] = {}
    for one in enabled:
        name, _, kind = one.strip().partition(":")
        if not _STORE_NAME.fullmatch(name) or kind not in STORE_KINDS:
            raise Invalid(f"[stores] enabled: '{one}' must be NAME:KIND, with a kind of: {', '.join(STORE_KINDS)}.")
        if name in kinds or name in _GROUPS:
            raise Invalid(f"[stores] enabled: the name '{name}' is taken.")
        kinds[name] = kind
    if not kinds:
        raise Invalid("[stores] enabled must name a store, such as local:file.")
    return kinds


def store_settings(enabled: Sequence[str]) -> list[Setting]:
    """The settings of the stores' sections, each with the store's name as its group."""
    return [replace(setting, group=name) for name in store_kinds(enabled) for setting in STORE_SETTINGS]


def _store_sections(cfg: Any, config: Any, enabled: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the sections of stores say, without those that say nothing."""
    sections: dict[str, dict[str, Any]] = {}
    for setting in store_settings(enabled):
        config.register_opt(_oslo_option(cfg, setting), group=setting.group)
        value = _value(config, setting)
        if value != setting.default:
            sections.setdefault(setting.group, {})[setting.name] = value
    return sections


def _group(setting: Setting) -> str | None:
    return None if setting.group == DEFAULT else setting.group


def _oslo_option(cfg: Any, setting: Setting) -> Any:
    option = setting.option
    common = {
        "default": setting.default,
        "help": option.help,
        "secret": option.secret,
        "deprecated_opts": [cfg.DeprecatedOpt(name, group=group) for group, name in option.old_names],
    }
    if setting.kind is int:
        return cfg.IntOpt(setting.name, min=option.minimum, max=option.maximum, **common)
    if setting.kind is tuple:
        return cfg.ListOpt(setting.name, **{**common, "default": list(setting.default)})
    if setting.kind is bool:
        return cfg.BoolOpt(setting.name, **common)
    return cfg.StrOpt(setting.name, choices=list(option.choices) or None, **common)


def _values(config: Any) -> dict[str, Any]:
    """The values as Settings has them: options of `[DEFAULT]`, and a dictionary for each other group."""
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        group = values if setting.group == DEFAULT else values.setdefault(setting.group, {})
        group[setting.name] = _value(config, setting)
    return values


def _value(config: Any, setting: Setting) -> Any:
    group = _group(setting)
    value = config[setting.name] if group is None else config[group][setting.name]
    if value is None:
        raise ValueError(f"[{setting.group}] {setting.name} is empty.")
    return tuple(value) if setting.kind is tuple else value


def _source(config: Any, setting: Setting) -> str:
    found = config.get_location(setting.name, group=_group(setting))
    source = found.location.name
    if source == "set_override":
        return "flag"
    if source == "environment":
        return f"environment {found.detail}"
    return f"file {found.detail}" if source == "user" else "default"


def _unknown_options(cfg: Any, files: Sequence[str], settings: Settings) -> list[str]:
    known = {(setting.group, setting.name) for setting in SETTINGS}
    for name in store_kinds(settings.stores.enabled):
        known |= {(name, option) for option in (*(setting.name for setting in STORE_SETTINGS), *_WITHOUT_EFFECT)}
    known |= {old for setting in SETTINGS for old in setting.option.old_names}
    unknown = []
    elsewhere = {KEYSTONE_SECTION} if settings.identity.mode == "keystone" else set()
    elsewhere |= {LIMITS_SECTION} if settings.limits.use_keystone_limits else set()
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
    """A setting's value, as it may be shown: in a secret one, asterisks replace the password."""
    if not setting.option.secret:
        return value
    if setting.group != "database":
        return "***" if value else ""
    # A password may hold any character, also those that should have been encoded: it ends at the last "@" of them.
    named = re.sub(r"(?i)(?<=[?&]password=)[^&]*", "***", str(value))
    return re.sub(r"(?<=://)([^:@]*):.*@", r"\1:***@", named)
