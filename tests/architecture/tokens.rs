//! Rust source as words and marks: without comments, texts, and what only tests compile.

/// A piece of source that says something about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// An identifier or a keyword.
    Word(String),
    /// `::`
    Colons,
    /// Any other character that is not blank.
    Mark(char),
}

impl Token {
    /// Whether it is this word.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }
}

/// The tokens of a source, with what `#[cfg(test)]` covers left out, and the names of the files that such
/// declarations stand for: `tests` for `#[cfg(test)] mod tests;`.
pub fn read_tokens(source: &str) -> (Vec<Token>, Vec<String>) {
    leave_tests_out(split_tokens(source))
}

fn split_tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens = Vec::new();
    let mut index = 0;
    while index < text.len() {
        let character = text[index];
        match character {
            '/' if at(index + 1) == '/' => {
                while index < text.len() && text[index] != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => index = skip_block_comment(&text, index),
            '"' => index = skip_text(&text, index),
            '\'' => {
                let is_escape = at(index + 1) == '\\';
                if is_escape || at(index + 2) == '\'' {
                    // A character; the one behind a backslash may be a quote.
                    index += if is_escape { 3 } else { 2 };
                    while index < text.len() && text[index] != '\'' {
                        index += 1;
                    }
                    index += 1;
                } else {
                    // A lifetime: `'static` is no keyword.
                    index += 1;
                    while is_word(at(index)) {
                        index += 1;
                    }
                }
            }
            ':' if at(index + 1) == ':' => {
                tokens.push(Token::Colons);
                index += 2;
            }
            _ if is_word(character) => {
                let start = index;
                while is_word(at(index)) {
                    index += 1;
                }
                let word: String = text[start..index].iter().collect();
                let hashes = (index..).take_while(|&place| at(place) == '#').count();
                let opens = at(index + hashes) == '"';
                match word.as_str() {
                    "r" | "br" | "cr" if opens => index = skip_raw_text(&text, index + hashes + 1, hashes),
                    "b" | "c" if opens && hashes == 0 => index = skip_text(&text, index),
                    // `r#type` is the name `type`.
                    "r" if hashes == 1 => index += 1,
                    _ => tokens.push(Token::Word(word)),
                }
            }
            _ => {
                if !character.is_whitespace() {
                    tokens.push(Token::Mark(character));
                }
                index += 1;
            }
        }
    }
    tokens
}

/// The place behind a comment, which may hold others.
fn skip_block_comment(text: &[char], start: usize) -> usize {
    let (mut index, mut depth) = (start, 0);
    while index < text.len() {
        match (text[index], text.get(index + 1)) {
            ('/', Some('*')) => (index, depth) = (index + 2, depth + 1),
            ('*', Some('/')) => (index, depth) = (index + 2, depth - 1),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

/// The place behind a text that begins at a quote.
fn skip_text(text: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < text.len() && text[index] != '"' {
        index += if text[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The place behind a text that ends with a quote and this many hashes.
fn skip_raw_text(text: &[char], start: usize, hashes: usize) -> usize {
    let is_end = |&index: &usize| {
        let after = text[index + 1..].iter().take(hashes);
        text[index] == '"' && after.filter(|mark| **mark == '#').count() == hashes
    };
    (start..text.len()).find(is_end).map_or(text.len(), |end| end + 1 + hashes)
}

fn leave_tests_out(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut names) = (Vec::new(), Vec::new());
    let mut index = 0;
    while index < tokens.len() {
        match read_attribute(&tokens[index..]) {
            Some(attribute) if is_for_tests(attribute) => {
                index += attribute.len();
                while let Some(next) = read_attribute(&tokens[index..]) {
                    index += next.len();
                }
                let item = &tokens[index..index + item_length(&tokens[index..])];
                if let [Token::Word(module), Token::Word(name), Token::Mark(';')] = item
                    && module == "mod"
                {
                    names.push(name.clone());
                }
                index += item.len();
            }
            _ => {
                kept.push(tokens[index].clone());
                index += 1;
            }
        }
    }
    (kept, names)
}

/// The attribute that the tokens begin with.
fn read_attribute(tokens: &[Token]) -> Option<&[Token]> {
    let [Token::Mark('#'), Token::Mark('['), ..] = tokens else { return None };
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark('[') => depth += 1,
            Token::Mark(']') if depth == 1 => return Some(&tokens[..=index]),
            Token::Mark(']') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether an attribute is `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute
        .iter()
        .filter_map(|token| if let Token::Word(word) = token { Some(word.as_str()) } else { None })
        .collect();
    matches!(words.as_slice(), ["cfg", "test"] | ["cfg", "all", "test", ..])
}

/// How many tokens the item has that the tokens begin with: to its `;`, or to the end of its braces.
fn item_length(tokens: &[Token]) -> usize {
    let is_import = tokens.first().is_some_and(|token| token.is("use"));
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark('{' | '(' | '[') => depth += 1,
            Token::Mark(closing @ ('}' | ')' | ']')) => {
                depth = depth.saturating_sub(1);
                if *closing == '}' && depth == 0 && !is_import {
                    return index + 1;
                }
            }
            Token::Mark(';') if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}
