//! What the text of a file says about names: modules, items, imports, and paths written in full.

use std::collections::BTreeSet;

use crate::tokens::{Token, read_tokens};

/// A module: a file's, or one that is written inside a file.
#[derive(Debug, Default)]
pub struct Module {
    /// Names of the modules that it declares.
    pub children: BTreeSet<String>,
    /// Names of what it defines itself.
    pub items: BTreeSet<String>,
    /// What `use` brings into it.
    pub imports: Vec<Import>,
    /// Other paths of two names or more that stand in it.
    pub paths: Vec<Vec<String>>,
}

/// A leaf of a `use`.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The name that it has here; `*` brings all names.
    pub name: String,
    /// What it names.
    pub path: Vec<String>,
}

/// The modules of one file, each under its path within the file (the file's own has none), and the names of
/// modules that only tests compile.
pub fn read_modules(source: &str) -> (Vec<(Vec<String>, Module)>, Vec<String>) {
    let (tokens, tests) = read_tokens(source);
    let mut reader = Reader { tokens: &tokens, index: 0 };
    let mut done = Vec::new();
    // The modules around the current token: path, module, and the braces around it.
    let mut open = vec![(Vec::new(), Module::default(), 0_usize)];
    let mut depth = 0_usize;
    while let Some(token) = reader.next() {
        let Some((path, module, own_depth)) = open.last_mut() else { break };
        match token {
            Token::Mark('{' | '(' | '[') => depth += 1,
            Token::Mark('}' | ')' | ']') => {
                depth = depth.saturating_sub(1);
                if depth < *own_depth
                    && let Some((path, module, _)) = open.pop()
                {
                    done.push((path, module));
                }
            }
            Token::Word(word) => match word.as_str() {
                // `use<'a>` in a type is no import.
                "use" if reader.peek() != Some(&Token::Mark('<')) => {
                    reader.read_imports(&[], &mut module.imports);
                }
                "mod" => {
                    let Some(Token::Word(name)) = reader.next() else { continue };
                    module.children.insert(name.clone());
                    if reader.peek() == Some(&Token::Mark('{')) {
                        let path = path.iter().cloned().chain([name.clone()]).collect();
                        open.push((path, Module::default(), depth + 1));
                    }
                }
                // The visibility `pub(in crate::a)` is no use of `crate::a`.
                "in" if reader.is_visibility() => while reader.next_if(|t| *t != Token::Mark(')')) {},
                _ => {
                    if depth == *own_depth {
                        module.note_item(word, &mut reader);
                    }
                    reader.read_path(word, &mut module.paths);
                }
            },
            _ => {}
        }
    }
    done.extend(open.into_iter().map(|(path, module, _)| (path, module)));
    (done, tests)
}

impl Module {
    /// Notes the name of an item whose keyword was read.
    fn note_item(&mut self, keyword: &str, reader: &mut Reader<'_>) {
        const KEYWORDS: [&str; 8] =
            ["fn", "struct", "enum", "trait", "type", "const", "static", "macro_rules"];
        if KEYWORDS.contains(&keyword) {
            let name = reader.tokens[reader.index..].iter().find(|token| **token != Token::Mark('!'));
            if let Some(Token::Word(name)) = name.filter(|token| !token.is("fn") && !token.is("unsafe")) {
                self.items.insert(name.clone());
            }
        }
    }
}

/// A place among tokens.
struct Reader<'t> {
    tokens: &'t [Token],
    index: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<&'t Token> {
        let token = self.tokens.get(self.index);
        self.index += 1;
        token
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.index)
    }

    fn next_if(&mut self, is_wanted: impl Fn(&Token) -> bool) -> bool {
        let is_wanted = self.peek().is_some_and(is_wanted);
        self.index += usize::from(is_wanted);
        is_wanted
    }

    /// Whether the word just read stands behind `pub(`.
    fn is_visibility(&self) -> bool {
        self.index >= 3
            && self.tokens[self.index - 2] == Token::Mark('(')
            && self.tokens[self.index - 3].is("pub")
    }

    /// Reads a tree of imports up to its `;`, `,` or `}`.
    fn read_imports(&mut self, prefix: &[String], imports: &mut Vec<Import>) {
        let mut path = prefix.to_vec();
        loop {
            match self.next() {
                Some(Token::Word(word)) if word == "as" => {
                    let name = self.next();
                    if let Some(Token::Word(name)) = name {
                        imports.push(Import { name: name.clone(), path });
                    }
                    return;
                }
                Some(Token::Word(word)) => {
                    // `{self, …}` is the module before the braces.
                    if word != "self" || path.is_empty() {
                        path.push(word.clone());
                    }
                    if !matches!(self.peek(), Some(Token::Colons)) && !self.peek().is_some_and(|t| t.is("as"))
                    {
                        let name = path.last().cloned().unwrap_or_default();
                        imports.push(Import { name, path });
                        return;
                    }
                }
                Some(Token::Mark('*')) => {
                    imports.push(Import { name: "*".to_owned(), path });
                    return;
                }
                Some(Token::Mark('{')) => {
                    while self.peek().is_some() && !self.next_if(|token| *token == Token::Mark('}')) {
                        if !self.next_if(|token| *token == Token::Mark(',')) {
                            self.read_imports(&path, imports);
                        }
                    }
                    return;
                }
                Some(Token::Colons) => {}
                _ => return,
            }
        }
    }

    /// Reads on from the first name of a path, if it is one.
    fn read_path(&mut self, first: &str, paths: &mut Vec<Vec<String>>) {
        let before = self.index.checked_sub(2).and_then(|index| self.tokens.get(index));
        if matches!(before, Some(Token::Colons | Token::Mark('.'))) {
            return;
        }
        let mut path = vec![first.to_owned()];
        while let (Some(Token::Colons), Some(Token::Word(name))) =
            (self.peek(), self.tokens.get(self.index + 1))
        {
            path.push(name.clone());
            self.index += 2;
        }
        if path.len() > 1 {
            paths.push(path);
        }
    }
}
