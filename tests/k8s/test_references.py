"""What one object says of another is true: every selector selects, every name names something."""

from __future__ import annotations

from tests.k8s.rendering import MANIFESTS, Object, Pod, Rendered, selects, walk

TO_BE_MADE = {
    ("Secret", "observability", "esper-relay-token"),
    ("Secret", "observability", "esper-gateway-token"),
    ("Secret", "training", "esper-relay-token"),
    ("ConfigMap", "training", "esper-otlp-ca"),
}
"""What the README tells to make by hand: secrets are not in a repository."""


def test_every_service_has_pods_with_the_ports_that_it_leads_to(example: Rendered) -> None:
    for service in example.of("Service"):
        (pod,) = selected(example, service["spec"]["selector"], service["metadata"]["namespace"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(pod.ports)
        assert all(port["port"] == pod.ports[port["targetPort"]] for port in service["spec"]["ports"])


def test_every_service_monitor_finds_services_with_the_ports_that_it_scrapes(example: Rendered) -> None:
    for monitor in example.of("ServiceMonitor"):
        found = [
            service
            for service in example.of("Service")
            if service["metadata"]["namespace"] == monitor["metadata"]["namespace"]
            and selects(monitor["spec"]["selector"], service["metadata"]["labels"])
        ]
        assert {"esper-agent", "esper-gateway"} == {service["metadata"]["name"] for service in found}
        for service in found:
            assert monitor["spec"]["jobLabel"] in service["metadata"]["labels"]
            ports = {port["name"] for port in service["spec"]["ports"]}
            assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_pod_monitor_finds_the_relays(example: Rendered) -> None:
    (monitor,) = example.of("PodMonitor")
    (pod,) = selected(example, monitor["spec"]["selector"]["matchLabels"], monitor["metadata"]["namespace"])

    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= set(pod.ports)
    assert monitor["spec"]["jobLabel"] in pod.labels


def test_a_relay_that_is_scraped_has_the_labels_of_one_that_sends(example: Rendered) -> None:
    """``job`` and ``instance`` are service.name and, unless told otherwise, the run's id."""
    (monitor,) = example.of("PodMonitor")
    (relay, *_) = example.pod("Job/esper-demo-1").containers
    sources = {each["name"]: each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for each in relay["env"]}
    relabelings = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]

    assert f"metadata.labels['{monitor['spec']['jobLabel']}']" == sources["OTEL_SERVICE_NAME"]
    assert "metadata.name" == sources["ESPER_OTEL_RUN_ID"]
    assert {
        "action": "replace",
        "sourceLabels": ["__meta_kubernetes_pod_name"],
        "targetLabel": "instance",
    } in relabelings


def test_the_disruption_budget_and_the_autoscaler_are_about_the_gateways(example: Rendered) -> None:
    (budget,) = example.of("PodDisruptionBudget")
    (scaler,) = example.of("HorizontalPodAutoscaler")
    (gateway,) = selected(example, budget["spec"]["selector"]["matchLabels"], "observability")
    target = scaler["spec"]["scaleTargetRef"]

    assert "StatefulSet/esper-gateway" == gateway.owner == f"{target['kind']}/{target['name']}"
    assert "replicas" not in example.one("StatefulSet", "esper-gateway")["spec"]


def test_the_gateways_are_spread_and_named_by_their_service(example: Rendered) -> None:
    gateway = example.pod("StatefulSet/esper-gateway")
    selectors = [each["labelSelector"] for each in gateway.spec["topologySpreadConstraints"]]

    assert [True, True] == [selects(each, gateway.labels) for each in selectors]
    assert example.one("StatefulSet", "esper-gateway")["spec"]["serviceName"] in example.names("Service")


def test_every_workload_selects_its_own_pods(example: Rendered) -> None:
    for workload in example.of("DaemonSet", "StatefulSet"):
        assert selects(workload["spec"]["selector"], workload["spec"]["template"]["metadata"]["labels"])


def test_every_probe_asks_a_port_that_the_container_has(example: Rendered) -> None:
    for pod in example.pods:
        for container in pod.containers:
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [container[each] for each in container if each.endswith("Probe")]
            assert {probe["httpGet"]["port"] for probe in probes} <= ports


def test_every_volume_is_there_and_every_one_there_is_mounted(example: Rendered) -> None:
    for pod in example.pods:
        kind, name = pod.owner.split("/")
        claims = example.one(kind, name)["spec"].get("volumeClaimTemplates", [])
        there = {volume["name"] for volume in pod.spec["volumes"]} | {each["metadata"]["name"] for each in claims}
        mounted = {mount["name"] for each in pod.containers for mount in each["volumeMounts"]}
        assert there == mounted, pod.owner


def test_every_service_account_and_role_is_there(example: Rendered) -> None:
    for pod in example.pods:
        assert pod.spec["serviceAccountName"] in example.names("ServiceAccount", pod.namespace)
    for binding in example.of("ClusterRoleBinding"):
        assert binding["roleRef"]["name"] in example.names(binding["roleRef"]["kind"])
        for subject in binding["subjects"]:
            assert subject["name"] in example.names(subject["kind"], subject["namespace"])


def test_every_config_map_and_secret_is_rendered_issued_or_told_of_in_the_readme(example: Rendered) -> None:
    named = {(kind, pod.namespace, name) for pod in example.pods for kind, name in named_by(pod)}
    maps = {("ConfigMap", each["metadata"]["namespace"], each["metadata"]["name"]) for each in example.of("ConfigMap")}
    issued = {
        ("Secret", each["metadata"]["namespace"], each["spec"]["secretName"]) for each in example.of("Certificate")
    }
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")

    assert TO_BE_MADE == named - maps - issued
    assert [True] * len(TO_BE_MADE) == [name in readme for _, _, name in sorted(TO_BE_MADE)]


def test_no_secret_is_in_the_manifests(example: Rendered) -> None:
    assert [] == example.of("Secret")


def test_certificates_are_for_the_names_that_are_called(example: Rendered) -> None:
    relay = example.pod("Job/esper-demo-1").containers[0]
    (endpoint,) = [each["value"] for each in relay["env"] if each["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"]
    host = endpoint.removeprefix("https://").partition(":")[0]

    assert host in example.one("Certificate", "esper-agent-tls")["spec"]["dnsNames"]
    assert "esper-gateway" in example.one("Certificate", "esper-gateway-tls")["spec"]["dnsNames"]


def selected(rendered: Rendered, labels: dict[str, str], namespace: str) -> list[Pod]:
    """Pods of ``namespace`` with these labels."""
    return [pod for pod in rendered.pods if pod.namespace == namespace and labels.items() <= pod.labels.items()]


def named_by(pod: Pod) -> set[tuple[str, str]]:
    """Kind and name of the ConfigMaps and Secrets that a pod needs."""
    found: set[tuple[str, str]] = set()
    for part in walk(pod.spec):
        for key, kind, name in (
            ("secret", "Secret", "secretName"),
            ("secretKeyRef", "Secret", "name"),
            ("secretRef", "Secret", "name"),
            ("configMap", "ConfigMap", "name"),
            ("configMapKeyRef", "ConfigMap", "name"),
            ("configMapRef", "ConfigMap", "name"),
        ):
            source: Object | None = part.get(key)
            if source is not None:
                found.add((kind, source[name]))
    return found
