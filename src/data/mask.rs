//! Which part of a conversation's text the assistant wrote: only that counts in the loss.
//!
//! A chat template is a program, and says nothing about who writes what. Two ways to find out:
//!
//! 1. **Marks.** A template with `{% generation %}` blocks says it itself.
//! 2. **Probes.** Otherwise each message of the assistant is rendered once more with a character
//!    in place of its content that no text has. Where the character comes out, the content goes
//!    in: what stands before it must be a beginning of the whole text, and what stands after it an
//!    end, or the place is not certain. The part that counts begins where the generation prompt
//!    ends (so that a header or an empty block of thoughts that the model must write itself
//!    counts), or at the content where the template has no generation prompt; it ends with what
//!    the template writes after the last message of a conversation: the end marker.
//!
//! Where probes are not certain, because the template looks at the content, plain prefixes are
//! tried: the conversation up to the message with the generation prompt, and up to its end. Where
//! those are no beginnings of the whole text either, the record is an error, never a guess.

use std::ops::Range;

use super::problem::RecordProblem;
use super::record::{Message, Role};
use super::template::{ChatTemplate, GENERATION_END, GENERATION_START, PROBE, message_value, message_values};

/// A conversation as text, and the parts of it that the assistant wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MaskedText {
    /// What the tokenizer sees.
    pub(super) text: String,
    /// Bytes of `text` that count, in order, none empty, not overlapping.
    pub(super) spans: Vec<Range<usize>>,
}

/// Renders a conversation. `special_tokens` are those of the tokenizer: white space that follows
/// one at the end of a turn is not part of the end marker.
///
/// # Errors
/// [`RecordProblem::Template`] if the template refuses the conversation, [`RecordProblem::Mask`] if
/// the assistant's part cannot be told, [`RecordProblem::ReservedCharacter`].
pub(super) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    special_tokens: &[String],
) -> Result<MaskedText, RecordProblem> {
    let reserved = [GENERATION_START, GENERATION_END, PROBE];
    if let Some(c) = messages.iter().find_map(|m| m.content.chars().find(|c| reserved.contains(c))) {
        return Err(RecordProblem::ReservedCharacter { code: c.into() });
    }
    let values = message_values(messages);
    let text = template
        .render(&values, false)
        .map_err(|reason| RecordProblem::Template { origin: template.origin().to_owned(), reason })?;
    let uncertain = |reason: &str| RecordProblem::Mask {
        origin: template.origin().to_owned(),
        reason: reason.to_owned(),
    };

    if template.marks_generation() {
        let masked = strip_marks(&text).ok_or_else(|| uncertain("its generation blocks are nested"))?;
        if masked.spans.is_empty() {
            return Err(uncertain("its generation blocks write nothing for this conversation"));
        }
        return Ok(masked);
    }

    let prober = Prober { template, values, text };
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (index, _) in messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant) {
        let Some(span) = prober.span(index, special_tokens).map_err(uncertain)? else { continue };
        if spans.last().is_some_and(|last| span.start < last.end) {
            return Err(uncertain("two messages overlap"));
        }
        spans.push(span);
    }
    if spans.is_empty() {
        return Err(uncertain("it leaves out all that the assistant says"));
    }
    Ok(MaskedText { text: prober.text, spans })
}

/// Takes the marks of generation blocks out of a text; none if they are nested.
fn strip_marks(marked: &str) -> Option<MaskedText> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut start = None;
    for c in marked.chars() {
        match c {
            GENERATION_START if start.is_some() => return None,
            GENERATION_START => start = Some(text.len()),
            GENERATION_END => {
                let start = start.take()?;
                if start < text.len() {
                    spans.push(start..text.len());
                }
            }
            c => text.push(c),
        }
    }
    start.is_none().then_some(MaskedText { text, spans })
}

struct Prober<'a> {
    template: &'a ChatTemplate,
    values: Vec<minijinja::Value>,
    text: String,
}

impl Prober<'_> {
    /// The part of the text that the assistant wrote as message `index`; none if the template
    /// leaves the message out.
    fn span(&self, index: usize, special_tokens: &[String]) -> Result<Option<Range<usize>>, &'static str> {
        let before = &self.values[..index];
        let prompt = self.template.render(before, true).ok();
        // Without an effect of the flag, the template has no generation prompt.
        let prompt =
            prompt.filter(|p| self.template.render(before, false).is_ok_and(|without| without != *p));
        let prompt_end = prompt.filter(|p| self.text.starts_with(p.as_str())).map(|p| p.len());

        match self.content(index)? {
            Place::LeftOut => Ok(None),
            Place::At(content) => {
                let start = prompt_end.filter(|&end| end <= content.start).unwrap_or(content.start);
                let end = self.end_of_turn(index, content.end, special_tokens);
                Ok((start < end).then_some(start..end))
            }
            Place::Unknown(why) => {
                let end = self.template.render(&self.values[..=index], false).ok();
                let end = end.filter(|e| self.text.starts_with(e.as_str())).map(|e| e.len());
                match (prompt_end, end) {
                    (Some(start), Some(end)) if start < end => {
                        Ok(Some(start..self.trim_end(start, end, special_tokens)))
                    }
                    _ => Err(why),
                }
            }
        }
    }

    /// Where the content of a message stands in the text.
    fn content(&self, index: usize) -> Result<Place, &'static str> {
        let Ok(probed) = self.template.render(&self.probed(index, self.values.len()), false) else {
            return Ok(Place::Unknown("it fails with another content"));
        };
        let Some((head, tail)) = probed.split_once(PROBE) else {
            let left_out = probed == self.text;
            return Ok(if left_out { Place::LeftOut } else { Place::Unknown("it hides the content") });
        };
        if tail.contains(PROBE) {
            return Err("it writes the content more than once");
        }
        let fits = self.text.len() >= head.len() + tail.len()
            && self.text.starts_with(head)
            && self.text.ends_with(tail);
        Ok(if fits {
            Place::At(head.len()..self.text.len() - tail.len())
        } else {
            Place::Unknown("what it writes around the content depends on the content")
        })
    }

    /// The end of the marker after the content of message `index`, which ends at `content_end`.
    fn end_of_turn(&self, index: usize, content_end: usize, special_tokens: &[String]) -> usize {
        let after = &self.text[content_end..];
        let marker = if index + 1 == self.values.len() {
            after.len()
        } else {
            // What follows the content where nothing else follows. If the text does not go on like
            // that, the template ends this turn in another way, and no marker is certain.
            let alone = self.template.render(&self.probed(index, index + 1), false).unwrap_or_default();
            let marker = alone.rsplit_once(PROBE).map_or("", |(_, marker)| marker);
            if after.starts_with(marker) { marker.len() } else { 0 }
        };
        self.trim_end(content_end, content_end + marker, special_tokens)
    }

    /// Leaves out white space between a special token, which ends the turn, and the next turn.
    fn trim_end(&self, start: usize, end: usize, special_tokens: &[String]) -> usize {
        let trimmed = self.text[start..end].trim_end();
        let marked =
            special_tokens.iter().any(|token| !token.is_empty() && trimmed.ends_with(token.as_str()));
        if marked { start + trimmed.len() } else { end }
    }

    /// The first `count` messages, with the probe as the content of message `index`.
    fn probed(&self, index: usize, count: usize) -> Vec<minijinja::Value> {
        let mut values = self.values[..count].to_vec();
        values[index] = message_value(Role::Assistant.as_str(), &PROBE.to_string());
        values
    }
}

enum Place {
    At(Range<usize>),
    LeftOut,
    Unknown(&'static str),
}

/// The label of each token: its id if it overlaps a span, [`super::IGNORED`] otherwise.
///
/// `offsets` are the bytes of the text that each token stands for. A token without any, which some
/// tokenizers make of white space, belongs where it stands.
pub(super) fn labels(ids: &[u32], offsets: &[(usize, usize)], spans: &[Range<usize>]) -> Vec<i32> {
    let mut next = spans.iter().peekable();
    ids.iter()
        .zip(offsets)
        .map(|(&id, &(start, end))| {
            while next.peek().is_some_and(|span| span.end <= start) {
                next.next();
            }
            let counts = next.peek().is_some_and(|span| end.max(start + 1) > span.start);
            if counts { id.cast_signed() } else { super::IGNORED }
        })
        .collect()
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
