"""Processors and memory, from files and from what people say, and what it means if they are others."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.fairness.checking import Stated, resources
from drill.fairness.fairness import Resources
from drill.fairness.resources import ResourceError, cgroup, compare, cpus, memory, written
from rules.exits import UserError

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  template:
    spec:
      containers:
        - name: app
          resources: {limits: {cpu: 500m, memory: 512Mi}}
        - name: proxy
          resources: {limits: {cpu: "1", memory: 256Mi}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  template:
    spec:
      containers:
        - resources: {limits: {cpu: 2, memory: 4Gi}}
---
kind: Service
metadata: {name: shop}
"""

COMPOSE = """
services:
  shop:
    image: shop:1
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 512M}}}
  db:
    image: postgres
    cpus: 1.5
    mem_limit: 1g
"""

UPSUN_CSV = """App or service,Size,CPU,Memory (MB),Disk (MB),Instances
app,2,2,704,512,3
database,1,1,2432,2048,1
"""

UPSUN_TABLE = """
+----------------+------+-----+-------------+-----------+-----------+
| App or service | Size | CPU | Memory (MB) | Disk (MB) | Instances |
+----------------+------+-----+-------------+-----------+-----------+
| app            | 2    | 2   | 704         | 512       | 3         |
| database       | 1    | 1   | 2432        | 2048      | 1         |
+----------------+------+-----+-------------+-----------+-----------+
"""

UPSUN_CONFIG = """
applications:
  app:
    type: "python:3.13"
    container_profile: HIGH_MEMORY
    web: {commands: {start: ./run}}
"""


def test_a_manifest_of_kubernetes_is_added_up() -> None:
    found = written(DEPLOYMENT, "prod.yaml")
    assert found.cpu == 3 * 1.5 + 2
    assert found.memory == 3 * (768 << 20) + (4 << 30)
    assert [part.name for part in found.parts] == ["shop", "db"]
    assert found.parts[0].cpu == 4.5
    assert not found.notes


def test_what_a_manifest_leaves_open_is_said() -> None:
    unlimited = DEPLOYMENT.replace("limits: {cpu: 2, memory: 4Gi}", "requests: {cpu: 2}")
    found = written(unlimited, "prod.yaml")
    assert (found.cpu, found.memory) == (None, None)
    assert found.parts[0].cpu == 4.5
    assert found.notes == ("a container of db has no limit on cpu and memory",)
    scaled = DEPLOYMENT + "---\nkind: HorizontalPodAutoscaler\nmetadata: {name: shop}\nspec: {maxReplicas: 9}\n"
    assert "1 to 9 instances" in written(scaled, "prod.yaml").notes[0]
    (finding,) = [each for each in compare(written(scaled, ""), written(DEPLOYMENT, "")) if each.severity == "doubt"]
    assert "autoscaler" in finding.what


def test_a_list_of_kubectl_is_read_as_well() -> None:
    pod = "{kind: Pod, metadata: {name: a}, spec: {containers: [{resources: {limits: {cpu: 1, memory: 1G}}}]}}"
    listed = f"{{kind: List, items: [{pod}]}}"
    assert (written(listed, "").cpu, written(listed, "").memory) == (1, 10**9)


def test_a_compose_file_is_added_up() -> None:
    found = written(COMPOSE, "compose.yaml")
    assert (found.cpu, found.memory) == (2.5, 2 * 512_000_000 + 1_000_000_000)


@pytest.mark.parametrize("text", [UPSUN_CSV, UPSUN_TABLE, UPSUN_CSV.replace(",", "\t")])
def test_what_upsun_prints_of_resources_is_added_up(text: str) -> None:
    found = written(text, "resources.csv")
    assert (found.cpu, found.memory) == (7, (3 * 704 + 2432) * 1_000_000)
    assert [part.name for part in found.parts] == ["app", "database"]


def test_upsun_that_does_not_tell_all_is_said() -> None:
    found = written(UPSUN_TABLE.replace("| 704 ", "| not set "), "resources.txt")
    assert found.memory is None
    assert found.notes == ("of app the file does not tell all",)


def test_the_configuration_of_upsun_gives_the_memory_that_goes_with_processors() -> None:
    assert written(UPSUN_CONFIG, "config.yaml", 2).memory == 4032 * 1_000_000
    found = written(UPSUN_CONFIG, "config.yaml")
    assert found.memory is None
    assert any("upsun resources:get" in note for note in found.notes)


@pytest.mark.parametrize(
    ("cpu_max", "cpuset", "memory_max", "cpu", "amount"),
    [
        ("200000 100000\n", None, "4294967296\n", 2, 4 << 30),
        ("max 100000\n", "0-3,8\n", "max\n", 5, None),
        ("150000 100000\n", "0-7\n", None, 1.5, None),
        ("max 100000\n", None, "1000000\n", None, 1_000_000),
    ],
)
def test_files_of_a_cgroup(
    cpu_max: str | None, cpuset: str | None, memory_max: str | None, cpu: float | None, amount: int | None
) -> None:
    found = cgroup(cpu_max, cpuset, memory_max, "clone")
    assert (found.cpu, found.memory) == (cpu, amount)
    assert len(found.notes) == (cpu is None) + (amount is None)


def test_folders_of_cgroup_version_1(tmp_path: Path) -> None:
    for controller, name, text in (
        ("cpu", "cpu.cfs_quota_us", "150000\n"),
        ("cpu", "cpu.cfs_period_us", "100000\n"),
        ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
    ):
        (tmp_path / controller).mkdir(exist_ok=True)
        (tmp_path / controller / name).write_text(text)
    found = resources(Stated(file=tmp_path))
    assert found is not None
    assert (found.cpu, found.memory) == (1.5, None)
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("4294967296\n")
    found = resources(Stated(file=tmp_path))
    assert found is not None
    assert (found.cpu, found.memory) == (None, 4 << 30)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_files_that_are_none_are_refused(cpu_max: str, cpuset: str, memory_max: str) -> None:
    try:
        found = cgroup(cpu_max, cpuset, memory_max, "x")
    except ResourceError:
        return
    assert found.cpu is None or found.cpu > 0


@given(st.text(max_size=300))
def test_a_text_that_is_no_such_file_is_refused(text: str) -> None:
    with pytest.raises(ResourceError, match="tells no processors"):
        written(text.replace("service", "").replace("applications", ""), "notes.txt")


def test_an_alias_bomb_is_refused_without_going_off() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    with pytest.raises(ResourceError):
        written(bomb + "kind: Deployment\nspec: *a29\n", "bomb.yaml")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4G", 4 * 10**9),
        ("4Gi", 4 << 30),
        ("512Mi", 512 << 20),
        ("512MB", 512 * 10**6),
        ("1.5g", 15 * 10**8),
        ("99", 99),
    ],
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert memory(text) == amount


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "2 cores", "1e400", "9" * 30, "0m"])
def test_what_is_no_number_of_processors(text: str) -> None:
    with pytest.raises(ResourceError):
        cpus(text)
    with pytest.raises(ResourceError):
        memory(text.replace("2 cores", "G"))


# --- compared ---


@pytest.mark.parametrize(
    ("clone", "production", "severity", "direction"),
    [
        (2.0, 2.0, "says nothing", None),
        (4.0, 2.0, "unfair", "easy"),
        (1.0, 2.0, "unfair", "hard"),
        (2.3, 2.0, "doubt", "easy"),
        (1.75, 2.0, "doubt", "hard"),
    ],
)
def test_more_processors_are_on_the_easy_side(
    clone: float, production: float, severity: str, direction: str | None
) -> None:
    found = compare(Resources(cpu=clone, memory=10**9), Resources(cpu=production, memory=10**9))
    (finding,) = [each for each in found if "processor" in each.what]
    assert (finding.severity, finding.direction) == (severity, direction)


def test_parts_of_the_same_names_are_compared_by_themselves() -> None:
    """The same in all, but half of the database's is the app's on the clone."""
    moved = UPSUN_CSV.replace("app,2,2,704,512,3", "app,2,2,704,512,1").replace("base,1,1,", "base,1,5,")
    assert written(moved, "").cpu == written(UPSUN_CSV, "").cpu
    found = [each for each in compare(written(moved, ""), written(UPSUN_CSV, "")) if "processor" in each.what]
    assert {(each.what.split(":")[0], each.severity, each.direction) for each in found} == {
        ("app", "unfair", "hard"),
        ("database", "unfair", "easy"),
    }


def test_what_nobody_said_is_a_doubt() -> None:
    (finding,) = compare(None, None)
    assert (finding.severity, finding.direction) == ("doubt", "either")
    assert "processors and memory is not known" in finding.what
    half = compare(Resources(cpu=2, memory=5), Resources(cpu=2))
    assert [(each.severity, "memory" in each.what) for each in half] == [("says nothing", False), ("doubt", True)]


# --- from the command line ---


def test_what_was_said_goes_over_what_a_file_tells(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_text(DEPLOYMENT)
    found = resources(Stated("8", None, tmp_path / "prod.yaml"))
    assert found is not None
    assert (found.cpu, found.memory, found.parts) == (8, 3 * (768 << 20) + (4 << 30), ())
    assert resources(Stated()) is None


def test_a_folder_of_cgroup_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    for path in (tmp_path, tmp_path / "cpu.max"):
        found = resources(Stated(file=path))
        assert found is not None
        assert (found.cpu, found.memory) == (0.5, None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Stated(cpu="two"), "--incident-cpu: 'two' is no number of processors"),
        (Stated(memory="much"), "--incident-memory: 'much' is no amount of memory"),
        (Stated(file=Path("nothing.yaml")), "--incident-resources .*nothing.yaml: No such file"),
        (Stated(file=Path()), "--incident-resources: .* is no folder of a cgroup"),
        (Stated(file=Path("binary")), "it is no text"),
        (Stated(file=Path("large")), "larger than 1 MiB"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, said: Stated, words: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x9f")
    (tmp_path / "large").write_bytes(b"#" * (1 << 20) + b"\n\n")
    with pytest.raises(UserError, match=words):
        resources(said._replace(file=said.file and tmp_path / said.file), "incident-")
