"""Processors and memory: as files tell them, and whether the clone's are those of production. Pure.

Understood are

- Kubernetes manifests: limits of the containers of Deployments, StatefulSets, ReplicaSets, Pods, times their replicas
  (https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/).
- Compose files: `deploy.resources.limits` with `deploy.replicas`, or `cpus` and `mem_limit`.
- Upsun: what `upsun resources:get` prints, as a table, CSV or TSV; and `.upsun/config.yaml`, whose container profile
  gives the memory that belongs to a number of processors (it tells no sizes: these are set by `upsun resources:set`).
- cgroups: `cpu.max`, `cpuset.cpus.effective` and `memory.max` of a folder
  (https://docs.kernel.org/admin-guide/cgroup-v2.html), or their likes of version 1.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from drill.fairness.fairness import Direction, Finding, Part, Resources, Severity
from replayer.reporting.figures import size_of

SAME, OTHER = 1.1, 1.25
"""Factors between what the two have: up to the first one they have the same, from the second one on it is unfair."""

MOST_PARTS = 500

_MEGA = 1_000_000
_STEPS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{0,9})?(?:[eE]\d{1,2})?)\s*([kKmMgGtTpP]?)(i?)[bB]?")
_WORKLOADS = {"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "DaemonSet"}

_UPSUN: dict[str, dict[float, int]] = {
    "HIGH_CPU": {0.1: 64, 0.25: 128, 0.5: 224, 1: 384, 2: 704, 4: 1216, 6: 1728, 8: 2240},
    "BALANCED": {0.1: 352, 0.25: 640, 0.5: 1088, 1: 1920, 2: 2800, 4: 4800, 6: 6080, 8: 7296},
    "HIGH_MEMORY": {0.1: 448, 0.25: 832, 0.5: 1408, 1: 2432, 2: 4032, 4: 6720, 6: 9024, 8: 11200},
    "HIGHER_MEMORY": {0.1: 864, 0.25: 1472, 0.5: 2368, 1: 3840, 2: 6336, 4: 10496, 6: 14080, 8: 17408},
}
"""Memory in MB by container profile and processors (Upsun's documentation, "Resource configuration", 2026)."""


class ResourceError(ValueError):
    """A text tells no resources. The message says why, and what does."""


def cpus(text: str) -> float:
    """Read processors: ``2``, ``0.5``, ``500m``. Raises ResourceError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(m?)", text.strip())
    value = float(found[1]) / (1000 if found[2] else 1) if found else 0.0
    if not 0 < value <= 1e6:
        raise ResourceError(f"{text[:100]!r} is no number of processors: write it like 2, 0.5 or 500m")
    return value


def memory(text: str) -> int:
    """Read an amount of memory: ``4G``, ``512Mi``, ``512MB``. Raises ResourceError."""
    found = _QUANTITY.fullmatch(text.strip())
    value = 0.0
    if found:
        step = _STEPS[found[2].lower()]
        value = float(found[1]) * (1024 ** round(math.log(step, 1000)) if found[3] else step)
    if not 1 <= value <= 1 << 60:
        raise ResourceError(f"{text[:100]!r} is no amount of memory: write it like 4G or 512Mi")
    return int(value)


def written(text: str, name: str, cpu: float | None = None) -> Resources:
    """Read what a file tells; `cpu` is what is known of it from elsewhere. Raises ResourceError."""
    try:
        return _written(text, name, cpu)
    except ValidationError:
        raise ResourceError(f"{name} tells of more than any machine has, or of less than nothing") from None


def _written(text: str, name: str, cpu: float | None) -> Resources:
    if (rows := _table(text)) is not None:
        return _upsun_table(rows, name)
    try:
        documents = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except (yaml.YAMLError, ValueError, RecursionError):
        documents = []
    if any("applications" in each or ("type" in each and "web" in each) for each in documents):
        return _upsun_config(documents, name, cpu)
    if any(_is_compose(each) for each in documents):
        return _summed(_compose(documents), name, [])
    manifests = list(_manifests(documents))
    notes: list[str] = []
    parts = list(_workloads(manifests, notes))
    if not any(part.cpu or part.memory for part in parts):
        raise ResourceError(
            f"{name} tells no processors and no memory: known are Kubernetes manifests with limits, Compose files, the "
            "output of `upsun resources:get --format csv`, .upsun/config.yaml, and folders of cgroups"
        )
    return _summed(parts, name, notes)


def cgroup(cpu_max: str | None, cpuset: str | None, memory_max: str | None, name: str) -> Resources:
    """Read the files of a cgroup, version 2; None for those that are not there. Raises ResourceError."""
    bounds: list[float] = []
    notes = []
    try:
        if cpu_max is not None and (fields := cpu_max.split())[:1] != ["max"]:
            bounds.append(int(fields[0]) / (int(fields[1]) if len(fields) > 1 else 100_000))
        if cpuset is not None and cpuset.strip():
            bounds.append(float(_listed(cpuset.strip())))
        amount = None
        if memory_max is not None and memory_max.strip() != "max":
            amount = int(memory_max)
        cpu = min(bounds, default=None)
        if cpu is None:
            notes.append("there is no limit on processors there: it is as many as the machine has")
        if amount is None:
            notes.append("there is no limit on memory there: it is as much as the machine has")
        return Resources(cpu=cpu, memory=amount, told=name, notes=tuple(notes))
    except (ValueError, IndexError, ZeroDivisionError):
        raise ResourceError(f"{name}: what stands there is no limit of cgroup v2") from None


def old_cgroup(quota: str | None, period: str | None, cpuset: str | None, amount: str | None, name: str) -> Resources:
    """Read the files of a cgroup, version 1: no limit is -1, or more than anybody has. Raises ResourceError."""
    processors = None if quota is None else "max" if quota.strip() == "-1" else f"{quota.strip()} {period or '100000'}"
    unlimited = amount is not None and re.fullmatch("[0-9]{19,25}", amount.strip()) and int(amount) >= 1 << 60
    return cgroup(processors, cpuset, "max" if unlimited else amount, name)


def _listed(text: str) -> int:
    """Count a list of processors: ``0-3,8``. Raises ValueError."""
    count = 0
    for part in text.split(",")[:10_000]:
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    if count < 1:
        raise ValueError(text)
    return count


# --- Kubernetes ---


def _manifests(documents: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        items = document.get("items") if isinstance(document.get("items"), list) else [document]
        yield from (item for item in items if isinstance(item, dict) and isinstance(item.get("kind"), str))


def _workloads(manifests: Sequence[Mapping[str, Any]], notes: list[str]) -> Iterator[Part]:
    for manifest in manifests[:MOST_PARTS]:
        kind, spec = manifest["kind"], _map(manifest.get("spec"))
        name = str(_map(manifest.get("metadata")).get("name", "?"))[:100]
        if kind == "HorizontalPodAutoscaler":
            low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", "?")
            notes.append(f"an autoscaler gives {name} {low} to {high} instances: how many there were is not known")
        if kind == "Pod":
            yield _pods(name, spec, 1, notes)
        elif kind in _WORKLOADS:
            replicas = spec.get("replicas", 1)
            if kind == "DaemonSet":
                notes.append(f"{name} has an instance on each machine: counted is one")
            count = replicas if isinstance(replicas, int) and 0 <= replicas <= 100_000 else 1
            yield _pods(name, _map(_map(spec.get("template")).get("spec")), count, notes)


def _pods(name: str, spec: Mapping[str, Any], count: int, notes: list[str]) -> Part:
    cpu: float | None = 0.0
    amount: int | None = 0
    containers = spec.get("containers")
    for container in containers[:MOST_PARTS] if isinstance(containers, list) else []:
        limits = _map(_map(_map(container).get("resources")).get("limits"))
        if "cpu" not in limits:
            cpu = None
        if "memory" not in limits:
            amount = None
        if missing := [each for each in ("cpu", "memory") if each not in limits]:
            notes.append(f"a container of {name} has no limit on {' and '.join(missing)}")
        cpu = None if cpu is None else cpu + cpus(str(limits["cpu"]))
        amount = None if amount is None else amount + memory(str(limits["memory"]))
    return Part(name=name, cpu=(cpu or 0) * count or None, memory=(amount or 0) * count or None)


# --- Compose ---


def _is_compose(document: Mapping[str, Any]) -> bool:
    services = document.get("services")
    return isinstance(services, dict) and any(
        "image" in _map(each) or "build" in _map(each) for each in services.values()
    )


def _compose(documents: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    for document in documents:
        for name, service in list(_map(document.get("services")).items())[:MOST_PARTS]:
            deploy = _map(_map(service).get("deploy"))
            limits = _map(_map(deploy.get("resources")).get("limits"))
            cpu = limits.get("cpus", _map(service).get("cpus"))
            amount = limits.get("memory", _map(service).get("mem_limit"))
            replicas = deploy.get("replicas", 1)
            count = replicas if isinstance(replicas, int) and 0 < replicas <= 100_000 else 1
            yield Part(
                name=str(name)[:100],
                cpu=None if cpu is None else cpus(str(cpu)) * count,
                memory=None if amount is None else memory(str(amount)) * count,
            )


# --- Upsun ---


def _table(text: str) -> list[dict[str, str]] | None:
    """Read what `upsun resources:get` prints, by the names of its columns; None: it is something else."""
    lines = [line for line in text.splitlines()[:10_000] if line.strip() and not line.startswith("+")]
    if lines and lines[0].lstrip().startswith("|"):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if "|" in line]
    else:
        rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    if not rows:
        return None
    names = [_COLUMNS.get(cell.strip().lower(), "") for cell in rows[0]]
    if not {"service", "cpu"} <= set(names):
        return None
    return [dict(zip(names, row, strict=False)) for row in rows[1 : MOST_PARTS + 1]]


_COLUMNS = {
    "app or service": "service",
    "service": "service",
    "cpu": "cpu",
    "memory (mb)": "memory",
    "memory": "memory",
    "instances": "instances",
    "instance_count": "instances",
}


def _upsun_table(rows: Sequence[Mapping[str, str]], name: str) -> Resources:
    def number(text: str) -> float | None:
        found = re.match(r"\d{1,9}(\.\d{1,6})?", text.strip())
        return (float(found[0]) or None) if found else None

    parts, notes = [], []
    for row in rows:
        count = number(row.get("instances", "")) or 1
        cpu, amount = number(row.get("cpu", "")), number(row.get("memory", ""))
        if cpu is None or amount is None:
            notes.append(f"of {row['service'][:100]} the file does not tell all")
        parts.append(
            Part(
                name=row["service"][:100],
                cpu=None if cpu is None else cpu * count,
                memory=None if amount is None else int(amount * count * _MEGA),
            )
        )
    if not parts:
        raise ResourceError(f"{name}: the table has no rows")
    return _summed(parts, name, notes)


def _upsun_config(documents: Sequence[Mapping[str, Any]], name: str, cpu: float | None) -> Resources:
    """Read container profiles. The memory follows where one container's processors are known from elsewhere."""
    containers = {
        str(key)[:100]: _map(value)
        for document in documents
        for group in ("applications", "services")
        for key, value in list(_map(document.get(group)).items())[:MOST_PARTS]
    }
    profiles = {key: str(value.get("container_profile", "")).upper() for key, value in containers.items()}
    notes = [
        f"{key} has the container profile {profile}" if profile in _UPSUN else f"{key} has the profile of its image"
        for key, profile in profiles.items()
    ]
    amount = None
    if cpu is not None and len(profiles) == 1:
        amount = _UPSUN.get(next(iter(profiles.values())), {}).get(cpu)
    if amount is None:
        notes.append(f"{name} tells no sizes: `upsun resources:get --format csv` prints those of an environment")
    return Resources(cpu=cpu, memory=None if amount is None else amount * _MEGA, told=name, notes=tuple(notes))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _summed(parts: Iterable[Part], name: str, notes: Sequence[str]) -> Resources:
    parts = tuple(parts)[:MOST_PARTS]
    cpu = [part.cpu for part in parts if part.cpu is not None]
    amount = [part.memory for part in parts if part.memory is not None]
    return Resources(
        cpu=sum(cpu) if len(cpu) == len(parts) and cpu else None,
        memory=sum(amount) if len(amount) == len(parts) and amount else None,
        parts=parts if len(parts) > 1 else (),
        told=name,
        notes=tuple(dict.fromkeys(notes))[:20],
    )


# --- the clone's and production's ---


def compare(clone: Resources | None, production: Resources | None) -> list[Finding]:
    """Say what differs, part by part where both name the same parts, and what is not known."""
    clone, production = clone or Resources(), production or Resources()
    named = {part.name: part for part in production.parts}
    pairs: list[tuple[str, Part | Resources, Part | Resources]] = [("", clone, production)]
    if named and {part.name for part in clone.parts} == set(named):
        pairs = [(f"{part.name}: ", part, named[part.name]) for part in clone.parts]
    findings = []
    known = []
    for label, mine, theirs in pairs:
        for what, now, then in (
            ("processors", mine.cpu, theirs.cpu),
            ("memory", mine.memory, theirs.memory),
        ):
            if now is not None and then is not None:
                known.append(what)
                findings.append(_compared(label, what, now, then))
    if missing := [what for what in ("processors", "memory") if known.count(what) < len(pairs)]:
        findings.append(
            Finding(
                kind="resources",
                severity="doubt",
                direction="either",
                what=f"Whether the clone has production's {' and '.join(missing)} is not known"
                f"{_notes(clone, production)}.",
                means="A clone with more bears more, one with less gives way sooner: a verdict is told with this.",
                advice="Say it: --cpu 2 --memory 4G --incident-cpu 2 --incident-memory 4G; or --resources FILE and "
                "--incident-resources FILE.",
            )
        )
    elif notes := "; ".join((*clone.notes, *production.notes)):
        findings.append(
            Finding(
                kind="resources",
                severity="doubt",
                direction="either",
                what=f"{notes[:1].upper()}{notes[1:]}.",
                means="What there is to answer with may be another amount than what was compared.",
            )
        )
    return findings


def _notes(clone: Resources, production: Resources) -> str:
    notes = (*clone.notes, *production.notes)
    return f" ({'; '.join(notes)})" if notes else ""


def _compared(label: str, what: str, now: float, then: float) -> Finding:
    factor = now / then
    words = f"{label}the clone has {_amount(what, now)}, production had {_amount(what, then)}."
    words = words[:1].upper() + words[1:] if not label else words
    if 1 / SAME <= factor <= SAME:
        return Finding(
            kind="resources", severity="says nothing", what=words, means="In this the clone stands in for production."
        )
    direction: Direction = "easy" if factor > 1 else "hard"
    severity: Severity = "unfair" if not 1 / OTHER < factor < OTHER else "doubt"
    verdict = "HOLDS" if direction == "easy" else "DOES NOT HOLD"
    side = "more" if direction == "easy" else "less"
    doing = "bears the load" if direction == "easy" else "gives way"
    means = f"That a clone with {side} {doing} says nothing of production: {verdict} is out of the question."
    if severity == "doubt":
        means = f"The clone has a little {side}: {verdict} is told with this doubt."
    return Finding(
        kind="resources",
        severity=severity,
        direction=direction,
        what=words,
        means=means,
        advice="Give the clone what production has.",
    )


def _amount(what: str, amount: float) -> str:
    if what == "memory":
        return f"{size_of(round(amount))} of memory"
    return "1 processor" if amount == 1 else f"{amount:g} processors"
