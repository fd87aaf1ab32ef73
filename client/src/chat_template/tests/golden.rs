//! Against transformers.

use super::*;

/// What came out of one rendering, or how it did not.
fn outcome(
    source: &str,
    tokens: &(String, String),
    case: &Case,
) -> Result<String, ChatTemplateError> {
    template_with(source, tokens)?.render(&case.messages, &case.options())
}

/// Differences from transformers, in words.
fn difference(render: &Render, outcome: &Result<String, ChatTemplateError>) -> Option<String> {
    let is_same = match (outcome, &render.text, &render.refused) {
        (Ok(text), Some(golden), None) => text == golden,
        (Err(ChatTemplateError::Refused(reason)), None, Some(golden)) => reason == golden,
        (Err(error), None, None) => matches!(
            error,
            ChatTemplateError::Template { .. } | ChatTemplateError::Request(_)
        ),
        _ => false,
    };
    (!is_same).then(|| {
        format!(
            "{} × {}\n{render:?}\n{outcome:?}\n",
            render.template, render.case
        )
    })
}

fn assert_none(differences: Vec<String>) {
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn templates_of_models_render_as_transformers_renders_them() {
    let differences = GOLDEN.renders.iter().filter_map(|render| {
        let path = fixtures().join(format!("{}.jinja", render.template));
        let source = std::fs::read_to_string(path).unwrap();
        let outcome = outcome(
            &source,
            &GOLDEN.tokens[&render.template],
            &GOLDEN.cases[&render.case],
        );
        difference(render, &outcome)
    });
    assert!(GOLDEN.renders.len() > 200);
    assert_none(differences.collect());
}

#[test]
fn features_of_jinja_and_python_are_those_of_transformers() {
    let tokens = ("<s>".to_owned(), "</s>".to_owned());
    let differences = GOLDEN.probes.iter().filter_map(|probe| {
        let outcome = outcome(&probe.template, &tokens, &GOLDEN.probed);
        difference(probe, &outcome)
    });
    assert_none(differences.collect());
}
