from app.alerts.base import DETECTORS
from app.alerts.detectors.divergence import Divergence
from app.alerts.rules import effective, problems
from gyrostat.spec.run import RuleOverride


def test_without_overrides_every_detector_is_a_rule_with_its_defaults() -> None:
    rules = effective()
    assert [rule.kind for rule in rules] == list(DETECTORS)
    assert all(rule.enabled and rule.severity is None and rule.detector == type(rule.detector)() for rule in rules)


def test_the_runs_override_wins_over_the_operators_and_settings_add_up() -> None:
    operator = {"divergence": RuleOverride(enabled=False, severity="info", settings={"factor": 7.0, "steps": 3})}
    run = {"divergence": RuleOverride(settings={"factor": 9.0})}
    rule = next(rule for rule in effective(operator, run) if rule.kind == "divergence")
    assert (rule.enabled, rule.severity) == (True, "info")
    assert rule.detector == Divergence(factor=9.0, steps=3)


def test_a_stored_override_that_fits_no_more_leaves_the_run_watched() -> None:
    rule = next(rule for rule in effective({"divergence": RuleOverride(settings={"gone": 1})}))
    assert rule.enabled
    assert rule.detector == type(rule.detector)()


def test_every_problem_is_told_with_its_path_and_mend() -> None:
    found = problems(
        {
            "divergense": RuleOverride(),
            "dead_units": RuleOverride(settings={"share": 2.0, "evaluations": 5}),
            "loss_spike": RuleOverride(settings={"sigma": 3.0}),
        }
    )
    assert [problem.path for problem in found] == [
        "rules.divergense",
        "rules.dead_units.settings.share",
        "rules.loss_spike.settings.sigma",
    ]
    assert "did you mean 'divergence'" in found[0].mend
    assert found[1].value == 2.0
    assert "did you mean 'sigmas'" in found[2].mend


def test_valid_overrides_have_no_problems() -> None:
    assert problems({"update_ratio": RuleOverride(enabled=False, settings={"high": 1, "evaluations": 2})}) == []
