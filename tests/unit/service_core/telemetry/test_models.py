from service_core.telemetry.model_names import MOST_MODELS, OTHER, ModelNames


def test_a_name_is_a_label_once_it_has_answered() -> None:
    names = ModelNames()
    assert names.label("made-up-by-a-caller") == OTHER
    names.answered("gpt-4o-mini")
    assert names.label("gpt-4o-mini") == "gpt-4o-mini"


def test_there_are_only_so_many_labels() -> None:
    names = ModelNames()
    for number in range(2 * MOST_MODELS):
        names.answered(f"model-{number}")
    labels = {names.label(f"model-{number}") for number in range(2 * MOST_MODELS)}
    assert len(labels) == MOST_MODELS + 1
