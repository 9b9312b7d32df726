from mltrainer_models.sampling import is_sampled


def test_a_sample_of_one_per_cent_is_about_one_per_cent_and_another_for_each_salt() -> None:
    keys = [str(number) for number in range(20_000)]

    first, second = ({key for key in keys if is_sampled(salt, key, 0.01)} for salt in ("a", "b"))

    assert 140 <= len(first) <= 260
    assert len(first & second) < 20
    assert not any(is_sampled("a", key, 0.0) for key in keys[:1000])
