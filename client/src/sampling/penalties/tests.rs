use super::*;

fn penalised(config: SamplingConfig, prompt: &[u32], answer: &[u32]) -> Vec<f32> {
    let mut penalties = Penalties::new(&config, prompt);
    for id in answer {
        penalties.record(*id);
    }
    let mut logits = vec![2.0, -2.0, 1.0, -1.0, 0.5];
    penalties.apply(&mut logits);
    logits
}

#[test]
fn repetition_divides_positive_logits_and_multiplies_others_once() {
    let config = SamplingConfig {
        repetition_penalty: 2.0,
        ..SamplingConfig::default()
    };
    // 0 is in the prompt, 1 in both, 3 in the answer, twice.
    let logits = penalised(config, &[0, 0, 1], &[1, 3, 3]);
    assert_eq!(logits, [1.0, -4.0, 1.0, -2.0, 0.5]);
}

#[test]
fn presence_and_frequency_count_the_answer_only() {
    let presence = SamplingConfig {
        presence_penalty: 0.5,
        ..SamplingConfig::default()
    };
    assert_eq!(
        penalised(presence, &[4], &[0, 0, 1]),
        [1.5, -2.5, 1.0, -1.0, 0.5]
    );
    let frequency = SamplingConfig {
        frequency_penalty: 0.5,
        ..SamplingConfig::default()
    };
    assert_eq!(
        penalised(frequency, &[4], &[0, 0, 1]),
        [1.0, -2.5, 1.0, -1.0, 0.5]
    );
}

#[test]
fn repetition_comes_before_the_others() {
    let config = SamplingConfig {
        repetition_penalty: 2.0,
        presence_penalty: 1.0,
        frequency_penalty: 0.25,
        ..SamplingConfig::default()
    };
    // 2 / 2 − (2 · 0.25 + 1), not (2 − 1.5) / 2; −2 · 2 − (0.25 + 1)
    assert_eq!(
        penalised(config, &[], &[0, 0, 1]),
        [-0.5, -5.25, 1.0, -1.0, 0.5]
    );
}

#[test]
fn without_penalties_nothing_is_counted_or_changed() {
    let mut penalties = Penalties::new(&SamplingConfig::default(), &[1]);
    penalties.record(2);
    assert!(penalties.prompt.is_empty() && penalties.answer.is_empty());
    assert_eq!(
        penalised(SamplingConfig::default(), &[0], &[1]),
        [2.0, -2.0, 1.0, -1.0, 0.5]
    );
}
