"""docker-compose.yml and the Dockerfile: what they promise, and that what they run works, outside a container."""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from server_world import photo, running

DOCKERFILE = (ROOT / "deepfake-app/Dockerfile").read_text().replace("\\\n", " ")
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def last_stage() -> str:
    return DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


def instruction(name: str) -> list[str]:
    """The list that an instruction of the last stage runs."""
    return json.loads(re.search(rf"^{name}.*?(\[.*\])$", last_stage(), re.MULTILINE).group(1))


def copied() -> list[tuple[list[str], str]]:
    """(what, where to) of everything that the last stage copies from the project."""
    lines = [line.split()[1:] for line in last_stage().splitlines() if line.startswith("COPY ")]
    return [(line[:-1], line[-1]) for line in lines if not line[0].startswith("--from")]


def test_two_profiles():
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        "app": ["prod"], "server-dev": ["dev"], "page-dev": ["dev"],
    }  # fmt: skip


def test_production_may_do_little():
    app = SERVICES["app"]
    assert app["read_only"] is True and app["cap_drop"] == ["ALL"] and app["security_opt"] == ["no-new-privileges:true"]
    assert app["user"].split(":")[0] not in ("0", "root") and f"USER {app['user']}" in last_stage()
    assert [entry.split(":")[0] for entry in app["tmpfs"]] == ["/tmp"]
    assert re.fullmatch(r"\d+g", app["mem_limit"]) and app["pids_limit"] <= 1000
    assert [volume["read_only"] for volume in app["volumes"]] == [True]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & app.keys()
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert "docker.sock" not in json.dumps(service)


def test_images_are_pinned():
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) + [SERVICES["page-dev"]["image"]]
    stages = set(re.findall(r"AS (\S+)", DOCKERFILE))
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= stages
    for image in set(images) - stages:
        assert re.search(r":\d+\.\d+\.\d+", image), image


def test_its_requirements_are_a_part_of_all():
    """The same pins, so that what was tested is what serves."""
    lines = [
        {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}
        for path in (ROOT / "deepfake-app/requirements.txt", ROOT / "requirements.txt")
    ]
    assert lines[0] and lines[0] <= lines[1]


def test_what_is_copied_is_not_ignored():
    patterns = (ROOT / "deepfake-app/Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in patterns if line.startswith("!")]
    for sources, _ in copied():
        for source in sources:
            assert any(fnmatch(source, line) or line.startswith(f"{source}/") for line in kept), source
    assert "*" in patterns and not any(fnmatch("tests/conftest.py", line) for line in kept)


@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode,
    reason="docker compose is not installed",
)
@pytest.mark.parametrize("profile", ["dev", "prod"])
@pytest.mark.parametrize("models", [{}, {"MODELS": "results"}], ids=["default", "given"])
def test_docker_compose_understands_it(profile, models):
    done = subprocess.run(
        ["docker", "compose", "--profile", profile, "config", "--quiet"],
        cwd=ROOT, env=models | {"PATH": "/usr/bin:/usr/local/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def image(exported, tmp_path_factory):
    """A folder with nothing but what the Dockerfile copies, and a small detector in the place of the one that ships."""
    image = tmp_path_factory.mktemp("image") / "app"
    for sources, place in copied():
        for source in sources:
            for path in ROOT.glob(source):
                into = image / place / path.name if place.endswith("/") else image / place
                into.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(
                        path, into, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "large.onnx")
                    )
                else:
                    shutil.copy(path, into)
    (image / "deepfake-app/web/dist").mkdir(parents=True)
    (image / "deepfake-app/web/dist/index.html").write_text("<!doctype html>")
    shutil.copy(exported, image / "models/default.onnx")
    return image


def test_what_the_image_runs_works_with_what_it_holds(image):
    """The very command and health check, with nothing mounted."""
    python, program, *arguments = instruction("CMD")
    check = instruction("HEALTHCHECK")
    assert (python, check[0]) == ("python", "python")
    before = sorted(image.rglob("*"))
    with running("-B", program, *arguments, program="-u", cwd=image) as server:
        assert server.post(photo())[0] == 200 and server.post(photo(), "/api/predict?explain=1")[0] == 200
        assert server.get("/")[2] == b"<!doctype html>"
        assert json.loads(server.get("/api/models")[2]) == {"models": ["default.onnx"]}
        healthy = [word.replace(":5000/", f":{server.port}/") for word in check[1:]]
        assert subprocess.run([sys.executable, *healthy]).returncode == 0
        assert server.end() == 0
    assert subprocess.run([sys.executable, *healthy], capture_output=True).returncode != 0
    assert sorted(image.rglob("*")) == before  # it may be read-only


def test_what_compose_runs_serves_the_folder_that_is_mounted(image, exported, tmp_path):
    shutil.copy(exported, tmp_path)
    shutil.copy(ROOT / "models/yunet_n_dynamic.onnx", tmp_path)  # the face finder, which is no detector
    service = SERVICES["app"]
    [folder] = (volume["target"] for volume in service["volumes"])
    python, program, *arguments = (str(tmp_path) if word == folder else word for word in service["command"])
    assert python == "python" and str(tmp_path) in arguments
    with running("-B", program, *arguments, program="-u", cwd=image) as server:
        assert json.loads(server.get("/api/models")[2]) == {"models": ["tiny.onnx"]}
        assert server.end() == 0


def test_unless_told_the_folder_that_ships_is_mounted():
    for name in ("app", "server-dev"):
        [volume] = (volume for volume in SERVICES[name]["volumes"] if isinstance(volume, dict))
        assert volume == {"type": "bind", "source": "${MODELS:-./models}", "target": "/models", "read_only": True}
    ignored = (ROOT / "deepfake-app/Dockerfile.dockerignore").read_text().splitlines()
    assert ignored.index("models/*.safetensors") > ignored.index("!models")  # the image could not read them
    assert ignored.index("models/large.onnx") > ignored.index("!models")  # seven times as large as the rest; mounted


def test_development_runs_the_same_program():
    command = SERVICES["server-dev"]["command"]
    assert command == [*SERVICES["app"]["command"], "--reload"]
    assert set(instruction("CMD")) < set(command)
    assert Path(ROOT / command[1]).is_file()
    assert json.loads((ROOT / "deepfake-app/web/package.json").read_text())["scripts"].keys() >= {"build", "dev"}
    assert "DEEPFAKE_SERVER" in (ROOT / "deepfake-app/web/vite.config.ts").read_text()
