import ast
import shutil
import subprocess
import sys

import pytest

from fingerprints import _read, fingerprint, import_closure, remembered


@pytest.fixture
def project(tmp_path):
    files = {
        "pkg/__init__.py": "",
        "pkg/a.py": "from pkg import shared\nfrom pkg.deep.leaf import value\nimport os\n",
        "pkg/b.py": "from .shared import thing\n",
        "pkg/shared.py": "thing = 1  # a comment\n",
        "pkg/deep/__init__.py": "",
        "pkg/deep/leaf.py": "def value():\n    from .. import lazy\n    return lazy\n",
        "pkg/lazy.py": "x = 1\n",
        "pkg/other.py": "y = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_closure_follows_every_form_of_import(project):
    closure = import_closure(["pkg.a"], [project])
    assert sorted(closure) == [
        "pkg", "pkg.a", "pkg.deep", "pkg.deep.leaf", "pkg.lazy", "pkg.shared",
    ]  # fmt: skip


def test_closure_covers_what_python_really_imports(repository):
    """The static closure holds every module of the project that an import loads."""
    module = "advdetect.steps.feature"
    code = f"import sys, {module}; print(*[m for m in sys.modules if m.startswith('advdetect')])"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    closure = import_closure([module], [repository / "src"])
    assert len(loaded) > 5
    assert set(loaded) <= set(closure)


def test_a_method_does_not_see_another_method(repository):
    closure = import_closure(
        ["advdetect.steps.attack", "advdetect.attacks.fgsm"], [repository / "src"]
    )
    assert "advdetect.attacks.fgsm" in closure
    assert "advdetect.attacks.bim" not in closure
    assert not any(name.startswith("advdetect.features") for name in closure)


@pytest.mark.parametrize(
    ("edited", "text", "changes"),
    [
        ("pkg/lazy.py", "x = 2\n", True),
        ("pkg/lazy.py", "# a note\nx = 1\n", False),
        ("pkg/lazy.py", '"""Documentation."""\nx   =   1\n', False),
        ("pkg/other.py", "y = 2\n", False),
        ("pkg/__init__.py", "z = 1\n", True),
    ],
)
def test_fingerprint_changes_with_the_code_that_is_involved(project, edited, text, changes):
    before = fingerprint(["pkg.a"], [project])
    (project / edited).write_text(text)
    assert (fingerprint(["pkg.a"], [project]) != before) == changes


def test_fingerprint_does_not_depend_on_the_place(project, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "project"
    before = fingerprint(["pkg.a"], [project])
    project.rename(moved)
    assert fingerprint(["pkg.a"], [moved]) == before


CODE = '''"""What the module is for."""
__version__ = "1.0"

def fit(x, *, epsilon=0.1, name="kd"):
    """Fit it."""
    parser.add_argument("--x", default=3, help="a number", metavar="X")
    report(f"fitted {x:.2f} in {name}" + (" or so" if x > 3 else ""))
    if x > 5:
        raise AdvdetectError(f"{x} is too large: {name}.")
    return x * 2
'''


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("a number", "another number", False),
        ('metavar="X"', 'metavar="NUMBER"', False),
        ("What the module is for.", "Another text.", False),
        ("Fit it.", "Fit it as the paper does.", False),
        ('    """Fit it."""\n', "", False),
        ("is too large:", "is larger than 5; its name:", False),
        ("fitted {x:.2f} in", "fitted {x:.3f} of", False),
        (" or so", " roughly", False),
        ("x > 3", "x > 4", True),
        ('"1.0"', '"2.0"', False),
        ("x * 2", "x * 3", True),
        ("x * 2", "x / 2", True),
        ("epsilon=0.1", "epsilon=0.2", True),
        ('name="kd"', 'name="bu"', True),
        ("default=3", "default=4", True),
        ("x > 5", "x > 6", True),
        ("{x} is too", "{fit(x)} is too", True),  # it runs, whatever it is for
    ],
)
def test_words_are_no_code(tmp_path, old, new, changes):
    assert CODE.count(old) == 1
    module = tmp_path / "mine.py"
    module.write_text(CODE)
    before = fingerprint(["mine"], [tmp_path])
    module.unlink()
    (tmp_path / "again").mkdir()  # files that change within a tick of the clock look unchanged
    (tmp_path / "again" / "mine.py").write_text(CODE.replace(old, new))
    assert (fingerprint(["mine"], [tmp_path / "again"]) != before) == changes


def test_it_is_the_same_for_every_version_of_python(tmp_path):
    """The value was read off Python 3.11, 3.12 and 3.13, whose syntax trees have other fields."""
    (tmp_path / "mine.py").write_text(CODE)
    assert fingerprint(["mine"], [tmp_path]) == "9b3a0603b0ee69d1"


@pytest.mark.parametrize(
    ("code", "other"),
    [
        ("x = None", "x = ''"),
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 'a'", "x = b'a'"),
        ("f(a, [])", "f([], a)"),
        ("f()", "f"),
        ("f(a, b=c)", "f(a, c)"),
        ("x = y", "x: y"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("def f(a, b): pass", "def f(a, /, b): pass"),
        ("x = a[:1]", "x = a[1:]"),
        ("{**a, 'b': c}", "{'b': c, **a}"),
        ("from . import a", "from .. import a"),
        ("import a", "from a import a"),
        ("for x in y: pass", "for x in y: pass\nelse: f()"),
    ],
)
def test_what_differs_in_code_differs(tmp_path, code, other):
    for name, text in (("mine", code), ("another", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text(text)
    one, another = (fingerprint(["module"], [tmp_path / name]) for name in ("mine", "another"))
    assert one != another


def test_what_was_read_is_remembered_by_its_content(project, tmp_path, monkeypatch):
    """A later run reads no syntax of a file that is as it was, wherever; of another one it does."""
    monkeypatch.chdir(tmp_path)
    read = []
    monkeypatch.setattr("fingerprints._known", {})
    monkeypatch.setattr(
        "fingerprints.ast.parse",
        lambda *given, parse=ast.parse: read.append(given) or parse(*given),
    )
    with remembered():
        before = fingerprint(["pkg.a"], [project])
    assert len(read) == 6
    copy = shutil.copytree(project / "pkg", tmp_path / "copy" / "pkg")
    (copy / "lazy.py").write_text("x = 2\n")
    for damage in (False, True):
        read.clear()
        monkeypatch.setattr("fingerprints._known", {})
        _read.cache_clear()
        if damage:
            (tmp_path / ".snakemake/advdetect/code.json").write_text("{")
        with remembered():
            assert fingerprint(["pkg.a"], [project]) == before
            assert len(read) == (6 if damage else 0)
            assert fingerprint(["pkg.a"], [tmp_path / "copy"]) != before
            assert len(read) == (7 if damage else 1)


def test_no_computing_step_imports_what_only_publishes(repository):
    publishing = {
        *("certified", "compare", "estimate", "evaluate", "figure", "paired"),
        *("report", "reproduce", "results_page", "settings", "tables"),
    }
    packages = ("evaluation", "tables", "figures", "report", "papers")
    published = tuple(f"advdetect.{package}" for package in packages)
    steps = repository / "src" / "advdetect" / "steps"
    computing = {path.stem for path in steps.glob("[a-z]*.py")} - publishing
    assert {"attack", "feature", "fit_detectors", "score", "train"} <= computing
    for step in computing:
        closure = import_closure([f"advdetect.steps.{step}"], [repository / "src"])
        assert not [name for name in closure if name.startswith(published)], step
