"""Optional servers of the stack, started if installed: Tempo, Loki and Grafana."""

import secrets
from pathlib import Path
from typing import Final

from deploy.stack.layout import Layout
from deploy.stack.program import HOST, ROOT, Program, StackError

CONFIGURATION: Final = ROOT / "deploy" / "compose"
PROVISIONING: Final = ROOT / "grafana" / "provisioning"
DASHBOARDS: Final = ROOT / "grafana" / "dashboards"
PASSWORD_FILE: Final = "grafana_admin_password"
HOME_MARK: Final = Path("conf") / "defaults.ini"
"""File that identifies Grafana's home directory."""


def tempo(at: Layout) -> Program:
    """Traces; takes OTLP from the collector."""
    return Program(
        name="tempo",
        command=(
            at.executables["tempo"],
            "-target=all",
            f"-config.file={CONFIGURATION / 'tempo.yaml'}",
            "-config.expand-env=true",
        ),
        environment={
            "TEMPO_LISTEN": HOST,
            "TEMPO_PORT": str(at.ports["tempo"]),
            "TEMPO_GRPC_PORT": str(at.ports["tempo_grpc"]),
            "TEMPO_OTLP_PORT": str(at.ports["tempo_otlp"]),
            "TEMPO_DATA": str(at.data("tempo")),
        },
        ready_url=f"{at.url('tempo')}/ready",
    )


def loki(at: Layout) -> Program:
    """Log events; takes OTLP from the collector."""
    file = CONFIGURATION / "loki.yaml"
    return Program(
        name="loki",
        command=(at.executables["loki"], f"-config.file={file}", "-config.expand-env=true"),
        environment={
            "LOKI_LISTEN": HOST,
            "LOKI_PORT": str(at.ports["loki"]),
            "LOKI_GRPC_PORT": str(at.ports["loki_grpc"]),
            "LOKI_DATA": str(at.data("loki")),
        },
        ready_url=f"{at.url('loki')}/ready",
    )


def grafana(at: Layout) -> Program:
    """Dashboards, with the provisioning of the repository and a password of its own."""
    home = grafana_home(at)
    password = password_in(at.data())
    plugins = at.data("grafana", "plugins")
    plugins.mkdir(parents=True, exist_ok=True)  # Grafana takes an empty one, and calls a missing one an error
    return Program(
        name="grafana",
        command=(at.executables["grafana"], "server", f"--homepath={home}"),
        environment={
            **_settings(at),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(at.ports["grafana"]),
            "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{password}}}",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
            "GF_PATHS_DATA": str(at.data("grafana")),
            "GF_PATHS_LOGS": str(at.data("grafana", "log")),
            "GF_PATHS_PLUGINS": str(plugins),
            "GF_PATHS_PROVISIONING": str(PROVISIONING),
        },
        ready_url=f"{at.url('grafana')}/api/health",
        shows=(f"dashboards            {at.url('grafana')} (user admin, password in {password})",),
    )


def _settings(at: Layout) -> dict[str, str]:
    """The settings that Compose gives Grafana too, with this stack's addresses and places."""
    text = (PROVISIONING / "grafana.env").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    settings = dict(line.split("=", 1) for line in lines)
    inside = settings["ESPER_DASHBOARDS"]
    settings = {name: value.replace(inside, str(DASHBOARDS)) for name, value in settings.items()}
    for name in ("prometheus", "tempo", "loki", "alertmanager"):
        variable = f"ESPER_{name.upper()}_URL"
        if name in at.ports:
            settings[variable] = at.url(name)
    return settings


def grafana_home(at: Layout) -> Path:
    """Grafana's directory with its defaults and web pages: the one asked for, or found from the executable.

    Raises:
        StackError: it does not exist.
    """
    asked = at.settings.grafana_home
    real = Path(at.executables["grafana"]).resolve()
    candidates = [asked] if asked is not None else [real.parent.parent, real.parent, Path("/usr/share/grafana")]
    for candidate in candidates:
        if (candidate / HOME_MARK).is_file():
            return candidate.absolute()
    places = ", ".join(map(str, candidates))
    raise StackError(f"grafana: no {HOME_MARK} in {places}; use --grafana-home DIR or --without grafana")


def password_in(directory: Path) -> Path:
    """File with the administrator's password in ``directory``, generated on first use.

    The directory is closed to other users; the file is not, because a container's user has to read it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / PASSWORD_FILE
    if not file.exists():
        directory.chmod(0o700)
        file.write_text(secrets.token_urlsafe(18), encoding="utf-8")
        file.chmod(0o644)
    return file
