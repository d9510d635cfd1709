use super::super::record::IGNORED;
use super::super::template::tests::{conversations, special_tokens, template};
use super::*;

/// The parts that count of a conversation of `tests/templates`, with a special token for each mark
/// that the templates write.
fn parts(template_name: &str, conversation: &str) -> Result<Vec<String>, RecordProblem> {
    let mut special = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>"].map(str::to_owned).to_vec();
    special.extend(special_tokens().into_iter().map(|(_, token)| token));
    let masked = render(&template(template_name), &conversations()[conversation], &special)?;
    Ok(masked.spans.iter().map(|span| masked.text[span.clone()].to_owned()).collect())
}

fn assert_parts(template: &str, conversation: &str, expected: &[&str]) {
    assert_eq!(parts(template, conversation).unwrap(), expected, "{template}, {conversation}");
}

#[test]
fn the_assistant_s_words_and_end_mark_count_for_every_kind_of_template() {
    for (template, before, after) in [
        ("chatml_default_system", "", "<|im_end|>"),
        ("headers", "", "<|eot_id|>"),
        ("turns", "", "<end_of_turn>"),
        // Its generation prompt is empty: the answer's own white space is not the assistant's.
        ("inst", "", " </s>"),
        ("lines", "", "</s>"),
        ("generation", "", "<|im_end|>"),
        // No special token ends a turn, so the line's end does.
        ("plain", "", "\n"),
    ] {
        let part = |content: &str| format!("{before}{content}{after}");
        let single = [part("It is twelve.")];
        assert_eq!(parts(template, "single").unwrap(), single, "{template}");
        let both = [part("Tuesday."), part("Wednesday.")];
        assert_eq!(parts(template, "two_turns").unwrap(), both, "{template}");
        let repeated = [part("assistant"), part("assistant")];
        assert_eq!(parts(template, "repeated").unwrap(), repeated, "{template}");
        assert_eq!(parts(template, "unicode").unwrap(), [part("Häuschen — 家")], "{template}");
        assert_eq!(parts(template, "ends_with_user").unwrap(), [part("Tuesday.")], "{template}");
        if template != "turns" {
            assert_eq!(parts(template, "system").unwrap(), [part("Tuesday.")], "{template}");
        }
    }
}

#[test]
fn white_space_of_the_content_counts_as_far_as_the_template_keeps_it() {
    assert_parts("chatml_default_system", "spaces", &["\n\nTuesday, \"of course\" \n<|im_end|>"]);
    assert_parts("headers", "spaces", &["Tuesday, \"of course\"<|eot_id|>"]);
    assert_parts("inst", "spaces", &["Tuesday, \"of course\" </s>"]);
}

#[test]
fn a_template_that_drops_earlier_thoughts_is_followed() {
    // The last answer has an empty block of thoughts that the model writes itself.
    let last = "<think>\n\n</think>\n\nWednesday.<|im_end|>";
    assert_parts("thinking", "two_turns", &["Tuesday.<|im_end|>", last]);
    assert_parts("thinking", "single", &["<think>\n\n</think>\n\nIt is twelve.<|im_end|>"]);
    let last = "<think>\nOne more.\n</think>\n\nWednesday.<|im_end|>";
    assert_parts("thinking", "thoughts", &["Tuesday.<|im_end|>", last]);
}

#[test]
fn what_the_template_refuses_is_an_error_with_its_words() {
    let error = parts("inst", "starts_with_assistant").unwrap_err().to_string();
    assert!(error.contains("Turns must alternate between user and assistant"), "{error}");
    let error = parts("turns", "system").unwrap_err().to_string();
    assert!(error.contains("No system role here"), "{error}");
}

#[test]
fn a_mask_that_is_not_certain_is_an_error() {
    let messages = |content: &str| {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        vec![message(Role::User, "question"), message(Role::Assistant, content)]
    };
    let problem = |source: &str, content: &str| {
        let template = ChatTemplate::new(source, "x.jinja", &[]).unwrap();
        render(&template, &messages(content), &[]).unwrap_err().to_string()
    };
    let twice = "{% for m in messages %}{{ m.content }} {{ m.content }}{% endfor %}";
    assert!(problem(twice, "yes").contains("writes the content more than once"));
    let hidden = "{% for m in messages %}{{ m.content | length }}{% endfor %}";
    assert!(problem(hidden, "yes").contains("hides the content"));
    let absent = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}";
    assert!(problem(absent, "yes").contains("leaves out all that the assistant says"));
    let looks = "{% for m in messages %}{{ m.content | length }}:{{ m.content }};{% endfor %}";
    assert!(problem(looks, "yes").contains("depends on the content"));
    let nested = "{% generation %}{% generation %}a{% endgeneration %}{% endgeneration %}";
    assert!(problem(nested, "yes").contains("nested"));
    let nothing = "{% generation %}{% endgeneration %}{{ messages[0].content }}";
    assert!(problem(nothing, "yes").contains("write nothing"));
    assert!(problem("{{ messages[0].content }}", "a\u{FDD0}").contains("U+FDD0"));
}

#[test]
fn a_template_that_looks_at_the_content_is_followed_by_its_generation_prompt() {
    let source = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}\
        {{ m.content | length }}:{% endif %}{{ m.content }};{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";
    let template = ChatTemplate::new(source, "x.jinja", &[]).unwrap();
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    let messages = [message(Role::User, "why"), message(Role::Assistant, "because")];
    let masked = render(&template, &messages, &[]).unwrap();
    assert_eq!(masked.text, "<user>why;<assistant>7:because;");
    assert_eq!(&masked.text[masked.spans[0].clone()], "7:because;");
}

#[test]
fn labels_follow_the_offsets_of_the_tokens() {
    // Text "ab cd  ef": the spans are "cd " and "f".
    let offsets = [(0, 2), (2, 3), (3, 4), (4, 6), (6, 6), (6, 7), (7, 9), (9, 9)];
    let ids: Vec<u32> = (10..18).collect();
    let found = labels(&ids, &offsets, &[3..6, 8..9]);
    let no = IGNORED;
    assert_eq!(found, [no, no, 12, 13, no, no, 16, no]);
    assert_eq!(
        labels(&[1, 2], &[(0, 1), (0, 1)], std::slice::from_ref(&(0..1))),
        [1, 2],
        "bytes of one character"
    );
    assert_eq!(labels(&[1], &[(0, 1)], &[]), [no]);
}
