"""The rules for docker-compose.yml that Compose itself doesn't know; run by scripts/check-compose."""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLES = {"intake", "scheduler", "recorder", "migrate", "device-sim", "postgres", "rabbitmq"}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:-([^}]*))?\}")
faults = []


def fault(text):
    faults.append(text)


def resolve(text):
    """The file as Compose sees it with an empty environment."""
    for name, default, _ in VARIABLE.findall(text):
        if not default:
            fault(f"${{{name}}} has no default")
    return VARIABLE.sub(lambda match: match.group(3) or "", text)


def check_image(name, image):
    repository, _, tag = image.partition(":")
    if not re.fullmatch(r"[a-z0-9]+([._/-][a-z0-9]+)*", repository):
        fault(f"{name}: {image} is no image name")
    if not re.match(r"\d+\.\d+", tag):
        fault(f"{name}: image {image} is not pinned to a version")


def check_service(name, service, compose):
    check_image(name, service.get("image", ""))
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            fault(f"{name}: port {port} is published beyond loopback")
    awaited = {other for s in compose["services"].values() for other, how in s.get("depends_on", {}).items()
               if how["condition"] == "service_completed_successfully"}
    health = service.get("healthcheck")
    ends_by_itself = name in awaited or service.get("restart") == "no"
    if not health or (health.get("disable") and not ends_by_itself):
        fault(f"{name}: no health check")
    for other, how in service.get("depends_on", {}).items():
        if other not in compose["services"]:
            fault(f"{name}: depends on {other}, which is not there")
        elif how["condition"] == "service_healthy" and compose["services"][other]["healthcheck"].get("disable"):
            fault(f"{name}: waits for {other}'s health, which is not checked")
    for network in service.get("networks", []):
        if network not in compose["networks"]:
            fault(f"{name}: network {network} is not declared")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            if not (ROOT / source).exists():
                fault(f"{name}: {source} does not exist")
        elif source not in compose["volumes"]:
            fault(f"{name}: volume {source} is not declared")


def check_roles(services):
    workers = {name: s for name, s in services.items() if name.startswith("worker-")}
    for missing in sorted(ROLES - services.keys()):
        fault(f"no service {missing}")
    if len(workers) < 2:
        fault("fewer than two regions have a worker service")
    for name, service in workers.items():
        if service["command"] != ["serve", "worker", "--region", name.removeprefix("worker-")]:
            fault(f"{name}: its command serves another region than its name says")
        if "TURNUP_DATABASE_URL" in service["environment"] or "store" in service["networks"]:
            fault(f"{name}: a worker has no database")


def check_dockerfile():
    for line in (ROOT / "docker/Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                if not (ROOT / source).exists():
                    fault(f"Dockerfile: {source} does not exist")
        if line.startswith("FROM "):
            check_image("Dockerfile", line.split()[1])


compose = yaml.safe_load(resolve((ROOT / "docker-compose.yml").read_text()))
for name, service in compose["services"].items():
    check_service(name, service, compose)
check_roles(compose["services"])
check_dockerfile()
for text in faults:
    print(f"docker-compose.yml: {text}", file=sys.stderr)
sys.exit(1 if faults else 0)
