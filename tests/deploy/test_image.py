"""The image's steps, run as they stand in a clean root, and the services that come of them."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from service_core.identity.tokens import digest_of
from tests.deploy import clean_root
from tests.deploy.clean_root import CleanRoot
from tests.deploy.dockerfile import ROOT, Stage, stages

SERVICES = ("embedding", "query", "agent-execution")
TOKENS = {"web": "cascada_web", "agent-execution": "cascada_agent", "query": "cascada_query"}
WRITABLE = ("/tmp", "/data", "/run/cascada")  # noqa: S108 # the inside's own


def test_the_image_runs_as_a_user_without_a_name_and_pins_its_release() -> None:
    build, final = stages()
    user, _, group = final.last("USER").text.partition(":")
    assert int(user) == int(group) > 0
    first = next(
        line
        for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
        if line[:3] == "ARG"
    )
    assert first.startswith("ARG PYTHON=python:3.")
    assert first.count(".") == 2
    assert final.last("HEALTHCHECK").text.endswith('CMD ["cascada", "health"]')
    assert not any("cascada" in found.text for found in build.all("USER"))


def test_what_the_image_copies_is_let_through_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    build, _ = stages()
    copied = {word for found in build.all("COPY") for word in found.words[:-1]}
    assert {
        "requirements/*.lock" if word.endswith(".lock") else word for word in copied
    } == let_through
    assert ignored[1] == "*"


def _build(stage: Stage, root: CleanRoot, copies: Mapping[str, CleanRoot]) -> None:
    """Do what a stage says, but for the system's packages, which this machine has."""
    folder = "/"
    environ: dict[str, str] = {}
    for found in stage.instructions:
        if found.name == "WORKDIR":
            folder = found.text
            root.path(folder).mkdir(parents=True, exist_ok=True)
        elif found.name == "ENV":
            environ |= dict(word.split("=", 1) for word in found.words)
        elif found.name == "COPY":
            _copy(found.words, root, folder, copies)
        elif found.name == "RUN" and "apt-get" not in found.text:
            root.run(["/bin/sh", "-c", found.text], environ, folder=folder)


def _copy(words: object, root: CleanRoot, folder: str, copies: Mapping[str, CleanRoot]) -> None:
    assert isinstance(words, list)
    source, *rest = words
    origin = ROOT
    if source.startswith("--from="):
        origin = copies[source.partition("=")[2]].folder
        source, *rest = rest
    *more, target = rest
    place = root.path(f"{folder}/{target}" if not target.startswith("/") else target)
    for name in (source, *more):
        path = origin / name.lstrip("/")
        if path.is_dir():
            skip = shutil.ignore_patterns("__pycache__") if origin == ROOT else None
            shutil.copytree(path, place, symlinks=True, ignore=skip)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    why = clean_root.why_not()
    if why:
        pytest.skip(why)
    found = tmp_path_factory.mktemp("image")
    # The user of the image has to come through pytest's own folders.
    for parent in (found, *list(found.parents)[:2]):
        parent.chmod(0o755)
    return found


@pytest.fixture(scope="module")
def image(folder: Path) -> Iterator[CleanRoot]:
    """The image's file system, as its user would meet it: read-only, and with no network."""
    build, final = stages()
    with ExitStack() as stack:
        built = stack.enter_context(CleanRoot(folder / "build", network=True))
        _build(build, built, {})
        root = stack.enter_context(CleanRoot(folder / "final", network=False))
        _build(final, root, {"build": built})
        _configure(root, final.environ)
        root.make_read_only(except_for=WRITABLE)
        yield root
    # What was installed is large, and pytest keeps its folders.
    for large in ("build/opt", "build/src", "final/opt"):
        shutil.rmtree(folder / large)


def _configure(root: CleanRoot, environ: Mapping[str, str]) -> None:
    """Certificates, tokens and the configuration file, as an operator would give them."""
    user = _user()
    for name in ("certs", "config"):
        root.path(name).mkdir()
        shutil.chown(root.path(name), int(user.partition(":")[0]))
    root.run(["cascada", "certs", "/certs"], environ, user=user)
    entries = {
        "web": {
            "sha256": digest_of(TOKENS["web"]),
            "tenant": "acme",
            "roles": ["caller", "indexer"],
        }
    }
    for name in ("agent-execution", "query"):
        entries[name] = {"sha256": digest_of(TOKENS[name]), "roles": ["service"]}
        root.path(f"config/{name}.token").write_text(TOKENS[name], encoding="utf-8")
    document = json.dumps({"identity": {"tokens": entries}})
    root.path("config/cascada.json").write_text(document, encoding="utf-8")
    root.path("config/note.txt").write_text(
        "The capital of Ruritania is Strelsau.", encoding="utf-8"
    )


def _user() -> str:
    return stages()[-1].last("USER").text


def _environ(service: str, number: int) -> dict[str, str]:
    return {
        **stages()[-1].environ,
        "CASCADA_CONFIG_FILE": "/config/cascada.json",
        "CASCADA_METRICS_PORT": str(9464 + number),
        "CASCADA_TLS_CERT_FILE": f"/certs/{service}.pem",
        "CASCADA_TLS_KEY_FILE": f"/certs/{service}.key",
        "CASCADA_TLS_CA_FILE": "/certs/ca.pem",
        "CASCADA_QUERY_TARGET": "localhost:50052",
        "CASCADA_EMBEDDING_TARGET": "localhost:50053",
        **(
            {"CASCADA_SERVICE_TOKEN_FILE": f"/config/{service}.token"}
            if service != "embedding"
            else {}
        ),
    }


@pytest.fixture(scope="module")
def services(image: CleanRoot, folder: Path) -> Iterator[Mapping[str, Path]]:
    """The three services as the image starts them, serving; their logs."""
    logs = {service: folder / f"{service}.log" for service in SERVICES}
    entry = stages()[-1].last("ENTRYPOINT").words
    processes = [
        image.start([*entry, "serve", service], _environ(service, number), _user(), logs[service])
        for number, service in enumerate(SERVICES)
    ]
    try:
        _wait_until_healthy(image, logs)
        yield logs
    finally:
        for process in processes:
            process.terminate()
        ends = [process.wait(30) for process in processes]
    assert ends == [0, 0, 0], [log.read_text(encoding="utf-8") for log in logs.values()]


def _wait_until_healthy(image: CleanRoot, logs: Mapping[str, Path]) -> None:
    probe = json.loads(stages()[-1].last("HEALTHCHECK").text.partition("CMD ")[2])
    end = time.monotonic() + 60
    while image.result([*probe, *SERVICES], stages()[-1].environ, user=_user()).returncode:
        assert time.monotonic() < end, [log.read_text(encoding="utf-8") for log in logs.values()]
        time.sleep(0.5)


def _command(image: CleanRoot, *arguments: str, token: str = TOKENS["web"]) -> tuple[int, str]:
    environ = {
        **stages()[-1].environ,
        "CASCADA_TOKEN": token,
        "CASCADA_TLS_CA_FILE": "/certs/ca.pem",
    }
    done = image.result(["cascada", *arguments], environ, user=_user())
    return done.returncode, done.stdout


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_image_answers_a_question_from_a_read_only_root(
    image: CleanRoot, services: Mapping[str, Path]
) -> None:
    on = ("--collection", "notes", "--target")
    code, output = _command(image, "index", "/config/note.txt", *on, "localhost:50052")
    assert code == 0, output
    question = "What is the capital of Ruritania?"
    code, output = _command(image, "ask", question, *on, "localhost:50051", "--json")
    assert code == 0, output
    answer = json.loads(output)
    assert "Strelsau" in answer["answer"]
    hops = [hop["service"] for hop in answer["configuration_trace"]["hops"]]
    assert hops[0] == "agent-execution"
    assert "query" in hops
    assert not any("Traceback" in log.read_text(encoding="utf-8") for log in services.values())


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_image_lets_nobody_in_without_a_token(image: CleanRoot, services: object) -> None:
    assert services
    code, output = _command(image, "ask", "hola", "--target", "localhost:50051", token="")
    assert code == 4, output
    assert "UNAUTHENTICATED" in output


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_image_holds_nothing_that_builds_or_installs(image: CleanRoot) -> None:
    tools = {"pip", "pip3", "gcc", "cc", "make", "hatch", "hatchling", "wheel", "easy_install"}
    assert {path.name for path in image.path("/opt/cascada/bin").iterdir()} & tools == set()
    packages = image.path("/opt/cascada/lib").glob("python3.*/site-packages/*")
    names = {path.name.partition("-")[0] for path in packages}
    assert names & {"pip", "setuptools", "wheel", "hatchling", "pytest", "ray", "mypy"} == set()
    assert "cascada" in names
    assert not image.path("/src").exists()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_nothing_of_the_image_can_be_written_by_its_user(image: CleanRoot) -> None:
    for place in ("/opt/cascada/lib/own", "/own", "/config/own"):
        with pytest.raises(AssertionError, match=r"[Rr]ead-only|denied"):
            image.run(["/bin/sh", "-c", f"echo x > {place}"], user=_user())
    for place in WRITABLE:
        image.run(["/bin/sh", "-c", f"echo x > {place}/own"], user=_user())
