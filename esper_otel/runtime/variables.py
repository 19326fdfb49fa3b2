"""Environment variables that this library reads: the table behind the page of settings."""

from __future__ import annotations

from typing import Final

import msgspec


class Variable(msgspec.Struct, frozen=True):
    """One environment variable.

    Attributes:
        name: its name; ``{SIGNAL}`` is TRACES, METRICS or LOGS.
        default: value if it is not set, for people; empty if there is none.
        meaning: its effect, with the allowed values.
        reader: the group of the page that it is listed in.
    """

    name: str
    default: str
    meaning: str
    reader: str


TRAINING: Final = "The training process"
RELAY: Final = "The relay"
OTLP: Final = "OTLP export"
RANKS: Final = "Ranks, set by torchrun and the like"
OTHERS: Final = "Variables of others"

VARIABLES: Final = (
    Variable(
        "ESPER_OTEL_TELEMETRY_DIR",
        "`telemetry`",
        "Directory of runs; `~` is the home directory. Commands use it as well.",
        TRAINING,
    ),
    Variable("ESPER_OTEL_RUN_ID", "time and six random digits", "Name of the run, the same on every rank.", TRAINING),
    Variable("ESPER_OTEL_TAGS", "", "Words to find the run by, with commas between them.", TRAINING),
    Variable("ESPER_OTEL_NOTES", "", "Text about the run.", TRAINING),
    Variable(
        "ESPER_OTEL_RELAY", "`1`", "`0`: start no relay. Another one follows the run, for instance a sidecar.", TRAINING
    ),
    Variable(
        "ESPER_OTEL_AUTOLOG", "`1`", "`0`: `autolog()`, `esper-otel run` and the instrumentor do nothing.", TRAINING
    ),
    Variable(
        "ESPER_OTEL_FRAMEWORKS",
        "`1`",
        "`0`: leave out what frameworks log (Stable-Baselines3, TensorBoard, transformers, TRL, Lightning).",
        TRAINING,
    ),
    Variable(
        "ESPER_OTEL_ANNOUNCE",
        "`0`; `1` in `esper-otel run`",
        "`1`: a run that `autolog()` opens prints one line on standard error, with its directory and the address of its"
        " metrics.",
        TRAINING,
    ),
    Variable(
        "ESPER_OTEL_NATIVE",
        "`1`",
        "`0`: record in Python, also where the part in C was built. While the package is built, `0` leaves it out and"
        " `1` fails without it.",
        TRAINING,
    ),
    Variable("ESPER_OTEL_LINGER", "`30`", "Seconds that the relay stays scrapable after the run.", TRAINING),
    Variable(
        "ESPER_OTEL_SHUTDOWN_WAIT",
        "`0`; `10` in the first process of a container",
        "Seconds that `shutdown()` waits for the relay to deliver everything by OTLP.",
        TRAINING,
    ),
    Variable(
        "ESPER_OTEL_RELAY_OF",
        "",
        "Set in the environment of a relay: the process that it was started for. Where it is set, no relay is started.",
        TRAINING,
    ),
    Variable(
        "ESPER_OTEL_STABILITY_OPT_IN",
        "`domains`",
        "Names in the log: `domains` (new), `domains/dup` (new and esper-lite's), `legacy` (esper-lite's).",
        TRAINING,
    ),
    Variable(
        "OTEL_SDK_DISABLED",
        "`false`",
        "`true`: start no relay and export nothing by OTLP. The log is written all the same.",
        TRAINING,
    ),
    Variable(
        "ESPER_OTEL_STACKS",
        "`1`",
        "`0`: do not read the Python stack of a rank that stopped. That needs py-spy (extra `stacks`).",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_ARCHIVE",
        "",
        "Address of an archive of runs: `s3://`, `gs://` or `az://BUCKET/PREFIX`, `file:///DIR`. The relay adds the run"
        " to it ([guide](../guides/archive.md), with the variables for credentials).",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_ARCHIVE_ROLE",
        "",
        "`1`: where no variable gives credentials for an archive, ask the cloud's metadata service for the role of this"
        " machine. Commands use it as well.",
        RELAY,
    ),
    Variable("OTEL_EXPORTER_PROMETHEUS_HOST", "`127.0.0.1`", "Address that `/metrics` is served on.", RELAY),
    Variable(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        "`9464`",
        "Port of `/metrics`; the next free one if it is taken. `0`: any free port.",
        RELAY,
    ),
    Variable(
        "OTEL_METRICS_EXPORTER",
        "`prometheus`, and `otlp` where there is an endpoint",
        "A list of `prometheus`, `otlp` and `none`. Without `prometheus` nothing is served at `/metrics`.",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_METRICS",
        "`all`",
        "As `--metrics`. `summary`: gauges of more than 4 ranks or environments are exported as minimum, median,"
        " maximum and the number of the worst, counters and histograms as their sum; what alerts need stays whole"
        " ([when](../guides/scale.md#fewer-series)). Change it between runs, not during one.",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_GPUS",
        "GPUs of the run",
        "`all`: sample every GPU of the node. `none`: sample none.",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_SEMCONV_OPT_IN",
        "",
        "`rl`: traces have the names of OpenTelemetry's proposal for reinforcement learning: spans `rl.loop`,"
        " `rl.train`, `rl.sample`, and attributes `rl.*` besides ours. `rl/dup`: the attributes alone.",
        RELAY,
    ),
    Variable("ESPER_OTEL_WANDB", "`off`", "`offline` or `online`: write rows for Weights & Biases.", RELAY),
    Variable("ESPER_OTEL_ALERTS", "`0`", "`1`: diagnose the run while it goes on, as `--alerts`.", RELAY),
    Variable(
        "ESPER_OTEL_ALERT_WEBHOOK",
        "",
        "Address that gets each finding, as `--alert-webhook`. It may hold a token; it is never shown whole.",
        RELAY,
    ),
    Variable(
        "ESPER_OTEL_ALERT_COMMAND", "", "Program that is run for each finding, as `--alert-command`; no shell.", RELAY
    ),
    Variable(
        "ESPER_OTEL_LOGS",
        "`all`",
        "Log events that are sent by OTLP, as `--logs`. `warnings`: warnings and worse, and events of the run itself"
        " (its start, checkpoints, end). `sampled`: these, and every event of round 1 and of one round in"
        " `ESPER_OTEL_LOGS_EVERY` ([by number of ranks](../guides/scale.md#fewer-log-events)). The event log keeps"
        " everything.",
        OTLP,
    ),
    Variable(
        "ESPER_OTEL_LOGS_EVERY",
        "`100`",
        "With `ESPER_OTEL_LOGS=sampled`: rounds of which one is sent whole, as `--logs-every`; updates where a program"
        " has no rounds.",
        OTLP,
    ),
    Variable("OTEL_EXPORTER_OTLP_ENDPOINT", "", "Receiver of all three signals. Without it nothing is exported.", OTLP),
    Variable("OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT", "", "Receiver of one signal, with its path.", OTLP),
    Variable("OTEL_EXPORTER_OTLP_PROTOCOL", "`http/protobuf`", "`http/protobuf` or `grpc`.", OTLP),
    Variable("OTEL_EXPORTER_OTLP_{SIGNAL}_PROTOCOL", "", "The same for one signal.", OTLP),
    Variable(
        "OTEL_{SIGNAL}_EXPORTER", "`otlp` where there is an endpoint", "For traces and logs: `otlp` or `none`.", OTLP
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
        "`name=value` pairs with commas between them; often tokens. Never shown and never logged."
        " `OTEL_EXPORTER_OTLP_{SIGNAL}_HEADERS` for one signal.",
        OTLP,
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "the system's",
        "File with the certificates to trust. The official exporters also read `…_CLIENT_KEY`, `…_CLIENT_CERTIFICATE`,"
        " `…_COMPRESSION`, `…_TIMEOUT` and `…_INSECURE`, each also with a `{SIGNAL}`.",
        OTLP,
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "`cumulative`",
        "`cumulative`, `delta` or `lowmemory` (delta for counters and histograms).",
        OTLP,
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "`10`",
        "Time of one attempt: seconds below 100, milliseconds from there on; 10 s at most, since the relay tries again."
        " `OTEL_EXPORTER_OTLP_{SIGNAL}_TIMEOUT` for one signal.",
        OTLP,
    ),
    Variable(
        "OTEL_TRACES_SAMPLER", "all", "Which rounds are exported as traces, with `OTEL_TRACES_SAMPLER_ARG`.", OTLP
    ),
    Variable("OTEL_TRACES_SAMPLER_ARG", "", "See `OTEL_TRACES_SAMPLER`.", OTLP),
    Variable("OTEL_METRIC_EXPORT_INTERVAL", "`15000`", "Milliseconds between two exports of metrics.", OTLP),
    Variable(
        "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
        "",
        "Entry point that gives an HTTP session with credentials."
        " `OTEL_PYTHON_EXPORTER_OTLP_HTTP_{SIGNAL}_CREDENTIAL_PROVIDER` for one signal.",
        OTLP,
    ),
    Variable(
        "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES",
        "`CANCELLED`",
        "Codes on which one gRPC call is retried inside the call. The relay itself retries every failed export.",
        OTLP,
    ),
    Variable("OTEL_SERVICE_NAME", "`esper`", "Resource attribute `service.name`; the label `job` in Prometheus.", OTLP),
    Variable("OTEL_RESOURCE_ATTRIBUTES", "", "More resource attributes: `name=value` pairs with commas.", OTLP),
    Variable(
        "RANK",
        "`0`",
        "Rank of this process. Without it that of `torch.distributed`, MPI, SLURM's `srun` or Lightning counts,"
        " as do their sizes and names of the job.",
        RANKS,
    ),
    Variable("WORLD_SIZE", "`1`", "Number of ranks.", RANKS),
    Variable("LOCAL_RANK", "`RANK`", "Rank on this node: its first process starts the relay.", RANKS),
    Variable("ESPER_OTEL_PARENT_RUN", "", "Set by a process that records, for ranks that it starts: its run.", RANKS),
    Variable("LOCAL_WORLD_SIZE", "", "Ranks on this node. Equal to `WORLD_SIZE`: they can agree on a run id.", RANKS),
    Variable("TORCHELASTIC_RESTART_COUNT", "", "Makes the run id of a restarted node another one.", RANKS),
    Variable("MASTER_PORT", "", "Tells two groups of ranks on one node apart.", RANKS),
    Variable(
        "SLURM_JOB_ID",
        "",
        "Resource attribute `slurm.job.id`; the other `SLURM_JOB_*` and `SLURM_ARRAY_*` variables likewise.",
        OTHERS,
    ),
    Variable(
        "KUBERNETES_SERVICE_HOST",
        "",
        "In a pod, `POD_NAME`, `POD_UID`, `POD_NAMESPACE`, `NODE_NAME` (or `K8S_POD_NAME` and so on) are resource"
        " attributes `k8s.*`.",
        OTHERS,
    ),
    Variable("CUDA_VISIBLE_DEVICES", "all", "GPUs of the run.", OTHERS),
    Variable(
        "CUDA_DEVICE_ORDER", "", "`PCI_BUS_ID` gives GPUs of different models the same numbers everywhere.", OTHERS
    ),
    Variable(
        "OTEL_PYTHON_DISTRO",
        "",
        "`none`, with `OTEL_PYTHON_CONFIGURATOR=none`: `opentelemetry-instrument` starts no SDK, which esper-lite under"
        " this library does not need.",
        OTHERS,
    ),
    Variable("OTEL_PYTHON_CONFIGURATOR", "", "See `OTEL_PYTHON_DISTRO`.", OTHERS),
    Variable(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "",
        "Not honoured, nor are `OTEL_METRICS_EXEMPLAR_FILTER` and"
        " `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`: the relay names each that is set once, with the"
        " reason.",
        OTHERS,
    ),
    Variable(
        "XDG_CACHE_HOME",
        "`~/.cache`",
        "Directory of the index of runs, or of an archive, where theirs is read-only.",
        OTHERS,
    ),
    Variable("OTEL_PYTHON_CONTEXT", "", "Ignored: the relay has no use for another context.", OTHERS),
    Variable("REQUESTS_CA_BUNDLE", "", "File with certificates to trust, as is `CURL_CA_BUNDLE`.", OTHERS),
    Variable("CURL_CA_BUNDLE", "", "See `REQUESTS_CA_BUNDLE`.", OTHERS),
    Variable(
        "WANDB_BASE_URL", "W&B's own", "Server of W&B; without user and password in the relay's first lines.", OTHERS
    ),
    Variable("WANDB_DIR", "the relay's directory", "Directory of W&B's own files.", OTHERS),
    Variable("WANDB_INIT_TIMEOUT", "`15`", "Seconds that W&B may take to start a run.", OTHERS),
)
"""Every variable, in the order of the page."""
