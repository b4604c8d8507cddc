"""Labels of metrics are few, whatever clients send."""

from proxy import metrics


def test_label_values_are_bounded() -> None:
    seen = {metrics.bounded("test-kind", f"model-{number}") for number in range(10_000)}

    assert len(seen) == metrics.LABEL_VALUES_MAX + 1
    assert metrics.OTHER in seen


def test_a_known_value_keeps_its_name_when_the_bound_is_reached() -> None:
    for number in range(metrics.LABEL_VALUES_MAX + 5):
        metrics.bounded("test-kind-2", f"team-{number}")

    assert metrics.bounded("test-kind-2", "team-0") == "team-0"


def test_render_names_every_metric_with_its_unit() -> None:
    text = metrics.render().decode()

    assert "spendgate_cost_usd_total" in text
    assert "spendgate_overhead_seconds_bucket" in text
