"""The architecture: which module may import which, and which may read clock and environment, by the syntax tree."""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from etl.db.dialects import DIALECTS

HOME = Path(__file__).parents[2]

EVERYBODYS = {
    *(
        "errors",
        "model",
        "day_totals",
        "run_counts",
        "amounts",
        "channels",
        "changes",
        "reconcile",
        "date_ranges",
        "unreadable_days",
        "spreadsheet",
        "timestamps",
    ),
    *("zones", "pii"),
    *("signals", "log", "atomic_file", "network", "suggestions", "exit_codes"),
}
"""Modules that every package except the sandbox may import. They import only each other."""

ALLOWED = {
    **dict.fromkeys(EVERYBODYS, EVERYBODYS),
    "numbering": EVERYBODYS,
    "extract": EVERYBODYS,
    "transform": EVERYBODYS,
    "db": EVERYBODYS,
    "load": EVERYBODYS | {"db", "transform"},
    "reports": EVERYBODYS | {"db"},
    "lake": EVERYBODYS | {"reports"},
    "ops": EVERYBODYS | {"db"},
    "checks": EVERYBODYS | {"db", "extract"},
    "pipeline": EVERYBODYS | {"config", "db", "extract", "transform", "load", "services"},
    "config": EVERYBODYS | {"db"},  # for the names of the supported databases; see the test below
    "services": EVERYBODYS
    | {"config", "db", "extract", "transform", "load", "numbering", "pipeline", "checks", "ops", "lake", "reports"},
    "api": EVERYBODYS | {"config", "services", "ops"},
    "orchestration": {"api", "errors", "exit_codes"},
    "sandbox": set(),
}
"""What each package and module of etl may import besides itself. The command line, not listed, may import all."""


MAX_LINES = 400
LONG_MODULES = {
    "db.tables": "the whole schema, a column per line",
}
"""Modules that may be longer, with the reason."""


def name_of(path: Path) -> str:
    """The name of a module without `etl`: `etl/load/diff.py` is `load.diff`; a package has its own name."""
    parts = path.relative_to(HOME / "etl").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


TREES = {name_of(path): ast.parse(path.read_text("utf-8")) for path in sorted((HOME / "etl").rglob("*.py"))}


def imported(tree: ast.AST, home: str) -> Iterator[str]:
    """Imported modules of etl, without `etl.`, including imports in functions and for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{home} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "etl":
                yield rest


def stage(name: str) -> str:
    return name.split(".", 1)[0]


def test_modules_are_found():
    assert {"cli", "errors", "model", "date_ranges", "load.diff", "extract.source", "sandbox.server"} <= TREES.keys()
    assert ALLOWED.keys() <= {stage(name) for name in TREES}
    assert set(imported(TREES["transform.snapshots"], "")) == {
        "amounts.exact_arithmetic",
        "amounts.exact_sum",
        *(
            "model.DELIVERED",
            "model.CountedRecords",
            "model.DayRecords",
            "model.DaySnapshot",
            "day_totals.DayTotals",
            "day_totals.HourTotals",
            "model.Record",
            "model.TimeSlice",
        ),
    }


@pytest.mark.parametrize("name", [name for name in TREES if stage(name) in ALLOWED])
def test_a_stage_imports_only_allowed_modules(name):
    own = stage(name)
    itself = {"", "__version__"}  # where the package is, to find the migrations, and its version
    assert {stage(other) for other in imported(TREES[name], name)} <= ALLOWED[own] | {own} | itself


def test_the_settings_use_only_the_names_of_databases():
    imports = {other for name, tree in TREES.items() if stage(name) == "config" for other in imported(tree, name)}
    assert {other for other in imports if stage(other) == "db"} == {"db.dialects.DIALECTS"}


DIALECT_MODULES = {entry.module.removeprefix("etl.") for entry in DIALECTS.values()}


def test_dialect_modules_are_imported_only_by_the_registry():
    assert TREES.keys() >= DIALECT_MODULES
    for name, tree in TREES.items():
        assert not {module_of(other) for other in imported(tree, name)} & DIALECT_MODULES, name


BACKENDS = {*DIALECTS, "MySQL", "MariaDB"}


def compared_backends(tree: ast.AST) -> set[str]:
    """Names of databases that code branches on: operands of `==` and `in`, keys of dictionaries."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found |= {
                leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and leaf.value in BACKENDS
            }
        elif isinstance(node, ast.Dict):
            found |= {key.value for key in node.keys if isinstance(key, ast.Constant) and key.value in BACKENDS}
    return found


def test_a_branch_on_the_database_is_detected():
    assert compared_backends(ast.parse("if a.name in {'mysql', 'x'}: ...")) == {"mysql"}
    assert compared_backends(ast.parse("f = {'sqlite': 1}.get(name, 2)")) == {"sqlite"}
    assert compared_backends(TREES["db.dialects"]) == {*DIALECTS}


@pytest.mark.parametrize("name", [name for name in TREES if name != "db.dialects" and stage(name) != "sandbox"])
def test_only_dialects_branch_on_the_database(name):
    assert compared_backends(TREES[name]) == set()


@pytest.mark.parametrize("name", TREES)
def test_no_module_imports_the_command_line(name):
    imports = {stage(other) for other in imported(TREES[name], name)}
    assert "cli" not in imports or stage(name) in {"cli", "__main__"}


def all_imports(tree: ast.AST) -> set[str]:
    """All imported modules and names, including those of other packages."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def opens_databases(tree: ast.AST) -> set[str]:
    """Imports of SQLAlchemy and of `db`, which has engines, locks and transactions; imports for types do not count."""
    return {
        name
        for name in all_imports(WithoutTypeImports().visit(copy.deepcopy(tree)))
        if name.startswith(("etl.db.", "sqlalchemy"))
    }


def test_an_import_that_opens_a_database_is_detected():
    late = "def show():\n    from etl.db.engine import new_engine"
    assert opens_databases(ast.parse(late)) == {"etl.db.engine.new_engine"}
    assert opens_databases(ast.parse("if TYPE_CHECKING:\n    from sqlalchemy import URL")) == set()
    assert opens_databases(TREES["services.database"])


@pytest.mark.parametrize("name", [name for name in TREES if stage(name) == "cli"])
def test_the_command_line_opens_no_database(name):
    assert opens_databases(TREES[name]) == set()


OPENERS = {"new_engine", "create_engine"}


@pytest.mark.parametrize("name", [name for name in TREES if stage(name) not in {"services", "db", "sandbox"}])
def test_only_services_open_engines_and_take_locks(name):
    names = {other.rpartition(".")[2] for other in all_imports(TREES[name])}
    assert not names & (OPENERS | {"advisory_lock"})


@pytest.mark.parametrize("name", TREES)
def test_the_sandbox_and_the_program_do_not_import_each_other(name):
    imports = {stage(other) for other in imported(TREES[name], name)}
    assert "sandbox" not in imports or stage(name) in {"sandbox", "cli"}


@pytest.mark.parametrize("name", TREES)
def test_orchestration_imports_only_the_public_api_and_nothing_imports_it(name):
    imports = {stage(other) for other in imported(TREES[name], name)}
    assert "orchestration" not in imports or stage(name) == "orchestration"


def test_orchestration_policies_import_no_orchestrator():
    for name in ("outcome", "keys", "settings"):
        assert not {"dagster", "airflow"} & {
            other.partition(".")[0] for other in all_imports(TREES[f"orchestration.{name}"])
        }


class WithoutTypeImports(ast.NodeTransformer):
    """Removes `if TYPE_CHECKING:` blocks, whose imports are never executed."""

    def visit_If(self, node):
        is_type_checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_type_checking else self.generic_visit(node)


def module_of(name: str) -> str:
    """The module of an imported name: `db.engine.new_engine` is in `db.engine`."""
    while name not in TREES:
        name = name.rpartition(".")[0]
    return name


def import_cycle(trees: dict[str, ast.AST]) -> list[str]:
    """A cycle of imports, including imports in functions; empty if there is none."""
    graph = {name: {module_of(other) for other in imported(tree, name)} - {name} for name, tree in trees.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_an_import_cycle_is_detected():
    trees = {
        "errors": ast.parse("from etl.model import Record"),
        "model": ast.parse("def late():\n    import etl.errors"),
        "log": ast.parse("from etl import errors"),
    }
    assert sorted(import_cycle(trees)[1:]) == ["errors", "model"]
    assert import_cycle({name: tree for name, tree in trees.items() if name != "model"}) == []
    assert list(imported(WithoutTypeImports().visit(ast.parse("if TYPE_CHECKING:\n    import etl.log")), "")) == []


def test_there_is_no_import_cycle():
    parsed = {path: ast.parse(path.read_text("utf-8")) for path in (HOME / "etl").rglob("*.py")}
    assert import_cycle({name_of(path): WithoutTypeImports().visit(tree) for path, tree in parsed.items()}) == []
    assert import_cycle({name: tree for name, tree in TREES.items() if stage(name) == "sandbox"}) == []


def test_the_package_docstring_lists_every_top_level_module():
    entries = re.findall(r"^    (\w+)/? {2,}", ast.get_docstring(TREES[""]) or "", re.MULTILINE)
    assert sorted([*entries, "pipeline"]) == sorted({stage(name) for name in TREES} - {"", "__main__"})


def test_the_docstring_of_extract_lists_each_of_its_modules():
    entries = re.findall(r"^    (\w+) {2,}", ast.get_docstring(TREES["extract"]) or "", re.MULTILINE)
    assert sorted(entries) == sorted(name.removeprefix("extract.") for name in TREES if name.startswith("extract."))


SHARED_NAMES = {
    "main",  # entry points
    "Rows",  # of the report's page and of its tables
    *("accounts", "status"),  # functions of the API; a table, and a command
}
"""Names of functions and types that several modules may define."""


def definitions(tree: ast.Module) -> Iterator[str]:
    """Public functions and types of a module: the names of `def` and `class`, and aliases in CamelCase."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any("overload" in ast.dump(item) for item in node.decorator_list):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
        yield from (name for name in names if name[0] != "_" and (is_definition or re.search("[a-z]", name[1:])))


def test_no_two_modules_define_a_function_or_type_of_the_same_name():
    tree = ast.parse("def run(): ...\nclass _Own: ...\nKey = str\nOther: Any = int\nLIMIT = 1\nT = TypeVar('T')")
    assert list(definitions(tree)) == ["run", "Key", "Other"]
    modules = Counter(
        name for module, tree in TREES.items() if stage(module) != "sandbox" for name in set(definitions(tree))
    )
    assert {name for name, count in modules.items() if count > 1 and name != "log"} == SHARED_NAMES


@pytest.mark.parametrize("name", [name for name in TREES if name != "amounts" and stage(name) != "sandbox"])
def test_sums_of_amounts_are_exact(name):
    for call in (node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)):
        adds = isinstance(call.func, ast.Name) and call.func.id == "sum"
        assert not (adds and any("Decimal" in ast.unparse(start) for start in call.args[1:])), "use exact_sum"


def test_migrations_do_not_import_the_program():
    versions = sorted((HOME / "migrations" / "versions").glob("*.py"))
    assert versions
    for path in versions:
        tree = ast.parse(path.read_text("utf-8"))
        assert list(imported(tree, path.name)) == []
        assert "etl" not in {
            name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
        }


COMMENTS_IN_THE_DATABASE = {"db.tables", "db.view_columns"}
"""Modules whose texts are comments in the database, which name environment variables for its users."""
INNER = ("db", "extract", "transform", "load")


def texts(tree: ast.AST) -> Iterator[str]:
    """String constants of a module, without docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_a_variable_name_in_a_message_is_detected():
    tree = ast.parse('def show(x):\n    """BILLING_A"""\n    raise ValueError(f"{x} (BILLING_TIMEOUT)")')
    assert [text for text in texts(tree) if "BILLING_" in text] == [" (BILLING_TIMEOUT)"]
    assert any("BILLING_" in text for text in texts(TREES["config.schema"]))


@pytest.mark.parametrize(
    "name", [name for name in TREES if stage(name) in INNER and name not in COMMENTS_IN_THE_DATABASE]
)
def test_no_inner_package_names_environment_variables(name):
    assert [text for text in texts(TREES[name]) if "BILLING_" in text] == []


STAGES = ALLOWED.keys() - {"config", "services", "sandbox"}
MAY_LOOK = {"extract.transport", "log", "ops.heartbeat", "orchestration.settings"}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
CLOCKS |= {("time", name) for name in ("time", "time_ns", "localtime", "gmtime")}
ENVIRONMENT = {("os", name) for name in ("environ", "getenv", "environb")}


def looks(tree: ast.AST, what: set[tuple[str, str]]) -> set[str]:
    """Uses of attributes such as `datetime.now` or `datetime.datetime.now`, and imports of them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if (owner, node.attr) in what:
                found.add(f"{owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names if (node.module, alias.name) in what}
    return found


def test_access_to_the_clock_or_the_environment_is_detected():
    tree = ast.parse("from os import getenv\nimport os, datetime\nos.environ['X']\ndatetime.datetime.now()\ndate.today")
    assert looks(tree, CLOCKS) == {"datetime.now", "date.today"}
    assert looks(tree, ENVIRONMENT) == {"os.getenv", "os.environ"}
    assert looks(TREES["extract.transport"], CLOCKS)
    assert looks(TREES["config.sources"], ENVIRONMENT)


@pytest.mark.parametrize("name", [name for name in TREES if stage(name) in STAGES and name not in MAY_LOOK])
def test_no_stage_reads_the_clock(name):
    assert looks(TREES[name], CLOCKS) == set()


@pytest.mark.parametrize("name", [name for name in TREES if stage(name) in STAGES and name not in MAY_LOOK])
def test_no_stage_reads_the_environment(name):
    assert looks(TREES[name], ENVIRONMENT) == set()


@pytest.mark.parametrize("name", TREES)
def test_no_module_has_a_meaningless_name(name):
    assert not {"utils", "misc", "helpers", "common", "base", "manager"} & set(name.split("."))


def test_long_modules_are_listed_with_a_reason():
    lines = {name_of(path): path.read_text("utf-8").count("\n") for path in (HOME / "etl").rglob("*.py")}
    assert {name for name, count in lines.items() if count > MAX_LINES} == LONG_MODULES.keys()
