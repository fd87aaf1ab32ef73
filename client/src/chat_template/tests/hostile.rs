//! Templates that want too much, and damaged ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn render(source: &str) -> Result<String, ChatTemplateError> {
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Hello"),
    ];
    ChatTemplate::parse(source)?.render(&messages, &RenderOptions::default())
}

/// Most memory that this process ever had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes = line.trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// Each would take more memory or time than there is.
const BOMBS: [&str; 32] = [
    // One value doubled by every step.
    "{% set ns = namespace(x='aa') %}{% for i in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(1000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(1000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|list }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(1000) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(1000) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set t %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = t %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = ns.x|replace('a', 'aaaa') %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = ns.x.replace('', ns.x) %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = ns.x.join([ns.x, ns.x, ns.x]) %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = ns.x|tojson|tojson %}{% endfor %}",
    "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('aa') }}",
    "{% macro f(n) %}{{ f(namespace(x=n.x ~ n.x)) }}{% endmacro %}{{ f(namespace(x='aa')) }}",
    "{% macro f(x) %}{% call(y) f(x ~ x) %}{{ y }}{% endcall %}{% endmacro %}{{ f('aa') }}",
    "{% macro f(x) %}{% with y = x ~ x %}{{ f(y) }}{% endwith %}{% endmacro %}{{ f('aa') }}",
    "{% macro f(x) %}{% for y in [x ~ x] %}{{ f(y) }}{% endfor %}{% endmacro %}{{ f('aa') }}",
    // Large at once.
    "{{ 'aaaaaaaa' * 90000000 }}",
    "{{ ['aaaaaaaa'] * 90000000 }}",
    "{% set x = 'a' * 1000 %}{% set y = x * 1000 %}{{ y|replace('a', y) }}",
    "{% set x = 'a' * 1000 %}{{ range(100000)|join(x) }}",
    "{% set x = 'a' * 1000 %}{% for i in range(10000) %}{{ x }}{% endfor %}",
    "{% set x %}{% for i in range(10000) %}{% for j in range(10000) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}{% endset %}",
    "{% for i in range(10000) %}{% for j in range(10000) %}a{% endfor %}{% endfor %}",
    "{{ range(100000)|map('string')|map('replace', '', 'aaaaaaaa')|list }}",
    "{{ [[[[1]]]]|tojson(indent=100000000) }}",
    "{{ 'a\nb'|indent(100000000) }}",
    "{{ '{:>100000000}'.format('a') }}",
    // Without end, or deep.
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}",
    "{% set a = namespace(x=1) %}{% set l = [a] %}{% set a.x = l %}{{ a }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
    "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
];

#[test]
fn bombs_are_stopped_before_they_take_much_memory() {
    let before = peak_memory();
    for bomb in BOMBS {
        let outcome = render(bomb);
        assert!(
            matches!(
                outcome,
                Err(ChatTemplateError::Excess(_) | ChatTemplateError::Template { .. })
            ),
            "{bomb}\n{outcome:?}"
        );
    }
    let taken = peak_memory() - before;
    assert!(taken < 512 << 20, "{taken} bytes");
}

/// Chains of values that are computed when they are asked for, each a step deeper than the one before.
#[test]
fn lazy_values_do_not_pile_up() {
    let chained = "{% set ns = namespace(x=[1, 2, 3]) %}{% for i in range(5000) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x }}";
    assert_eq!(render(chained).unwrap(), "[1, 2, 3]");
    let mapped = "{% set ns = namespace(x=[1, 2, 3]) %}{% for i in range(5000) %}{% set ns.x = ns.x|reverse %}{% endfor %}{{ ns.x|list }}";
    assert_eq!(render(mapped).unwrap(), "[1, 2, 3]");
}

#[test]
fn what_a_template_may_not_have_is_said_with_its_line() {
    let error = |source: &str| ChatTemplate::parse(source).unwrap_err().to_string();
    assert!(error("\n\n{{ __guard_budget }}").contains("line 3: names that begin with __guard_"));
    assert!(error("a\n{% if x %}").contains("line 2"));
    assert!(error("{{ 'a").contains("text in quotes is not closed"));
    assert!(error("{# a").contains("comment is not closed"));
    assert!(error("{% raw %}a").contains("raw block is not closed"));
    assert!(error(&format!("{}x", " ".repeat(600))).contains("blanks in a row"));
    assert!(error(&"a".repeat(300_000)).contains("longer than"));
    assert!(error(&"{{ ((((".repeat(2000)).contains("not closed"));
    assert!(
        ChatTemplate::parse(&format!(
            "{{{{ {}1{} }}}}",
            "(".repeat(5000),
            ")".repeat(5000)
        ))
        .is_err()
    );
}

#[test]
fn a_long_conversation_is_not_taken_for_a_bomb() {
    let text = "word ".repeat(200);
    let messages: Vec<ChatMessage> = (0..1000)
        .map(|index| ChatMessage::new(if index % 2 == 0 { "user" } else { "assistant" }, &*text))
        .collect();
    for name in ["llama-3.1", "qwen3", "mistral-nemo", "gemma-3", "smollm3"] {
        let source = std::fs::read_to_string(fixtures().join(format!("{name}.jinja"))).unwrap();
        let options = RenderOptions {
            add_generation_prompt: true,
            now: Some(LocalTime::default()),
            ..RenderOptions::default()
        };
        let tokens = ("<s>".to_owned(), "</s>".to_owned());
        let template = template_with(&source, &tokens).unwrap();
        let rendered = template.render(&messages, &options);
        assert!(rendered.unwrap().len() > 900_000, "{name}");
    }
}

#[test]
fn requests_that_cannot_be_rendered_are_the_callers() {
    let template = ChatTemplate::parse("{{ messages }}").unwrap();
    let refused = |messages: &[ChatMessage], options: &RenderOptions| {
        let error = template.render(messages, options).unwrap_err();
        assert!(error.is_callers(), "{error}");
        error.to_string()
    };
    let message = [ChatMessage::new("user", "Hello")];
    let plain = RenderOptions::default();
    let large = [ChatMessage::new("user", "a".repeat(9 << 20))];
    assert!(refused(&large, &plain).contains("may have"));
    let mut deep = serde_json::json!(1);
    for _ in 0..60 {
        deep = serde_json::json!([deep]);
    }
    let tools = RenderOptions {
        tools: Some(vec![TemplateValue::new(&deep)]),
        ..RenderOptions::default()
    };
    assert!(refused(&message, &tools).contains("deep"));
    for name in ["messages", "__guard_budget"] {
        let taken = RenderOptions {
            variables: [(name.to_owned(), true.into())].into(),
            ..RenderOptions::default()
        };
        assert!(refused(&message, &taken).contains("is taken"));
    }
    let other = RenderOptions {
        template: Some("rag".to_owned()),
        ..RenderOptions::default()
    };
    assert!(refused(&message, &other).contains("default"));
    let both = RenderOptions {
        add_generation_prompt: true,
        continue_final_message: true,
        ..RenderOptions::default()
    };
    assert!(refused(&message, &both).contains("continue_final_message"));
}

#[test]
fn tools_take_the_template_that_is_made_for_them() {
    let named = serde_json::json!([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]);
    let templates = Templates::from_json(&named).unwrap().unwrap();
    let template = ChatTemplate::new(&templates, SpecialTokens::default()).unwrap();
    let message = [ChatMessage::new("user", "Hello")];
    let mut options = RenderOptions::default();
    assert_eq!(template.render(&message, &options).unwrap(), "plain");
    options.tools = Some(vec![TemplateValue::new(&1)]);
    assert_eq!(template.render(&message, &options).unwrap(), "tools");
    options.template = Some("default".to_owned());
    assert_eq!(template.render(&message, &options).unwrap(), "plain");
}

#[test]
fn another_template_keeps_the_special_tokens() {
    let template = ChatTemplate::parse("no").unwrap();
    let template = template
        .with_token("bos_token", "<s>")
        .with_token("bos_token", "no");
    let replaced = template.replaced("{{ bos_token }}{{ eos_token }}").unwrap();
    let rendered = replaced.render(&[], &RenderOptions::default());
    assert_eq!(rendered.unwrap(), "<s>");
}

/// Words that templates are made of, and some that they are not.
const WORDS: [&str; 64] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{%-",
    "-%}",
    "{{-",
    "-}}",
    "{#",
    "#}",
    "\n",
    "  ",
    "text",
    "é🙂",
    "set",
    "x",
    "y",
    "ns",
    "=",
    "~",
    "+",
    "*",
    "**",
    "//",
    "%",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    "|",
    "'",
    "\"",
    "\\",
    "1",
    "0.5",
    "for",
    "in",
    "endfor",
    "if",
    "else",
    "endif",
    "macro",
    "endmacro",
    "call",
    "endcall",
    "namespace",
    "range",
    "loop",
    "messages",
    "raw",
    "endraw",
    "generation",
    "endgeneration",
    "with",
    "endwith",
    "tojson",
    "not",
    "is",
    "recursive",
];

fn names() -> Vec<String> {
    let files = std::fs::read_dir(fixtures()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let templates = paths.filter(|path| path.extension().is_some_and(|kind| kind == "jinja"));
    let mut sources: Vec<String> = templates
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    sources.sort();
    sources
}

static SOURCES: LazyLock<Vec<String>> = LazyLock::new(names);

/// A change to a text: a place in it as a share of its length, how many characters go, and what comes.
type Damage = (f64, usize, &'static str);

fn damaged(source: &str, damages: &[Damage]) -> String {
    let mut characters: Vec<char> = source.chars().collect();
    for (place, gone, word) in damages {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let at = (characters.len() as f64 * place) as usize;
        let end = (at + gone).min(characters.len());
        characters.splice(at..end, word.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #[test]
    fn any_words_are_rendered_or_refused(words in vec(select(&WORDS[..]), 0..60), spaced in any::<bool>()) {
        let _ = render(&words.join(if spaced { " " } else { "" }));
    }

    #[test]
    fn any_text_is_rendered_or_refused(text in "\\PC{0,80}") {
        let _ = render(&text);
        let _ = render(&format!("{{{{ {text} }}}}"));
    }

    #[test]
    fn damaged_templates_are_rendered_or_refused(
        source in 0..18_usize,
        damages in vec((0.0..1.0, 0..20_usize, select(&WORDS[..])), 1..4),
        case in 0..18_usize,
    ) {
        let source = &SOURCES[source % SOURCES.len()];
        let cases: Vec<&Case> = GOLDEN.cases.values().collect();
        let case = cases[case % cases.len()];
        if let Ok(template) = ChatTemplate::parse(&damaged(source, &damages)) {
            let _ = template.render(&case.messages, &case.options());
        }
    }

    /// What the guard puts in changes no text, whatever stands around it.
    #[test]
    fn counted_text_keeps_its_blanks(
        before in "[ \\n]{0,3}", text in "[a-c \\n]{0,90}", after in "[ \\n]{0,3}",
        open in select(&["{% if true %}", "{%- if true -%}", "{% if true -%}", "{%- if true +%}"][..]),
        close in select(&["{% endif %}", "{%- endif -%}", "{%+ endif %}"][..]),
    ) {
        let source = format!("{before}{open}{text}{close}{after}");
        let long = render(&source);
        let mut plain = Environment::new();
        plain.set_syntax(environment::syntax());
        prop_assert_eq!(long.unwrap(), plain.render_str(&source, Value::from(())).unwrap());
    }
}
