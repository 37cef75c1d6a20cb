"""Audit the Python environment that zrb runs in: every package with its version, licence and size on disk.

zrb audit report --folder reports
"""

from __future__ import annotations

from collections import Counter
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from zrb import AnyContext, Group, StrInput, cli, make_task

audit = cli.add_group(Group(name="audit", description="Audit the Python environment"))


@make_task(name="find-packages", description="List every installed package", group=audit)
def find_packages(ctx: AnyContext) -> list[dict[str, Any]]:
    packages = {package.name: describe(package) for package in distributions()}
    ctx.print(f"found {len(packages)} packages")
    return list(packages.values())


@make_task(name="summarize", description="Count licences and bytes", group=audit, upstream=find_packages)
def summarize(ctx: AnyContext) -> dict[str, Any]:
    packages = ctx.xcom["find-packages"].peek()
    ctx.print("counting")
    return {
        "packages": len(packages),
        "bytes": sum(package["bytes"] for package in packages),
        "licences": dict(Counter(package["licence"] for package in packages).most_common()),
    }


@make_task(
    name="report",
    description="Write the report into a folder",
    group=audit,
    upstream=summarize,
    input=StrInput(name="folder", description="Where the report goes", default="reports"),
    retries=0,
)
def report(ctx: AnyContext) -> str:
    summary = ctx.xcom["summarize"].pop()
    packages = ctx.xcom["find-packages"].pop()
    file = Path(ctx.input.folder) / "audit.md"
    file.write_text("\n".join(lines(summary, packages)))
    return str(file)


def describe(package: Distribution) -> dict[str, Any]:
    files = [Path(str(package.locate_file(file))) for file in package.files or []]
    return {
        "name": package.name,
        "version": package.version,
        "licence": licence(package),
        "bytes": sum(file.stat().st_size for file in files if file.is_file()),
    }


def licence(package: Distribution) -> str:
    """Return the licence that a package declares, in any of the three places that have been in use."""
    fields = package.metadata
    declared = next((fields[name] for name in ("License-Expression", "License") if name in fields), "")
    classified = [
        classifier.rpartition(" :: ")[2]
        for classifier in fields.get_all("Classifier") or []
        if classifier.startswith("License :: ")
    ]
    # Some packages put the whole text of the licence there.
    if 0 < len(declared) <= 40:
        return declared
    return " or ".join(classified) or "unknown"


def lines(summary: dict[str, Any], packages: list[dict[str, Any]]) -> list[str]:
    largest_first = sorted(packages, key=lambda package: -package["bytes"])
    return [
        "# Audit of a Python environment",
        "",
        f"{summary['packages']} packages, {megabytes(summary['bytes'])} MB",
        "",
        "| package | version | licence | MB |",
        "|---|---|---|---:|",
        *(f"| {p['name']} | {p['version']} | {p['licence']} | {megabytes(p['bytes'])} |" for p in largest_first),
        "",
        "| licence | packages |",
        "|---|---:|",
        *(f"| {name} | {count} |" for name, count in summary["licences"].items()),
        "",
    ]


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"
