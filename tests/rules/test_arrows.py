# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: app, cli -> api -> catalogue -> model; api -> settings, model. Nothing points back."""

import ast
import re
from itertools import combinations, permutations

import pytest
from tests.rules.source import MODULES, Module, foreign, ours

from glance_registry.api.routes import DIALECTS
from glance_registry.api.v2.routes import ABSENT

ARROWS = {
    "": set(),
    "__main__": {"cli"},
    "cli": {"cli", "app", "api", "transfer", "stores", "catalogue", "model", "settings", "log"},
    "app": {"api", "transfer", "stores", "catalogue", "model", "settings", "log", "threads"},
    "api": {"api", "transfer", "catalogue", "model", "settings", "threads"},
    "transfer": {"transfer", "catalogue", "stores", "model"},
    "catalogue": {"catalogue", "model"},
    "stores": {"stores", "model"},
    "settings": {"model"},
    "log": set(),
    "threads": set(),
    "model": {"model"},
}

AT_HOME = {
    "sqlalchemy": ("catalogue",),
    "alembic": ("catalogue",),
    "asyncpg": ("catalogue",),
    "sqlite3": ("catalogue",),
    "oslo_limit": ("transfer.unified_limits",),
    "jinja2": ("api.ui.render",),
    "starlette": ("api", "app"),
    "granian": ("cli.serve",),
    "prometheus_client": ("api",),
    "click": ("cli",),
    "rich": ("cli",),
    "aiobotocore": ("stores.s3_client",),
    "botocore": ("stores.s3", "stores.s3_client"),
    "aiohttp": ("stores.s3_client",),
}

# A model that imports one of these reads a clock, a die, a file or a socket.
IMPURE = {
    *("os", "io", "pathlib", "shutil", "tempfile", "glob", "fileinput", "mmap", "subprocess", "signal", "sys"),
    *("socket", "ssl", "select", "selectors", "http", "urllib", "httpx", "requests", "asyncio", "threading"),
    *("time", "random", "secrets", "uuid", "logging", "sqlite3", "concurrent", "multiprocessing"),
}
CLOCKS = {"now", "utcnow", "today"}

by_name = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "package")


@by_name
def test_every_import_follows_the_arrows(module: Module) -> None:
    assert module.place in ARROWS, f"{module.place} has no place in the house yet: draw its arrows"

    assert {name.partition(".")[0] for name in ours(module)} <= ARROWS[module.place]


@by_name
def test_a_library_stays_where_it_belongs(module: Module) -> None:
    for library in foreign(module) & AT_HOME.keys():
        homes = AT_HOME[library]
        assert any(module.name == home or module.name.startswith(home + ".") for home in homes), library


@pytest.mark.parametrize("module", [module for module in MODULES if module.place == "model"], ids=lambda m: m.name)
def test_the_model_is_pure(module: Module) -> None:
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
    }

    assert foreign(module) & IMPURE == set()
    assert called & (CLOCKS | {"open", "input", "print", "__import__"}) == set()


MIGRATIONS = [module for module in MODULES if module.name.startswith("catalogue.migrations.")]


def test_there_are_migrations_to_check() -> None:
    assert "catalogue.migrations.versions.0001_images" in {module.name for module in MIGRATIONS}


@pytest.mark.parametrize("module", MIGRATIONS, ids=lambda module: module.name)
def test_a_migration_imports_no_live_code(module: Module) -> None:
    """A step must do tomorrow what it did in its own release."""
    assert {name for name in ours(module) if not name.startswith("catalogue.migrations.")} == set()


def test_no_two_modules_import_each_other() -> None:
    imports = {module.name: ours(module) for module in MODULES}

    assert [pair for pair in combinations(sorted(imports), 2) if _both_ways(pair, imports)] == []


def test_no_two_parts_of_the_house_import_each_other() -> None:
    imports: dict[str, set[str]] = {}
    for module in MODULES:
        imports.setdefault(module.place, set()).update(name.partition(".")[0] for name in ours(module))

    assert [pair for pair in combinations(sorted(imports), 2) if _both_ways(pair, imports)] == []


def _both_ways(pair: tuple[str, str], imports: dict[str, set[str]]) -> bool:
    one, other = pair
    return other in imports[one] and one in imports[other]


DIALECT_PACKAGES = ("api.registry", "api.v2", "api.ui")
WORDS_OF_DIALECTS = {
    *(dialect.prefix for dialect in DIALECTS if dialect.prefix),
    *(part.not_found for dialect in DIALECTS for part in dialect.path_parts.values()),
    *ABSENT.values(),
    *("/images", "/shared-images", "/versions", "tenants"),
}
SHELL = [module for module in MODULES if re.fullmatch(r"api\.\w+", module.name) and module.name not in DIALECT_PACKAGES]


def test_the_dialects_do_not_know_each_other() -> None:
    """The pages are a view of the Images API, and use what it has; nothing else looks into another dialect."""
    for module in MODULES:
        for one, other in permutations(DIALECT_PACKAGES, 2):
            if module.name.startswith(one) and (one, other) != ("api.ui", "api.v2"):
                assert not any(name.startswith(other) for name in ours(module)), module.name


@pytest.mark.parametrize("module", SHELL, ids=lambda module: module.name)
def test_the_shell_knows_no_dialect(module: Module) -> None:
    """`api.routes` only lists them."""
    if module.name != "api.routes":
        assert not [name for name in ours(module) if name.startswith(DIALECT_PACKAGES)]
    docstrings = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    constants = [
        node for node in ast.walk(module.tree) if isinstance(node, ast.Constant) and id(node) not in docstrings
    ]
    texts = [node.value for node in constants if isinstance(node.value, str)]
    assert not [text for text in texts for word in WORDS_OF_DIALECTS if word in text]


def test_no_flag_of_a_dialect_reaches_below_the_api() -> None:
    for module in MODULES:
        if module.place in ("catalogue", "model"):
            words = {node.arg for node in ast.walk(module.tree) if isinstance(node, ast.arg)}
            assert not words & {"v1", "v2", "v1_mode", "dialect", "api_version"}, module.name
