//! Words, names, strings and marks of the text form.

use super::NAME;

/// Text that is not the text form of a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected and what is there, or what is wrong.
    pub message: String,
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `%name` or `%"name"`.
    Value(String),
    /// Letters, digits and `_ . ? + -`.
    Word(String),
    /// `"…"`, escapes resolved.
    Text(Vec<u8>),
    /// Another character.
    Mark(char),
    /// Nothing more.
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Value(name) => write!(f, "%{name}"),
            Token::Word(word) => f.write_str(word),
            Token::Text(_) => f.write_str("a text"),
            Token::Mark(mark) => write!(f, "{mark}"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// Cuts a text into tokens.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
    /// Where the last token began.
    pub start: (usize, usize),
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '?' | '+' | '-')
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text.chars().peekable(), line: 1, column: 1, start: (1, 1) }
    }

    /// The next token.
    pub fn next(&mut self) -> Result<Token, ParseError> {
        self.skip();
        self.start = (self.line, self.column);
        let Some(c) = self.rest.peek().copied() else { return Ok(Token::End) };
        if is_word(c) {
            return Ok(Token::Word(self.run(is_word)));
        }
        self.advance();
        match c {
            '"' => self.text().map(Token::Text),
            '%' => self.name().map(Token::Value),
            _ => Ok(Token::Mark(c)),
        }
    }

    /// An error where the last token began.
    pub fn error(&self, message: String) -> ParseError {
        ParseError { line: self.start.0, column: self.start.1, message }
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(c)
    }

    /// Skips space and comments.
    fn skip(&mut self) {
        while let Some(c) = self.rest.peek().copied().filter(|c| c.is_whitespace() || *c == '#') {
            if c == '#' {
                self.run(|c| c != '\n');
            } else {
                self.advance();
            }
        }
    }

    fn run(&mut self, inside: impl Fn(char) -> bool) -> String {
        let mut run = String::new();
        while let Some(c) = self.rest.peek().copied().filter(|c| inside(*c)) {
            run.push(c);
            self.advance();
        }
        run
    }

    fn name(&mut self) -> Result<String, ParseError> {
        if self.rest.peek() != Some(&'"') {
            let name = self.run(|c| super::is_plain(c.encode_utf8(&mut [0; 4]), NAME) || c == '_');
            return if name.is_empty() { Err(self.error("expected a name behind %".into())) } else { Ok(name) };
        }
        self.advance();
        let name = String::from_utf8(self.text()?).map_err(|_| self.error("a name has to be UTF-8".into()))?;
        if name.is_empty() { Err(self.error("a name cannot be empty".into())) } else { Ok(name) }
    }

    /// A text behind its opening quote.
    fn text(&mut self) -> Result<Vec<u8>, ParseError> {
        let mut bytes = Vec::new();
        loop {
            match self.advance() {
                Some('"') => return Ok(bytes),
                Some('\\') => self.escape(&mut bytes)?,
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => return Err(self.error("this text has no closing quote".into())),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
        bytes.push(match self.advance() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some(c @ ('"' | '\\')) => c as u8,
            Some('x') => {
                let digits: Option<String> = (0..2).map(|_| self.advance()).collect();
                let byte = digits.and_then(|d| u8::from_str_radix(&d, 16).ok());
                byte.ok_or_else(|| self.error("\\x needs two hexadecimal digits".into()))?
            }
            _ => return Err(self.error("the escapes are \\n, \\t, \\\", \\\\ and \\x41".into())),
        });
        Ok(())
    }
}
