# SPDX-License-Identifier: Apache-2.0
"""Mode keystone: a token in X-Auth-Token, which OpenStack's Keystone says is good.

keystonemiddleware asks; this module decides off the event loop, remembers for a while and knows what the answer means.
A service token (X-Service-Token) says that a service such as Nova sends the request for its user: it must be good,
too, and then the user's token may have expired meanwhile, as Keystone allows it. A token that is bound to a Kerberos
ticket is refused: the ticket cannot be seen here.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.api.failures import IDENTITY
from glance_registry.api.identity import Identify
from glance_registry.api.identity.header import COOKIE, sole_header
from glance_registry.api.identity.slow_check import Passed, SlowChecks
from glance_registry.api.request import Request
from glance_registry.catalogue.outages import Outages
from glance_registry.model.access import Caller, identified
from glance_registry.model.errors import Forbidden, IdentityUnavailable, Invalid, Unauthorized

log = logging.getLogger(__name__)

SECTION = "keystone_authtoken"
THREADS = 8
CONNECT_SECONDS = 10
"""keystonemiddleware itself would wait for ever, and with it a thread."""
CONNECT_RETRIES = 1
SERVICE_TYPE = "image"
"""What this program is in Keystone's catalogue; the access rules of application credentials name it."""

# Visible ASCII; Keystone's own kinds of token are far shorter than 8 KiB.
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_URI = re.compile(r"[\x21\x23-\x7e]*")


class Token(Struct, frozen=True, kw_only=True):
    """What a good token says. `rules` is what limits it to some requests, for keystonemiddleware to read."""

    caller: Caller
    rules: Mapping[str, Any] | None = None


def check_tokens(
    config_files: Sequence[str],
    remembered_seconds: float,
    writer_roles: Iterable[str],
    service_roles: Iterable[str],
    outages: Outages,
    clock: Callable[[], float] = time.monotonic,
) -> Identify:
    """Believe Keystone. Raises Invalid when keystonemiddleware or one of its settings is missing or wrong."""
    keystone = Keystone(config_files, frozenset(role.lower() for role in writer_roles), outages)
    checks = SlowChecks[Token](remembered_seconds, THREADS, clock)
    return _Callers(keystone, checks, frozenset(role.lower() for role in service_roles)).identify


class _Callers:
    """Finds the caller of a request by its tokens, which are checked or remembered."""

    def __init__(self, keystone: "Keystone", checks: SlowChecks[Token], service_roles: frozenset[str]) -> None:
        self._keystone = keystone
        self._checks = checks
        self._service_roles = service_roles

    async def identify(self, request: Request) -> Caller:
        given = sole_header(request, "x-auth-token") or request.cookies.get(COOKIE)
        if not given:
            raise self._keystone.refusal("This registry asks for a Keystone token in X-Auth-Token.")
        service = await self._is_vouched_for(request)
        token = await self._check(given, may_be_expired=service)
        if token.rules is not None:
            self._keystone.check_rules(token.rules, request, service=service)
        return replace(token.caller, service=True) if service else token.caller

    async def _is_vouched_for(self, request: Request) -> bool:
        """Raises Unauthorized for a service token that is not good, or has none of the roles."""
        given = sole_header(request, "x-service-token")
        if not given:
            return False
        try:
            token = await self._check(given)
        except Unauthorized:
            raise self._keystone.refusal("The service token is not valid, or no longer.") from None
        if token.rules is not None:
            self._keystone.check_rules(token.rules, request)
        if token.caller.roles & self._service_roles:
            return True
        if self._keystone.requires_role:
            raise self._keystone.refusal("The service token has no role of a service.")
        return False

    async def _check(self, given: str, *, may_be_expired: bool = False) -> Token:
        if not _TOKEN.fullmatch(given):
            raise self._keystone.refusal()
        # What is remembered of an expired token must not let it in where no service vouches for it.
        version = b"may be expired" if may_be_expired else b""
        check = partial(self._keystone.check, given, may_be_expired)
        return await self._checks.run(given.encode(), check, version=version)


class Keystone:
    """The Keystone of the settings. Connects when the first token comes, never before: a worker is forked first."""

    def __init__(self, config_files: Sequence[str], writer_roles: frozenset[str], outages: Outages) -> None:
        try:
            from keystoneauth1 import access
            from keystonemiddleware import auth_token
        except ImportError:
            raise Invalid(
                "The identity mode keystone needs keystonemiddleware: pip install 'glance-registry[keystone]'."
            ) from None
        # They log each bad token's refusal, with Keystone's words about it; what matters is logged here.
        logging.getLogger("keystonemiddleware").setLevel(logging.CRITICAL + 1)
        logging.getLogger("keystoneauth").setLevel(logging.ERROR)
        self._writer_roles = writer_roles
        self._outages = outages
        self._create_token = access.create
        self._invalid_token = auth_token.InvalidToken
        self._protocol, www_authenticate_uri = _load(auth_token, config_files)
        if not _URI.fullmatch(www_authenticate_uri):
            raise Invalid(f"[{SECTION}] www_authenticate_uri cannot stand in a header.")
        self.challenge = f'Keystone uri="{www_authenticate_uri}"'

    @property
    def requires_role(self) -> bool:
        """Whether a service token without the role of a service is refused; else it counts for nothing."""
        return bool(self._protocol._conf.get("service_token_roles_required"))

    def refusal(self, sentence: str = "The token is not valid, or no longer.") -> Unauthorized:
        return Unauthorized(sentence, self.challenge)

    def check(self, given: str, may_be_expired: bool = False) -> Passed[Token]:
        """Ask Keystone; blocks. Raises Unauthorized, or IdentityUnavailable when there is no answer to rely on.

        For how long a token may have expired is Keystone's own setting.
        """
        since = self._outages.clock()
        try:
            answer = self._protocol.fetch_token(given, allow_expired=may_be_expired)
            self._outages.worked(IDENTITY, since)
            token = self._create_token(body=answer, auth_token=given)
            return self._read(token, answer["token"], may_be_expired)
        except (self._invalid_token, Unauthorized):
            raise self.refusal() from None
        except Exception as error:
            # Whatever it is: this token was not found to be good.
            cause = error.__context__ or error
            cause.add_note(f"{type(cause).__name__}: {cause}")  # It names the URL, which the causes behind it do not.
            raise IdentityUnavailable("Keystone does not answer now; try again later.") from cause

    def _read(self, token: Any, parts: Mapping[str, Any], may_be_expired: bool) -> Passed[Token]:
        seconds = math.inf if may_be_expired else (token.expires - datetime.now(UTC)).total_seconds()
        if seconds <= 0 or token.bind:
            raise self.refusal()
        # Roles on a domain or on the system are not roles on a project: they do not make an admin of all images.
        project = token.project_id
        roles = frozenset(role.lower() for role in token.role_names) if project else frozenset[str]()
        credential = parts.get("application_credential") or {}
        rules = None
        if credential.get("access_rules") is not None:
            rules = {"application_credential": credential, "catalog": parts.get("catalog", [])}
        caller = identified(token.user_id, project, roles, self._writer_roles)
        return Passed(Token(caller=caller, rules=rules), seconds)

    def check_rules(self, rules: Mapping[str, Any], request: Request, *, service: bool = False) -> None:
        """Raise Forbidden unless the application credential behind the token is for requests like this one, or a
        service sends it: the rules are about what the user asked of the service."""
        try:
            self._protocol.validate_allowed_request(_Asked(request.method, request.scope["path"], service), rules)
        except self._invalid_token:
            raise Forbidden("The access rules of this application credential do not allow this request.") from None


class _Asked(Struct, frozen=True):
    """What keystonemiddleware wants to know of a request."""

    method: str
    path: str
    service_token: bool
    """Whether there is a good one."""


class _NothingKept:
    """In place of keystonemiddleware's own cache, which would keep tokens as they are, or in another program."""

    def get(self, token: str) -> None:
        """Nothing."""

    def set(self, token: str, answer: Any) -> None:
        """Nothing."""


def _load(auth_token: Any, config_files: Sequence[str]) -> tuple[Any, str]:
    """keystonemiddleware with its section of our files and of the environment, and where callers get tokens."""
    from keystoneauth1.exceptions import ClientException
    from keystoneauth1.loading import register_auth_conf_options
    from keystonemiddleware.exceptions import KeystoneMiddlewareException
    from oslo_config import cfg

    # An object of its own: what is global in oslo.config stays as it was.
    config = cfg.ConfigOpts()
    try:
        config(args=[], project="glance-registry", default_config_files=list(config_files), default_config_dirs=[])
        for group, options in auth_token.list_opts():
            config.register_opts(options, group=group)
        config.set_default("http_connect_timeout", CONNECT_SECONDS, group=SECTION)
        config.set_default("http_request_max_retries", CONNECT_RETRIES, group=SECTION)
        config.set_default("service_type", SERVICE_TYPE, group=SECTION)
        register_auth_conf_options(config, SECTION)
        section = config[SECTION]
        login = section.auth_section or SECTION
        if not config[login].auth_type:
            raise Invalid(f"The identity mode keystone needs auth_type in section [{login}].")
        ours = {"delay_auth_decision": False, "include_service_catalog": True, "memcache_security_strategy": "None"}
        protocol = auth_token.AuthProtocol(None, {**ours, "oslo_config_config": config})
        auth_url = config[login].get("auth_url")
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
        # Their text would tell the letters after the dollar, which may be part of a password.
        raise Invalid(f"[{SECTION}]: a value cannot be read; '$' names an option, '$$' is a dollar.") from None
    except (cfg.Error, ValueError, ClientException, KeystoneMiddlewareException) as error:
        raise Invalid(f"[{SECTION}] cannot be used: {str(error).strip()}") from None
    protocol._token_cache = _NothingKept()
    if section.insecure:
        log.warning("Keystone's certificate is not verified: [keystone_authtoken] insecure is set")
    return protocol, section.www_authenticate_uri or auth_url or ""
