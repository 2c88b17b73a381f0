# SPDX-License-Identifier: Apache-2.0
"""Mode keystone: a token in X-Auth-Token that OpenStack's Keystone validates.

keystonemiddleware validates tokens, in threads; this module caches the results and makes callers of them. A service
token (X-Service-Token) says that a service such as Nova sends the request for its user. It must be valid, too; then
the user's token may have expired, as long as Keystone allows. A token that is bound to a Kerberos ticket is refused,
because the ticket is not visible here.
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
"""Without it keystonemiddleware would wait for ever and occupy a thread."""
CONNECT_RETRIES = 1
SERVICE_TYPE = "image"
"""The program's type in Keystone's catalogue, which access rules of application credentials name."""

# Visible ASCII; tokens of Keystone are far shorter than 8 KiB.
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_URI = re.compile(r"[\x21\x23-\x7e]*")


class Token(Struct, frozen=True, kw_only=True):
    """The contents of a valid token.

    `rules` limit it to some requests; keystonemiddleware reads them.
    """

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
    """Identify callers by Keystone tokens.

    Raises Invalid if keystonemiddleware or a setting is missing.
    """
    keystone = Keystone(config_files, frozenset(role.lower() for role in writer_roles), outages)
    checks = SlowChecks[Token](remembered_seconds, THREADS, clock)
    return _Callers(keystone, checks, frozenset(role.lower() for role in service_roles)).identify


class _Callers:
    """Finds the caller of a request by its tokens, with cached results."""

    def __init__(self, keystone: "Keystone", checks: SlowChecks[Token], service_roles: frozenset[str]) -> None:
        self._keystone = keystone
        self._checks = checks
        self._service_roles = service_roles

    async def identify(self, request: Request) -> Caller:
        given = sole_header(request, "x-auth-token") or request.cookies.get(COOKIE)
        if not given:
            raise self._keystone.refusal("This registry requires a Keystone token in X-Auth-Token.")
        service = await self._is_sent_for_user(request)
        token = await self._check(given, may_be_expired=service)
        if token.rules is not None:
            self._keystone.check_rules(token.rules, request, service=service)
        return replace(token.caller, service=True) if service else token.caller

    async def _is_sent_for_user(self, request: Request) -> bool:
        """Whether a service sends the request. Raises Unauthorized for an invalid service token."""
        given = sole_header(request, "x-service-token")
        if not given:
            return False
        try:
            token = await self._check(given)
        except Unauthorized:
            raise self._keystone.refusal("The service token is not valid or has expired.") from None
        if token.rules is not None:
            self._keystone.check_rules(token.rules, request)
        if token.caller.roles & self._service_roles:
            return True
        if self._keystone.requires_role:
            raise self._keystone.refusal("The service token does not have a service role.")
        return False

    async def _check(self, given: str, *, may_be_expired: bool = False) -> Token:
        if not _TOKEN.fullmatch(given):
            raise self._keystone.refusal()
        # The cached result of an expired token must not count for a request without a service token.
        version = b"may be expired" if may_be_expired else b""
        check = partial(self._keystone.check, given, may_be_expired)
        return await self._checks.run(given.encode(), check, version=version)


class Keystone:
    """The Keystone of the settings. It connects at the first token, after the worker was forked."""

    def __init__(self, config_files: Sequence[str], writer_roles: frozenset[str], outages: Outages) -> None:
        try:
            from keystoneauth1 import access
            from keystonemiddleware import auth_token
        except ImportError:
            raise Invalid(
                "The identity mode keystone needs keystonemiddleware: pip install 'glance-registry[keystone]'."
            ) from None
        # These libraries log every invalid token; this module logs what an operator needs.
        logging.getLogger("keystonemiddleware").setLevel(logging.CRITICAL + 1)
        logging.getLogger("keystoneauth").setLevel(logging.ERROR)
        self._writer_roles = writer_roles
        self._outages = outages
        self._create_token = access.create
        self._invalid_token = auth_token.InvalidToken
        self._protocol, www_authenticate_uri = _load(auth_token, config_files)
        if not _URI.fullmatch(www_authenticate_uri):
            raise Invalid(f"[{SECTION}] www_authenticate_uri has characters that a header cannot carry.")
        self.challenge = f'Keystone uri="{www_authenticate_uri}"'

    @property
    def requires_role(self) -> bool:
        """Whether a service token without a service role is refused; otherwise it is ignored."""
        return bool(self._protocol._conf.get("service_token_roles_required"))

    def refusal(self, sentence: str = "The token is not valid or has expired.") -> Unauthorized:
        return Unauthorized(sentence, self.challenge)

    def check(self, given: str, may_be_expired: bool = False) -> Passed[Token]:
        """Validate a token with Keystone; blocks.

        Raises Unauthorized, or IdentityUnavailable without a clear answer. A setting of Keystone says for how long a
        token may have expired.
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
            # Any error means that the token was not found valid.
            cause = error.__context__ or error
            cause.add_note(f"{type(cause).__name__}: {cause}")  # It has the URL, which the earlier causes do not have.
            raise IdentityUnavailable("Keystone does not answer now; try again later.") from cause

    def _read(self, token: Any, parts: Mapping[str, Any], may_be_expired: bool) -> Passed[Token]:
        seconds = math.inf if may_be_expired else (token.expires - datetime.now(UTC)).total_seconds()
        if seconds <= 0 or token.bind:
            raise self.refusal()
        # Roles on a domain or on the system are not roles on a project, so they do not count.
        project = token.project_id
        roles = frozenset(role.lower() for role in token.role_names) if project else frozenset[str]()
        credential = parts.get("application_credential") or {}
        rules = None
        if credential.get("access_rules") is not None:
            rules = {"application_credential": credential, "catalog": parts.get("catalog", [])}
        caller = identified(token.user_id, project, roles, self._writer_roles)
        return Passed(Token(caller=caller, rules=rules), seconds)

    def check_rules(self, rules: Mapping[str, Any], request: Request, *, service: bool = False) -> None:
        """Raise Forbidden if the access rules of the application credential exclude this request.

        They do not count when a service sends it: they are about the user's request to that service.
        """
        try:
            facts = _RequestFacts(request.method, request.scope["path"], service)
            self._protocol.validate_allowed_request(facts, rules)
        except self._invalid_token:
            raise Forbidden("The access rules of this application credential do not allow this request.") from None


class _RequestFacts(Struct, frozen=True):
    """The attributes of a request that keystonemiddleware reads."""

    method: str
    path: str
    service_token: bool
    """Whether the request has a valid one."""


class _NoCache:
    """Replaces the cache of keystonemiddleware.

    That one would store tokens in plain text or in another program.
    """

    def get(self, token: str) -> None:
        """Find nothing."""

    def set(self, token: str, answer: Any) -> None:
        """Store nothing."""


def _load(auth_token: Any, config_files: Sequence[str]) -> tuple[Any, str]:
    """Configure keystonemiddleware from our files and the environment; also the URL for clients."""
    from keystoneauth1.exceptions import ClientException
    from keystoneauth1.loading import register_auth_conf_options
    from keystonemiddleware.exceptions import KeystoneMiddlewareException
    from oslo_config import cfg

    # Our own object, so that oslo.config's global one does not change.
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
        # Their message has the letters after the dollar, which may be part of a password.
        raise Invalid(f"[{SECTION}]: a value cannot be read; '$' names an option, '$$' is a dollar.") from None
    except (cfg.Error, ValueError, ClientException, KeystoneMiddlewareException) as error:
        raise Invalid(f"[{SECTION}] cannot be used: {str(error).strip()}") from None
    protocol._token_cache = _NoCache()
    if section.insecure:
        log.warning("Keystone's certificate is not verified: [keystone_authtoken] insecure is set")
    return protocol, section.www_authenticate_uri or auth_url or ""
